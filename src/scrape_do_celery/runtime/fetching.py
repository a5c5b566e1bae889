"""Fetching one task of a job: its page is stored, or the answer is judged."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from redis.exceptions import ResponseError

from scrape_do_celery.client import gone_task
from scrape_do_celery.errors import AsyncAPIUnparsableResponseError, ScrapeDoError
from scrape_do_celery.models import JobDetails, JobStatus, TaskDetails
from scrape_do_celery.polling import MAX_TASK_FETCHES, NOT_FOUND_GRACE
from scrape_do_celery.rules.fetch import (
    AnswerFate,
    AnswerNote,
    Notes,
    classify_answer,
    holds_content,
    unusable_task,
)
from scrape_do_celery.rules.ids import is_placeholder, unnamed_task
from scrape_do_celery.rules.lifecycle import (
    give_up_task,
    has_passed,
    hold_task,
    is_unknown,
    settle_task,
    was_stopped,
)
from scrape_do_celery.runtime.api_errors import describe_trouble
from scrape_do_celery.runtime.store_health import is_full
from scrape_do_celery.store import Claim, ops

if TYPE_CHECKING:
    from scrape_do_celery.runtime.context import WorkerContext

_NO_NOTE = AnswerNote()
_NOT_FOUND = frozenset({AnswerFate.GONE, AnswerFate.NOT_FOUND, AnswerFate.UNCONFIRMED})


@dataclass
class FetchPass:
    """What one pass over the missing tasks met."""

    left: int = 0
    #: tasks that were not ready, or not there
    unfinished: int = 0
    #: tasks of which nothing was learned
    unasked: int = 0
    full: bool = False
    #: the time was over before each task had been asked for
    cut: bool = False
    trouble: ScrapeDoError | None = None
    #: the last answer of no use, which only its own task waits for, in words
    unusable: str = ""
    #: notes on answers by position, and unknown status words
    notes: Notes = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def is_look(self) -> bool:
        """Whether each task that is still missing was looked at: only such passes count before one is given up."""
        return self.unfinished > 0 and not self.unasked

    def is_over(self, seconds: float) -> bool:
        """Whether the rest is left to a later one. Not once something went wrong: such a pass is to be a whole look."""
        if not (self.unfinished or self.unasked or self.trouble):
            self.cut = self.cut or asyncio.get_running_loop().time() - self.began > seconds
        return self.cut


async def fetch_task(context: WorkerContext, claim: Claim, job: JobDetails, position: int, found: FetchPass) -> bool:
    """Whether nothing more is to be had of the task: mostly, because it is stored now."""
    task = await _final_task(context, claim, job, position, found)
    if task is None:
        return False
    if was_stopped(job) and task.status == JobStatus.CANCELED:
        await hold_page(context, claim, position, task)
        return True
    stored = await store_task(context, claim, position, task)
    if stored is None:
        # Nothing was learned of this one, and the next pass comes too soon to count as a look at any other.
        found.full = True
        found.unasked += 1
    return bool(stored)


async def store_task(context: WorkerContext, claim: Claim, position: int, task: TaskDetails) -> bool | None:
    """Whether the task is stored now; None where there is no room for it."""
    try:
        command = ops.store_content(context.store.keys, claim.part_id, position, task)
        stored = await context.store.run(command)
    except ResponseError as error:
        if not is_full(error):
            raise
        # A page may need more than what is left, and not every server tells how much that is.
        context.health.note_write_refused()
        return None
    if stored > 0:
        context.rate_limiter.counters.page(ops.size(command), until=claim.now + context.settings.result_ttl)
    return stored >= 0


async def _final_task(
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, found: FetchPass
) -> TaskDetails | None:
    """The task as it is stored; None where a later pass asks for it again."""
    task_id = job.task_ids[position]
    if is_placeholder(task_id):
        return unnamed_task(job, task_id)
    try:
        task = await context.get_task(job.job_id, task_id)
    except ScrapeDoError as error:
        return await _judge_error(context, claim, job, position, found, error)
    context.absences.note_answer(claim)
    if is_unknown(task.status):
        found.words.append(str(task.status))
    before = found.notes.get(position, _NO_NOTE)
    settled = settle_task(task, now=claim.now, had_end=before.has_end)
    if settled is not None:
        return settled
    found.notes[position] = AnswerNote(has_end=is_unknown(task.status) and has_passed(task.end_time, claim.now))
    found.unfinished += 1
    if _is_last_fetch(claim):
        return give_up_task(task, MAX_TASK_FETCHES)
    await hold_page(context, claim, position, task)
    return None


async def hold_page(context: WorkerContext, claim: Claim, position: int, task: TaskDetails) -> None:
    """Hold a page of an answer that is not the last one: a later answer may contain less, and this one is paid for."""
    if task.content:
        await _hold(context, claim, position, hold_task(task))


async def _hold_unreadable(
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, error: ScrapeDoError
) -> bool:
    """Hold an answer that cannot be read, if it holds content. Whether it does."""
    if not (isinstance(error, AsyncAPIUnparsableResponseError) and holds_content(error.body)):
        return False
    await _hold(context, claim, position, _unusable(job, job.task_ids[position], error))
    return True


async def _hold(context: WorkerContext, claim: Claim, position: int, task: TaskDetails) -> None:
    try:
        await context.store.run(ops.hold_content(context.store.keys, claim.part_id, position, task))
    except ResponseError as error:
        if not is_full(error):
            raise
        context.health.note_write_refused()


async def _judge_error(  # noqa: PLR0913, PLR0917 (what is judged, and where the judgement is noted)
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, found: FetchPass, error: ScrapeDoError
) -> TaskDetails | None:
    fate, task_id = classify_answer(error), job.task_ids[position]
    if fate is AnswerFate.TOO_LARGE:
        return _unusable(job, task_id, error)
    if fate is AnswerFate.ATTEMPT:
        return await _count_attempt(context, claim, job, position, found, error)
    # What the API has forgotten is gone, whatever it answers: a run must not wait for it for ever.
    if claim.is_forgotten():
        return gone_task(job, task_id, str(error))
    if fate in _NOT_FOUND:
        if fate is not AnswerFate.GONE and _is_young(claim):
            found.unasked += 1
            return None
        if await context.absences.is_believed(context, claim, error, of_task=True):
            found.unfinished += fate is not AnswerFate.GONE
            return gone_task(job, task_id, str(error)) if fate is AnswerFate.GONE or _is_last_fetch(claim) else None
    found.unasked += 1
    found.trouble = found.trouble or without_answer(error)
    return None


async def _count_attempt(  # noqa: PLR0913, PLR0917 (as above)
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, found: FetchPass, error: ScrapeDoError
) -> TaskDetails | None:
    """One bad task waits by itself: it is no trouble of the others, and no reason not to look at them."""
    before = found.notes.get(position, _NO_NOTE)
    after = found.notes[position] = before.count(claim.now)
    if after.attempts > before.attempts:
        context.rate_limiter.counters.add("unreadable:task")
    if after.is_used_up or is_last_pass(context, claim):
        return _unusable(job, job.task_ids[position], error)
    await _hold_unreadable(context, claim, job, position, error)
    found.unusable = describe_trouble(error)
    return None


async def judge_early(  # noqa: PLR0913, PLR0917 (as above)
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, notes: Notes | None, error: ScrapeDoError
) -> TaskDetails | None:
    """The task of a job that goes on as it is stored; None where a later look asks for it again.

    `notes` are those of a stalled job; without them only a page that is too large is judged, so that it is not read at
    each look. A look may come too early for a task that goes on: a refusal or "not found" is not counted, and an answer
    that cannot be read is counted only if it holds content.
    """
    fate, task_id = classify_answer(error), job.task_ids[position]
    if fate is AnswerFate.TOO_LARGE:
        return _unusable(job, task_id, error)
    has_page = await _hold_unreadable(context, claim, job, position, error)
    if notes is None:
        return None
    if fate is AnswerFate.GONE and await context.absences.is_believed(context, claim, error, of_task=True):
        return gone_task(job, task_id, str(error))
    if not has_page:
        return None
    before = notes.get(position, _NO_NOTE)
    after = notes[position] = before.count(claim.now)
    if after.attempts > before.attempts:
        context.rate_limiter.counters.add("unreadable:task")
    return _unusable(job, task_id, error) if after.is_used_up else None


def without_answer(error: ScrapeDoError) -> ScrapeDoError:
    """The error without the answer that it holds: fifty parts may each keep one, and an answer has up to 64 MB.

    The frames of its traceback, and of its cause's, hold the answer too.
    """
    if isinstance(error, AsyncAPIUnparsableResponseError):
        error.body = b""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _unusable(job: JobDetails, task_id: str, error: ScrapeDoError) -> TaskDetails:
    url = next((task.url for task in job.tasks if task.task_id == task_id), "")
    return unusable_task(job.job_id, task_id, url, error)


def is_last_pass(context: WorkerContext, claim: Claim) -> bool:
    """Whether no later pass will ask again: what an answer contained is kept now, or never."""
    return claim.is_forgotten() or claim.stop_grace_passed(2 * context.settings.cancel_grace)


def _is_last_fetch(claim: Claim) -> bool:
    return claim.part.fetch_passes + 1 >= MAX_TASK_FETCHES


def _is_young(claim: Claim) -> bool:
    return claim.now - (claim.part.bought_at or 0.0) < NOT_FOUND_GRACE
