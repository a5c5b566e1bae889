"""The state of a wait for a job, and of a walk through the job list. No I/O, no clock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from scrape_do_celery.client.job_filters import MAX_PAGE_SIZE, JobFilters
from scrape_do_celery.errors import AsyncAPINotFoundError, ScrapeDoError
from scrape_do_celery.models import JobDetails
from scrape_do_celery.rules.polling import NOT_FOUND_GRACE, job_not_found
from scrape_do_celery.rules.submit import is_passing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.models import JobsListResponse
    from scrape_do_celery.rules.polling import Poller

MAX_FAILED_POLLS: Final = 10
"""Consecutive polls with passing failures after which a wait gives up."""


class JobWait:
    """A wait for a job: takes the outcome of each poll, and returns the pause before the next.

    `age`: seconds since the job's creation, infinite if unknown.
    """

    def __init__(self, job_id: str, strategy: Poller, *, age: float = math.inf) -> None:
        self._strategy = strategy
        self._age = age
        # The strategy also decides after failed polls, so it needs a job before the first answer.
        self._last_job = JobDetails(job_id=job_id, status="queuing")
        self._attempt = self._failed_polls = self._not_found_polls = 0

    def on_job(self, job: JobDetails, elapsed: float) -> float | None:
        """Return the seconds until the next poll, or None if `job` has ended."""
        self._last_job, self._failed_polls, self._not_found_polls = job, 0, 0
        return None if job.is_terminal else self._next_pause(elapsed)

    def on_error(self, error: ScrapeDoError, elapsed: float) -> float:
        """Return the seconds until the next poll after a failed one, or raise `error`.

        The request was already resent. Still, an outage must not end the wait for a paid job.
        """
        absent = isinstance(error, AsyncAPINotFoundError) and error.is_api_error
        if not (self._may_appear(elapsed) if absent else self._may_recover(error)):
            raise error
        return self._next_pause(elapsed)

    def _may_appear(self, elapsed: float) -> bool:
        age = self._age + elapsed
        self._not_found_polls += age >= NOT_FOUND_GRACE
        return job_not_found(age, self._not_found_polls) == "poll_again"

    def _may_recover(self, error: ScrapeDoError) -> bool:
        self._failed_polls += 1
        return is_passing(error) and self._failed_polls < MAX_FAILED_POLLS

    def _next_pause(self, elapsed: float) -> float:
        pause = self._strategy(self._attempt, elapsed, self._last_job)
        self._attempt += 1
        return pause


class JobPages:
    """A walk through all pages of the job list. Each job comes once, although pages shift meanwhile."""

    def __init__(self, filters: JobFilters) -> None:
        self._filters = filters
        self._page = filters.get("page", 1)
        self._seen_ids: set[str] = set()
        self.more = True

    @property
    def filters(self) -> JobFilters:
        """Filters of the page to request next."""
        return {"page_size": MAX_PAGE_SIZE, **self._filters, "page": self._page}

    def add(self, answer: JobsListResponse) -> Iterator[JobDetails]:
        """Return the jobs of this page that no earlier page had."""
        fresh = {job.job_id.lower(): job for job in answer.jobs if job.job_id.lower() not in self._seen_ids}
        # A page without new jobs ends the walk only behind the last page, where a server repeats itself. Before the
        # last page, the list has grown meanwhile. A page of unreadable entries is no end either.
        entries = len(answer.jobs) + answer.dropped
        self.more = bool(fresh) or (entries > 0 and self._page < answer.total_pages)
        self._seen_ids.update(fresh)
        self._page += 1
        return iter(fresh.values())
