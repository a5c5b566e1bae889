"""Decide about a walk through a job list: when to read another page, and which jobs are new."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from scrape_do_celery.models.fields import assume_utc

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from scrape_do_celery.errors import AsyncAPIResponseError
    from scrape_do_celery.models import JobDetails, JobsListResponse

PAGE_SIZE: Final = 100
"""Jobs that a page holds at most (scrape-do-python 0.3.1; the documentation's list page)."""
_STALE_PAGES: Final = 2
_MAX_PAGES: Final = 10_000
"""Pages after which a walk ends, so that a server that invents jobs cannot hold a worker for ever."""
_INVALID: Final = frozenset({400, 422})
_BEHIND_THE_END: Final = _INVALID | {404}
MAX_ZONE_OFFSET: Final = 14 * 3600.0
"""Seconds by which a local time may differ from UTC (Kiritimati)."""


class PageWalk:
    """The state of a walk from page 1 on.

    The totals of a page may be missing or wrong, and a server may repeat its last page for ever. So a walk goes on
    while pages are full, or while the totals promise more. An empty page ends the walk, and so do two pages without a
    new job.
    """

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._unreadable = 0
        self._total = 0
        self._pages = 0
        self._stale = 0
        self._largest = 1
        self._starts: list[datetime] = []
        self._latest: datetime | None = None
        self._falls = 0
        self._is_bounded = self._is_promised = True
        self.page = 0
        #: the latest start time seen
        self.newest: datetime | None = None

    def add(self, answer: JobsListResponse) -> list[JobDetails]:
        """Take in the next page. Return the jobs of the page that no earlier page had."""
        self.page += 1
        fresh = self._note(answer)
        self._stale = 0 if fresh else self._stale + 1
        entries = count_entries(answer)
        self._largest = max(self._largest, entries)
        self._pages = answer.total_pages
        self._follow(answer, fresh)
        full = entries >= min(PAGE_SIZE, answer.page_size if answer.page_size > 0 else PAGE_SIZE)
        self._is_promised = full or self.page < answer.total_pages
        self._is_bounded = entries > 0 and self._stale < _STALE_PAGES and self.page < _MAX_PAGES
        return fresh

    def add_again(self, answer: JobsListResponse) -> None:
        """Take in a page that was read before: other jobs may have moved onto it since."""
        self._note(answer)

    def _note(self, answer: JobsListResponse) -> list[JobDetails]:
        fresh = {job.job_id.lower(): job for job in answer.jobs if job.job_id.lower() not in self._ids}
        self._ids.update(fresh)
        self._unreadable += not answer.is_complete
        # Some servers count 0 on a page behind the end, which says nothing about the pages before.
        if answer.total_count > 0:
            self._total = answer.total_count
        return list(fresh.values())

    @property
    def has_more(self) -> bool:
        """Whether the next page is worth a request."""
        return self._is_bounded and (self._is_promised or self._lacks_jobs)

    @property
    def complete(self) -> bool:
        """Whether each entry could be read, and a walk that has ended has met all jobs that the list counts.

        An entry without a readable id may be any job, and so may a job that no page shows.
        """
        return not self._unreadable and (self.has_more or not self._lacks_jobs)

    @property
    def last_page(self) -> int:
        """The number of the last page by the totals; 0 if the totals are missing.

        The count of jobs comes first: a server may show fewer jobs on a page than were requested.
        """
        return -(-self._total // self._largest) if self._total else self._pages

    def is_past(self, moment: datetime) -> bool:
        """Return whether a list sorted by falling start time has nothing from `moment` on behind this page.

        A server may ignore the requested order, and equal times show no order. If the times of a page do not fall, the
        page says nothing about the pages behind it. The same holds before any times of this walk were seen to fall.
        """
        falling = all(earlier >= later for earlier, later in pairwise(self._starts))
        return bool(self._starts) and falling and self._falls > 0 and self._starts[0] < moment

    def _follow(self, answer: JobsListResponse, fresh: list[JobDetails]) -> None:
        self._starts = _start_times(answer.jobs)
        for start in _start_times(fresh):
            self.newest = max(start, self.newest or start)
            if self._latest is not None:
                # A rise cancels a fall, because some times fall in a list of any order.
                self._falls += (start < self._latest) - (start > self._latest)
            self._latest = start

    @property
    def _lacks_jobs(self) -> bool:
        # The newest count is valid: jobs begin and end meanwhile, and the next walk counts anew.
        return len(self._ids) < self._total


def count_entries(answer: JobsListResponse) -> int:
    """Return the number of jobs on a page, including unreadable entries."""
    return len(answer.jobs) + answer.dropped


def has_no_page(error: AsyncAPIResponseError, page: int, *, by_status: bool) -> bool:
    """Return whether an error means that the list has no such page, so that there are no jobs and no fault.

    The API may refuse to filter by a state that only tasks have, and may refuse a page behind the end. Only an error
    body of the API itself proves it: a gateway knows nothing about pages.
    """
    if page > 1:
        return error.is_api_error and error.status_code in _BEHIND_THE_END
    return by_status and error.is_api_error and error.status_code in _INVALID


def shift_for_zone(moment: datetime, newest: datetime | None, now: float) -> datetime:
    """Return `moment` in the time zone of a list whose newest start is `newest`. `now` is the API's own time.

    A server may write its local time as if it was UTC. Then all its times have the same error, and the newest time
    shows its upper bound. An idle account looks the same, which costs a few more pages.
    """
    late = 0.0 if newest is None else now - newest.timestamp()
    return moment - timedelta(seconds=min(max(0.0, late), MAX_ZONE_OFFSET))


def has_unstarted(answer: JobsListResponse) -> bool:
    """Return whether a page names a job without a start time."""
    return any(job.start_time is None for job in answer.jobs)


def _start_times(jobs: Iterable[JobDetails]) -> list[datetime]:
    return [assume_utc(job.start_time) for job in jobs if job.start_time is not None]
