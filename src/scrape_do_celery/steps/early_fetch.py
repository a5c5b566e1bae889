"""Fetch and store tasks that have ended although their job runs. Errors are left to the next step on the part."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from scrape_do_celery.errors import AsyncAPIRateLimitError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.models import JobStatus
from scrape_do_celery.models.statuses import is_terminal
from scrape_do_celery.rules.api_errors import is_auth
from scrape_do_celery.rules.fetch import JOB_NOTE, AnswerNote
from scrape_do_celery.rules.lifecycle import has_passed, is_unknown, settle_task
from scrape_do_celery.rules.waits import FETCH_BELOW
from scrape_do_celery.steps import fetch_task
from scrape_do_celery.steps.breaker import apply_to_all_workers
from scrape_do_celery.steps.fetch_task import hold_page, judge_early, store_task, without_answer
from scrape_do_celery.steps.leases import write_claimed
from scrape_do_celery.steps.loop import gather_or_cancel
from scrape_do_celery.steps.status_words import note_words
from scrape_do_celery.steps.webhook_trust import check_page
from scrape_do_celery.store.commands.contents import ReadStoredPositions

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scrape_do_celery.models import JobDetails, TaskDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim

#: The statuses of tasks that ended without a stop.
ENDED = frozenset({JobStatus.SUCCESS, JobStatus.ERROR})
_NO_NOTE = AnswerNote()


class EarlyPass:
    """A pass over tasks of a running job. After `fetch_task.SLICE` seconds, other parts get their turn.

    Of a stalled job, each task is stored that may have ended, and the pass has notes on the unfinished ones.
    """

    def __init__(self, context: WorkerContext, claim: Claim, job: JobDetails, *, is_stalled: bool = False) -> None:
        self._context, self._claim, self._job, self._is_stalled = context, claim, job, is_stalled
        #: The end of the time, from the first fetch on. If the wait for other parts counted, no task might be fetched.
        self._until: float | None = None
        self._troubles: list[ScrapeDoError] = []
        self._words: list[str] = []
        self._stored = 0
        #: whether the store was too full for a page
        self.is_full = False
        #: positions of tasks that were not fetched, because the time was over, or each request would fail
        self.cut: set[int] = set()
        self.notes = {at: note for at, note in claim.part.notes.items() if at != JOB_NOTE}

    @property
    def has_more(self) -> bool:
        """Whether only the time was over, so that the next pass can go on at once.

        A pass that stored nothing would repeat its failed requests without a pause.
        """
        return bool(self.cut) and self._stored > 0 and not self.is_full and not self.is_refused

    @property
    def is_refused(self) -> bool:
        """Whether the API refused the token, or asked for a pause: each further request would fail."""
        return bool(self._troubles)

    @property
    def is_over(self) -> bool:
        """Whether this pass fetches no more."""
        is_late = self._until is not None and asyncio.get_running_loop().time() > self._until
        return self.is_full or self.is_refused or is_late

    async def fetch(self, positions: Iterable[int], *, checks: Collection[int] = ()) -> None:
        """Fetch tasks, and store those that have ended. Compare tasks of `checks` with their delivered pages."""
        await gather_or_cancel(self._fetch_one(position, is_check=position in checks) for position in positions)
        for error in self._troubles[:1]:
            await apply_to_all_workers(self._context, error)
        await note_words(self._context, self._claim, "task", self._words)

    async def _fetch_one(self, position: int, *, is_check: bool) -> None:
        context = self._context
        # An answer with a large page holds the memory slot until the page is stored.
        async with context.early_fetch_semaphore, context.page_memory.page():
            self.is_full = self.is_full or not await context.health.is_below(FETCH_BELOW)
            if self._until is None:
                self._until = asyncio.get_running_loop().time() + fetch_task.SLICE
            if self.is_over:
                self.cut.add(position)
                return
            final = await self._final_task(position)
            if final is None:
                return
            if is_check:
                await check_page(context, self._claim, position, final)
            if await store_task(context, self._claim, position, final) is None:
                self.is_full = True
                self.cut.add(position)
            else:
                self._stored += 1

    async def _final_task(self, position: int) -> TaskDetails | None:
        """Return the task in the form to store; None if a later step must fetch it."""
        context, claim, job = self._context, self._claim, self._job
        try:
            task = await context.get_task(job.job_id, job.task_ids[position])
        except StoreUnavailableError:
            # The API is not at fault.
            raise
        except ScrapeDoError as error:
            if is_auth(error) or isinstance(error, AsyncAPIRateLimitError):
                self._troubles.append(without_answer(error))
            notes = self.notes if self._is_stalled else None
            return await judge_early(context, claim, job, position, notes, error)
        final = self._settle(position, task)
        if final is None:
            await hold_page(context, claim, position, task)
        return final

    def _settle(self, position: int, task: TaskDetails) -> TaskDetails | None:
        """Return the task in the form to store; None while the task may run."""
        if not self._is_stalled:
            return task if task.status in ENDED else None
        if is_unknown(task.status):
            self._words.append(str(task.status))
        before = self.notes.get(position, _NO_NOTE)
        self.notes[position] = replace(before, has_end=has_passed(task.end_time, self._claim.now))
        return settle_task(task, now=self._claim.now, had_end=before.has_end)


async def fetch_early(context: WorkerContext, claim: Claim, job: JobDetails, *, is_stalled: bool = False) -> EarlyPass:
    """Fetch and store the tasks that have ended by the job's summary. Return the pass.

    Of a stalled job, each task is fetched that may have ended.
    """
    work = EarlyPass(context, claim, job, is_stalled=is_stalled)
    await work.fetch(await _early_positions(context, claim, job, is_stalled=is_stalled))
    return work


async def _early_positions(context: WorkerContext, claim: Claim, job: JobDetails, *, is_stalled: bool) -> list[int]:
    """Return the positions of the tasks to fetch now, while their job runs."""
    stored = await context.store.run(ReadStoredPositions(claim.part_id))
    ready = sorted(set(_ended_positions(claim, job, is_stalled=is_stalled)) - stored)
    if ready and claim.part.status is None:
        # Without the job in the record, neither readers nor a retry would find a page.
        await write_claimed(context, claim, {}, job)
    return ready


def _ended_positions(claim: Claim, job: JobDetails, *, is_stalled: bool) -> list[int]:
    """Return the positions of the tasks that have ended by the job's summary; of a stalled job, that may have ended.

    If the last answer for a task was unusable, the task waits until the next answer counts.
    """
    status = {task.task_id: task.status for task in job.tasks}
    if not is_stalled:
        return [at for at, task_id in enumerate(job.task_ids) if status.get(task_id) in ENDED]
    return [
        at
        for at, task_id in enumerate(job.task_ids)
        if (is_terminal(word := status.get(task_id, "")) or is_unknown(word))
        and claim.part.notes.get(at, _NO_NOTE).next_at <= claim.watched
    ]
