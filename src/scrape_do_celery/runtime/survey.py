"""One full look at the account's job list, shared by all parts of a process that are in doubt at the time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.client.calls import MAX_PAGE_SIZE
from scrape_do_celery.models.base import aware
from scrape_do_celery.models.enums import RUNNING
from scrape_do_celery.models.urls import fingerprint

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from datetime import datetime

    from scrape_do_celery.models import JobDetails, JobsListResponse

#: Jobs of the account whose targets are remembered: they never change.
_REMEMBERED: Final = 20_000
#: Seconds within which an answer tells the time.
AT_ONCE: Final = 1.0
#: What the clock of the API said, and when, while this task of asyncio looks at the list.
_listening: ContextVar[list[tuple[float, float]] | None] = ContextVar("listening", default=None)


@dataclass(frozen=True, slots=True)
class Survey:
    """Every job that still runs, and every other one that began after `back_to`. `began` is a moment of the loop."""

    jobs: Mapping[str, JobDetails]
    began: float
    back_to: datetime


class Surveyor:
    """Takes surveys, one at a time, and knows the targets of jobs that it has read."""

    def __init__(self, read: Callable[..., Awaitable[JobsListResponse]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._last: Survey | None = None
        self._fingerprints: OrderedDict[str, str] = OrderedDict()
        self._date: tuple[float, float] | None = None

    def heard(self, _: int, headers: Mapping[str, str]) -> None:
        """Notes the API's clock; for each answer, of which only those to a look at the list are listened to.

        Behind one address there may be servers with clocks of their own: what counts is the one that shows the jobs.
        """
        if (said := _listening.get()) is None:
            return
        try:
            date = parsedate_to_datetime(headers.get("date", ""))
        except (ValueError, TypeError, IndexError, OverflowError):
            return
        said.append((aware(date).timestamp(), asyncio.get_running_loop().time()))

    def api_ahead(self, store_ahead: float) -> float | None:
        """Seconds by which the API's clock is ahead of the store's, which is `store_ahead` of the loop's."""
        return None if self._date is None else self._date[0] - self._date[1] - store_ahead

    async def survey(self, asked: float, back_to: datetime) -> Survey:
        """A survey that began after the moment `asked` of the loop and reaches back as far as that."""
        async with self._lock:
            last = self._last
            if last is None or last.began < asked or last.back_to > back_to:
                self._last = last = await self._survey(back_to)
            return last

    async def _survey(self, back_to: datetime) -> Survey:
        began = asyncio.get_running_loop().time()
        jobs = await self.running()
        await self._newest_pages(jobs, back_to)
        return Survey(jobs, began, back_to)

    async def running(self) -> dict[str, JobDetails]:
        """Every job of the account that still runs, by its id, as the list shows it."""
        jobs: dict[str, JobDetails] = {}
        for status in RUNNING:
            await self._all_pages(jobs, status)
        return jobs

    async def _all_pages(self, jobs: dict[str, JobDetails], status: str) -> None:
        page, more = 0, True
        while more:
            page += 1
            more = _take(jobs, await self._page(page, status=status), page)
            if page > 1:
                # A job that left the list meanwhile has moved another one across the border between the two pages.
                _take(jobs, await self._page(page - 1, status=status), page)

    async def _newest_pages(self, jobs: dict[str, JobDetails], back_to: datetime) -> None:
        # Without `start_from`: a job that has not started has no time to be found by.
        page, more = 0, True
        while more:
            page += 1
            answer = await self._page(page, sort="start_time_desc")
            more = _take(jobs, answer, page) and not _all_older(answer, back_to)

    async def _page(self, page: int, **filters: str) -> JobsListResponse:
        clock = asyncio.get_running_loop().time
        asked = clock()
        said: list[tuple[float, float]] = []
        listening = _listening.set(said)
        try:
            answer: JobsListResponse = await self._read(page=page, page_size=MAX_PAGE_SIZE, **filters)
        finally:
            _listening.reset(listening)
        # Only of an answer that came at once is it known when its `Date` was.
        if said and clock() - asked < AT_ONCE:
            self._date = said[-1]
        return answer

    def targets_of(self, job: JobDetails) -> str | None:
        """The fingerprint of a job's targets, where it is known."""
        if names_its_targets(job):
            return self.remember(job)
        return self._fingerprints.get(job.job_id)

    def remember(self, job: JobDetails) -> str:
        """The fingerprint of the targets of a job that names its tasks."""
        found = self._fingerprints[job.job_id] = fingerprint(task.url for task in job.tasks)
        if len(self._fingerprints) > _REMEMBERED:
            self._fingerprints.popitem(last=False)
        return found


def names_its_targets(job: JobDetails) -> bool:
    """Whether a job tells the URL of each of its tasks."""
    return bool(job.tasks) and len(job.tasks) >= len(job.task_ids) and all(task.url for task in job.tasks)


def more_pages(answer: JobsListResponse, page: int) -> bool:
    """Whether there may be a page behind this one."""
    if answer.total_pages:
        return bool(answer.jobs) and page < answer.total_pages
    return len(answer.jobs) >= MAX_PAGE_SIZE


def _take(jobs: dict[str, JobDetails], answer: JobsListResponse, page: int) -> bool:
    """Whether there may be a page behind this one, whose jobs are taken in."""
    for job in answer.jobs:
        # An entry may leave out what an earlier one had.
        if job.tasks or job.job_id not in jobs:
            jobs[job.job_id] = job
    return more_pages(answer, page)


def _all_older(answer: JobsListResponse, moment: datetime) -> bool:
    starts: list[Any] = [job.start_time for job in answer.jobs if job.start_time is not None]
    return bool(starts) and all(aware(start) < moment for start in starts)
