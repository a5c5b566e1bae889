"""Read the account's job list in full, once for all parts of a process that are in doubt at the same time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import AsyncAPIResponseError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.models.fields import assume_utc
from scrape_do_celery.models.statuses import RUNNING
from scrape_do_celery.rules.listing import (
    PAGE_SIZE,
    PageWalk,
    count_entries,
    has_no_page,
    has_unstarted,
    shift_for_zone,
)
from scrape_do_celery.rules.targets import JobDigests, named_tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping
    from datetime import datetime

    from scrape_do_celery.models import JobDetails

log = get_logger(__name__)

#: Jobs whose targets a process remembers at most.
_REMEMBERED: Final = 20_000
_NEWEST: Final = "start_time_desc"
#: Number of empty pages after which the totals of a list are not believed.
_EMPTY_PAGES: Final = 3
#: Seconds within which an answer must arrive, so that its `Date` shows the time.
AT_ONCE: Final = 1.0
#: Times of the API's clock, each with the loop's time, while this asyncio task reads a page of the list.
_listening: ContextVar[list[tuple[float, float]] | None] = ContextVar("listening", default=None)


def note_api_clock(_: int, headers: Mapping[str, str]) -> None:
    """Note the API's clock from the headers of an answer. Only answers to a request for the list count.

    An address may have several servers with their own clocks. The clock of the server that lists the jobs counts.
    """
    if (said := _listening.get()) is None:
        return
    try:
        date = parsedate_to_datetime(headers.get("date", ""))
    except (ValueError, TypeError, IndexError, OverflowError):
        return
    said.append((assume_utc(date).timestamp(), asyncio.get_running_loop().time()))


@dataclass(frozen=True, slots=True)
class JobListing:
    """The jobs of an account that run, that began after `back_to`, or that have no start time.

    `began` is the loop's time at the begin of the read. `complete` tells whether each entry of each page was readable.
    """

    jobs: Mapping[str, JobDetails]
    began: float
    back_to: datetime
    complete: bool


class JobListReader:
    """The reader of listings, one at a time, and the memory for the targets of the jobs that were read."""

    def __init__(self, read: Callable[..., Awaitable[JobsListResponse]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._last: JobListing | None = None
        self._digests: OrderedDict[str, JobDigests] = OrderedDict()
        self._date: tuple[float, float] | None = None
        #: the statuses by which the API refuses to list jobs, with its last errors
        self._refused: dict[str, AsyncAPIResponseError] = {}

    def api_clock_offset(self, store_clock_offset: float, tolerance: float) -> float | None:
        """Return the seconds by which the API's clock is ahead of the store's; None if they are not known.

        The store's clock is `store_clock_offset` seconds ahead of the loop's. A `Date` that is off by more than
        `tolerance` seconds is ignored, because a gateway may have made it up.
        """
        if self._date is None:
            return None
        ahead = self._date[0] - self._date[1] - store_clock_offset
        return ahead if abs(ahead) <= tolerance else None

    async def read_listing(self, asked: float, back_to: datetime) -> JobListing:
        """Return a listing that began at the loop's time `asked` or later, and reaches back to `back_to`."""
        async with self._lock:
            last = self._last
            if last is None or last.began < asked or last.back_to > back_to:
                self._last = last = await self._read_listing(back_to)
            return last

    async def _read_listing(self, back_to: datetime) -> JobListing:
        began = asyncio.get_running_loop().time()
        jobs: dict[str, JobDetails] = {}
        complete = [await self._all_pages(jobs, status) for status in RUNNING]
        # The request has no `start_from`, because a job that has not started has no start time to compare.
        complete.append(await self._newest_pages(jobs, back_to))
        return JobListing(jobs, began, back_to, all(complete))

    async def running_jobs(self) -> dict[str, JobDetails]:
        """Return the running jobs of the account as the list shows them, by their ids in lower case."""
        jobs: dict[str, JobDetails] = {}
        for status in RUNNING:
            await self._all_pages(jobs, status)
        self.check_refusals()
        return jobs

    async def _all_pages(self, jobs: dict[str, JobDetails], status: str) -> bool:
        walk = PageWalk()
        while walk.has_more:
            answer = await self.read_page(walk.page + 1, status=status)
            walk.add(answer)
            _add_jobs(jobs, answer.jobs)
            if walk.page > 1:
                # If a job left the list in the meantime, the first job of this page has moved to the page before.
                await self._read_again(walk, jobs, walk.page - 1, status=status)
        return walk.complete

    async def _newest_pages(self, jobs: dict[str, JobDetails], back_to: datetime) -> bool:
        walk, past = PageWalk(), False
        while walk.has_more and not past:
            answer = await self.read_page(walk.page + 1, sort=_NEWEST)
            walk.add(answer)
            _add_jobs(jobs, answer.jobs)
            # Without totals the last page is unknown. In that case, the list is read to its end.
            past = walk.page < walk.last_page and walk.is_past(self._as_listed(back_to, walk))
        if walk.page > 1:
            # A job that started in the meantime is on the first page, which was read before.
            await self._read_again(walk, jobs, 1, sort=_NEWEST)
        is_complete = await self._unstarted_pages(jobs, walk) if past else True
        return walk.complete and is_complete

    async def _read_again(self, walk: PageWalk, jobs: dict[str, JobDetails], page: int, **filters: str) -> None:
        answer = await self.read_page(page, **filters)
        walk.add_again(answer)
        _add_jobs(jobs, answer.jobs)

    def _as_listed(self, moment: datetime, walk: PageWalk) -> datetime:
        if self._date is None:
            return moment
        said, at = self._date
        return shift_for_zone(moment, walk.newest, said + asyncio.get_running_loop().time() - at)

    async def _unstarted_pages(self, jobs: dict[str, JobDetails], walk: PageWalk) -> bool:
        """Read the jobs without a start time from the last pages: a list sorted by falling time may put them there.

        Return whether all entries of these pages were readable.
        """
        page, is_complete, empty = walk.last_page, True, 0
        while page > walk.page and empty < _EMPTY_PAGES:
            answer = await self.read_page(page, sort=_NEWEST)
            is_complete = is_complete and answer.is_complete
            _add_jobs(jobs, [job for job in answer.jobs if job.start_time is None])
            if count_entries(answer) and not has_unstarted(answer):
                break
            # The totals may count a page too many, or jobs that have expired in the meantime.
            empty += not count_entries(answer)
            page -= 1
        return is_complete and empty < _EMPTY_PAGES

    async def read_page(self, page: int, **filters: str) -> JobsListResponse:
        """Read a page of the job list. Return an empty page if the API answers that it does not exist."""
        clock = asyncio.get_running_loop().time
        asked = clock()
        said: list[tuple[float, float]] = []
        listening = _listening.set(said)
        try:
            answer = await self._read(page=page, page_size=PAGE_SIZE, **filters)
        except AsyncAPIResponseError as error:
            if not has_no_page(error, page, by_status="status" in filters):
                raise
            if page == 1:
                self._note_refusal(filters["status"], error)
            answer = JobsListResponse(jobs=[])
        else:
            self._refused.pop(filters.get("status", ""), None)
        finally:
            _listening.reset(listening)
        # If an answer took longer, the loop's time of its `Date` is not known.
        if said and clock() - asked < AT_ONCE:
            self._date = said[-1]
        return answer

    def _note_refusal(self, status: str, error: AsyncAPIResponseError) -> None:
        if status not in self._refused:
            log.warning(
                "the API does not list jobs by the status %s: %s; such jobs are polled individually",
                status,
                error,
                extra=log_fields("status_not_listed"),
            )
        self._refused[status] = error

    def check_refusals(self) -> None:
        """Check that the API lists jobs by at least one status. Otherwise no list shows which jobs run.

        Raises:
            AsyncAPIResponseError: If the API refused each status at the last request.
        """
        if set(RUNNING) <= self._refused.keys():
            raise self._refused[RUNNING[-1]]

    def digests_of(self, job: JobDetails) -> JobDigests | None:
        """Return the digests of a job's targets; None if they are not known."""
        if names_its_targets(job):
            return self.remember(job)
        return self._digests.get(job.job_id.lower())

    def remember(self, job: JobDetails) -> JobDigests:
        """Remember and return the digests of the targets of a job that names its tasks."""
        urls = (task.url for task in named_tasks(job))
        found = self._digests[job.job_id.lower()] = JobDigests.from_urls(urls)
        if len(self._digests) > _REMEMBERED:
            self._digests.popitem(last=False)
        return found


def names_its_targets(job: JobDetails) -> bool:
    """Return whether a job names the URL of each of its tasks."""
    named = named_tasks(job)
    return bool(named) and len(named) >= len(job.task_ids) and not job.dropped


def _add_jobs(jobs: dict[str, JobDetails], found: Iterable[JobDetails]) -> None:
    for job in found:
        # An entry without tasks must not replace an earlier entry of the job that has them.
        if job.tasks or job.job_id.lower() not in jobs:
            jobs[job.job_id.lower()] = job
