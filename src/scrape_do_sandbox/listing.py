"""The job list: its query, its filters, its order and its pages."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil, inf
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from scrape_do_sandbox.jobs import STATUSES, Job
from scrape_do_sandbox.spec import ApiError
from scrape_do_sandbox.timers import parse_time

if TYPE_CHECKING:
    from scrape_do_sandbox.timers import SandboxClock

_MAX_PAGE_SIZE = 100
_FRESH, _MAX_VIEWS = 0.02, 100


@dataclass(frozen=True, slots=True)
class JobQuery:
    """The query of a `GET /jobs`. Fault rules set `lag`, `null_start` and `slide`."""

    page: int = 1
    page_size: int = 10
    status: str = ""
    start_from: float = -inf
    start_to: float = inf
    newest_first: bool = True
    lag: float = 0.0
    null_start: bool = False
    slide: int = 0

    def shift_times(self, seconds: float) -> JobQuery:
        """Return this query in the time of a clock that is `seconds` behind."""
        return replace(self, start_from=self.start_from - seconds, start_to=self.start_to - seconds)

    def with_faults(self, lag: float, *, null_start: bool) -> JobQuery:
        """Return this query with the given faults."""
        return replace(self, lag=lag, null_start=null_start)

    def slide_pages(self, count: int) -> JobQuery:
        """Return this query with pages that each begin `count` jobs late, or, if negative, repeat as many jobs."""
        return replace(self, slide=count)

    @property
    def step(self) -> int:
        """The number of jobs from the first job of a page to the first job of the next page."""
        return max(1, self.page_size + self.slide)


@dataclass(frozen=True, slots=True)
class JobPage:
    """A page of jobs, and the number of jobs on all pages."""

    jobs: list[Job]
    total: int
    query: JobQuery

    def count_totals(self) -> dict[str, object]:
        """Return the four fields beside `Jobs`."""
        size, step = self.query.page_size, self.query.step
        # A list that repeats jobs needs more pages. A list that skips jobs reports its pages as if none were skipped.
        pages = ceil(self.total / size) if step >= size else 1 + max(0, ceil((self.total - size) / step))
        return {"TotalCount": self.total, "PageSize": size, "PageNumber": self.query.page, "TotalPages": pages}


def read_query(text: str) -> JobQuery:
    """Parse and check the query string.

    Raises:
        ApiError: 400, with the reason.
    """
    given = {name: values[-1] for name, values in parse_qs(text).items()}
    status, sort = given.get("status", ""), given.get("sort", "start_time_desc")
    if status and status not in STATUSES:
        raise ApiError(400, f"status must be one of {', '.join(STATUSES)}")
    if sort not in {"start_time_desc", "start_time_asc"}:
        raise ApiError(400, "sort must be start_time_desc or start_time_asc")
    return JobQuery(
        page=_read_number("page", given.get("page", "1"), inf),
        page_size=_read_number("page_size", given.get("page_size", "10"), _MAX_PAGE_SIZE),
        status=status,
        start_from=_read_time("start_from", given.get("start_from"), -inf),
        start_to=_read_time("start_to", given.get("start_to"), inf),
        newest_first=sort == "start_time_desc",
    )


def _read_number(name: str, text: str, high: float) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= high:
        raise ApiError(400, f"{name} must be a number from 1" + (f" to {high}" if high < inf else ""))
    return int(text)


def _read_time(name: str, text: str | None, otherwise: float) -> float:
    try:
        return otherwise if text is None else parse_time(text)
    except ValueError:
        raise ApiError(400, f"{name} must be an RFC 3339 time") from None


class JobListing:
    """Sorted, filtered views of an account's jobs at one moment: 20 ms ago at most, or when a job was last changed.

    All views show the same moment. Otherwise a job that moves on to its next status could be in the list of neither.
    """

    def __init__(self, jobs: dict[str, Job], clock: SandboxClock) -> None:
        self._jobs = jobs
        self._clock = clock
        self._moment = -inf
        self._views: dict[JobQuery, list[Job]] = {}

    def forget_views(self) -> None:
        """Drop all views because the jobs have changed."""
        self._moment = -inf

    def find_page(self, query: JobQuery) -> JobPage:
        """Return the page that `query` requests; a page past the end is empty."""
        jobs = self._find_view(replace(query, page=1, page_size=1, slide=0))
        first = (query.page - 1) * query.step
        return JobPage(jobs[first : first + query.page_size], len(jobs), query)

    def _find_view(self, query: JobQuery) -> list[Job]:
        now = self._clock.now()
        if query.lag:
            return self._sort_jobs(query, now)
        if not 0 <= now - self._moment <= _FRESH or len(self._views) >= _MAX_VIEWS:
            self._moment, self._views = now, {}
        if query not in self._views:
            self._views[query] = self._sort_jobs(query, self._moment)
        return self._views[query]

    def _sort_jobs(self, query: JobQuery, now: float) -> list[Job]:
        jobs = [job for job in self._jobs.values() if _fits_query(job, query, now)]
        jobs.sort(key=lambda job: _start_of(job, now), reverse=query.newest_first)
        if query.null_start:
            jobs.sort(key=lambda job: job.shown_start(now) is None)
        return jobs


def _start_of(job: Job, now: float) -> float:
    return job.shown_start(now) or job.created


def _fits_query(job: Job, query: JobQuery, now: float) -> bool:
    if job.expires <= now or now - job.created < query.lag or (query.status and job.status(now) != query.status):
        return False
    if query.null_start and job.shown_start(now) is None:
        return query.start_from == -inf and query.start_to == inf
    return query.start_from <= _start_of(job, now) <= query.start_to
