"""The course of one wait for a job, and of one walk through the job list. No I/O, no clock."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from scrape_do_celery.client.endpoints import MAX_PAGE_SIZE, JobFilters
from scrape_do_celery.client.fate import is_passing
from scrape_do_celery.errors import AsyncAPINotFoundError, ScrapeDoError
from scrape_do_celery.models import JobDetails
from scrape_do_celery.polling import NOT_FOUND_GRACE, job_not_found

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.models import JobsListResponse
    from scrape_do_celery.polling import Poller

MAX_FAILED_POLLS: Final = 10
"""Looks in a row that may fail for a passing reason before a wait gives up."""


class JobWait:
    """Told what each look saw, says how long to sleep. `age`: seconds since the job's creation, infinite if unknown."""

    def __init__(self, job_id: str, strategy: Poller, *, age: float = math.inf) -> None:
        self._strategy = strategy
        self._age = age
        # The strategy decides about looks that failed too, so it needs a job before one was seen.
        self._last_job = JobDetails(job_id=job_id, status="queuing")
        self._attempt = self._failed_polls = self._not_found_polls = 0

    def on_job(self, job: JobDetails, elapsed: float) -> float | None:
        """Seconds until the next look; None when `job` has ended."""
        self._last_job, self._failed_polls, self._not_found_polls = job, 0, 0
        return None if job.is_terminal else self._next_pause(elapsed)

    def on_error(self, error: ScrapeDoError, elapsed: float) -> float:
        """Seconds until the next look after one that failed, or raises `error`.

        A look was resent already; still an outage must not end a wait for a job that is paid.
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
    """A walk through all pages of the job list, each job once though pages shift under it."""

    def __init__(self, filters: JobFilters) -> None:
        self._filters = filters
        self._page = filters.get("page", 1)
        self._seen_ids: set[str] = set()
        self.more = True

    @property
    def filters(self) -> JobFilters:
        """Filters of the page to ask for now."""
        return {"page_size": MAX_PAGE_SIZE, **self._filters, "page": self._page}

    def add(self, answer: JobsListResponse) -> Iterator[JobDetails]:
        """The jobs of this page that were on none before it."""
        fresh = {job.job_id.lower(): job for job in answer.jobs if job.job_id.lower() not in self._seen_ids}
        # A page of old acquaintances past the last is a server that repeats itself; before it, a list that grew.
        # A page of entries that cannot be read is no end either.
        entries = len(answer.jobs) + answer.dropped
        self.more = bool(fresh) or (entries > 0 and self._page < answer.total_pages)
        self._seen_ids.update(fresh)
        self._page += 1
        return iter(fresh.values())
