"""Fetch one task of a job: store its page, or judge the answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from scrape_do_celery.client import gone_task
from scrape_do_celery.errors import AsyncAPIUnparsableResponseError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.models import JobDetails, JobStatus, TaskDetails
from scrape_do_celery.rules.api_errors import describe_trouble
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
from scrape_do_celery.rules.polling import MAX_TASK_FETCHES, NOT_FOUND_GRACE
from scrape_do_celery.steps.absences import is_absent
from scrape_do_celery.steps.store_health import is_full
from scrape_do_celery.steps.webhook_trust import check_page
from scrape_do_celery.store.commands.contents import HoldContent, StoreContent, StoreResult

if TYPE_CHECKING:
    from collections.abc import Collection

    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim

#: Seconds after which a part without errors goes to the end of the queue, although pages are missing: other parts get
#: their turn.
SLICE = 2.0
_NO_NOTE = AnswerNote()
_NOT_FOUND = frozenset({AnswerFate.GONE, AnswerFate.NOT_FOUND, AnswerFate.UNCONFIRMED})


@dataclass
class FetchPass:
    """The results of one pass over the missing tasks."""

    #: tasks that are missing after this pass
    left: int = 0
    #: tasks that were not finished, or not found
    unfinished: int = 0
    #: tasks without an answer that counts
    unasked: int = 0
    full: bool = False
    #: whether the time was over before each task had been fetched
    cut: bool = False
    trouble: ScrapeDoError | None = None
    #: a description of the last unusable answer; only the task of that answer waits for it
    unusable: str = ""
    #: notes on answers by position of the task, and unknown status words
    notes: Notes = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    #: positions whose tasks this pass has stored, or whose pages it holds
    kept: set[int] = field(default_factory=set)
    #: positions of delivered pages to compare with the fetched ones
    checks: Collection[int] = ()
    began: float = field(default_factory=lambda: asyncio.get_running_loop().time())

    @property
    def counts_as_pass(self) -> bool:
        """Whether each missing task had an answer that counts. Only such passes count before a task is given up."""
        return self.unfinished > 0 and not self.unasked

    def is_over(self) -> bool:
        """Return whether the rest is left to a later pass. A pass with an error is never cut, so that it can count."""
        if not (self.unfinished or self.unasked or self.trouble):
            self.cut = self.cut or asyncio.get_running_loop().time() - self.began > SLICE
        return self.cut


async def fetch_task(context: WorkerContext, claim: Claim, job: JobDetails, position: int, found: FetchPass) -> bool:
    """Fetch a task. Return whether no later pass must fetch it; usually, because it is stored now."""
    task = await _final_task(context, claim, job, position, found)
    if task is None:
        return False
    is_check = position in found.checks
    if is_check:
        await check_page(context, claim, position, task)
    if was_stopped(job) and task.status == JobStatus.CANCELED and not is_check:
        stored = True if await _hold_task(context, claim, position, task, found) else None
    else:
        stored = await store_task(context, claim, position, task)
        if stored:
            found.kept.add(position)
    if stored is None:
        # The answer for this task is lost, and the next pass comes too soon to count for the other tasks.
        found.full = True
        found.unasked += 1
    return bool(stored)


async def _hold_task(context: WorkerContext, claim: Claim, position: int, task: TaskDetails, found: FetchPass) -> bool:
    """Hold the page of a task like `hold_page`, and note that the pass holds it."""
    is_held = await hold_page(context, claim, position, task)
    if is_held and task.content:
        found.kept.add(position)
    return is_held


async def store_task(context: WorkerContext, claim: Claim, position: int, task: TaskDetails) -> bool | None:
    """Store a task. Return whether it is stored now; None if the store is full."""
    try:
        content = await context.store.run(StoreContent(claim.part_id, position, task, claim.price_key(task.url)))
    except StoreUnavailableError as error:
        if not is_full(error):
            raise
        # A page may need more memory than the store has left, and some servers do not report how much they have left.
        context.health.note_write_refused()
        return None
    if content.result is StoreResult.STORED:
        context.rate_limiter.counters.page(content.size, until=claim.now + context.settings.result_ttl)
        context.rate_limiter.counters.task(task.duration)
    return content.result is not StoreResult.GONE


async def _final_task(
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, found: FetchPass
) -> TaskDetails | None:
    """Return the task in the form to store; None if a later pass must fetch it again."""
    task_id = job.task_ids[position]
    if is_placeholder(task_id):
        return unnamed_task(job, task_id)
    try:
        task = await context.get_task(job.job_id, task_id)
    except StoreUnavailableError:
        # The API is not at fault.
        raise
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
    await _hold_task(context, claim, position, task, found)
    return None


async def hold_page(context: WorkerContext, claim: Claim, position: int, task: TaskDetails) -> bool:
    """Hold the page of an unfinished task: a later answer may contain less, and this page is paid for.

    Return False if the store is too full for the page.
    """
    return not task.content or await _hold_page(context, claim, position, hold_task(task))


async def _hold_unreadable(
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, error: ScrapeDoError
) -> bool:
    """Hold an unreadable answer if it contains a page. Return whether it does."""
    if not (isinstance(error, AsyncAPIUnparsableResponseError) and holds_content(error.body)):
        return False
    await _hold_page(context, claim, position, _make_unusable_task(job, job.task_ids[position], error))
    return True


async def _hold_page(context: WorkerContext, claim: Claim, position: int, task: TaskDetails) -> bool:
    try:
        await context.store.run(HoldContent(claim.part_id, position, task, claim.price_key(task.url)))
    except StoreUnavailableError as error:
        if not is_full(error):
            raise
        context.health.note_write_refused()
        return False
    return True


async def _judge_error(  # noqa: PLR0913, PLR0917 (the answer to judge, and the pass that notes the result)
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, found: FetchPass, error: ScrapeDoError
) -> TaskDetails | None:
    fate, task_id = classify_answer(error), job.task_ids[position]
    if fate is AnswerFate.TOO_LARGE:
        return _make_unusable_task(job, task_id, error)
    if fate is AnswerFate.ATTEMPT:
        return await _count_attempt(context, claim, job, position, found, error)
    # If the API has certainly deleted the job, its tasks are gone. A run must not wait for other answers for ever.
    if claim.is_forgotten():
        return gone_task(job, task_id, str(error))
    if fate in _NOT_FOUND:
        if fate is not AnswerFate.GONE and _is_young(claim):
            found.unasked += 1
            return None
        if await is_absent(context, claim, error, of_task=True):
            found.unfinished += fate is not AnswerFate.GONE
            return gone_task(job, task_id, str(error)) if fate is AnswerFate.GONE or _is_last_fetch(claim) else None
    found.unasked += 1
    found.trouble = found.trouble or without_answer(error)
    return None


async def _count_attempt(  # noqa: PLR0913, PLR0917 (as above)
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, found: FetchPass, error: ScrapeDoError
) -> TaskDetails | None:
    """Count an unusable answer for one task. Other tasks of the job do not wait for it."""
    before = found.notes.get(position, _NO_NOTE)
    after = found.notes[position] = before.count(claim.watched)
    if after.attempts > before.attempts:
        context.rate_limiter.counters.add("unreadable:task")
    if after.is_used_up or is_last_pass(context, claim):
        return _make_unusable_task(job, job.task_ids[position], error)
    await _hold_unreadable(context, claim, job, position, error)
    found.unusable = describe_trouble(error)
    return None


async def judge_early(  # noqa: PLR0913, PLR0917 (as above)
    context: WorkerContext, claim: Claim, job: JobDetails, position: int, notes: Notes | None, error: ScrapeDoError
) -> TaskDetails | None:
    """Judge an error for a task of a running job. Return the task in the form to store; None to fetch it again later.

    `notes` are the notes of a stalled job. Without them, only a page that is too large is judged, so that no later poll
    reads it again. A fetch may come too early for a running task. So a refusal or "not found" does not count, and an
    unreadable answer counts only if it contains a page.
    """
    fate, task_id = classify_answer(error), job.task_ids[position]
    if fate is AnswerFate.TOO_LARGE:
        return _make_unusable_task(job, task_id, error)
    has_page = await _hold_unreadable(context, claim, job, position, error)
    if notes is None:
        return None
    if fate is AnswerFate.GONE and await is_absent(context, claim, error, of_task=True):
        return gone_task(job, task_id, str(error))
    if not has_page:
        return None
    before = notes.get(position, _NO_NOTE)
    after = notes[position] = before.count(claim.watched)
    if after.attempts > before.attempts:
        context.rate_limiter.counters.add("unreadable:task")
    return _make_unusable_task(job, task_id, error) if after.is_used_up else None


def without_answer(error: ScrapeDoError) -> ScrapeDoError:
    """Drop the answer from an error. Fifty parts may each keep an error, and an answer has up to 64 MB.

    The tracebacks of the error and of its cause refer to the answer too, so they are dropped as well.
    """
    if isinstance(error, AsyncAPIUnparsableResponseError):
        error.body = b""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _make_unusable_task(job: JobDetails, task_id: str, error: ScrapeDoError) -> TaskDetails:
    url = next((task.url for task in job.tasks if task.task_id == task_id), "")
    return unusable_task(job.job_id, task_id, url, error)


def is_last_pass(context: WorkerContext, claim: Claim) -> bool:
    """Return whether this is the last pass, so that an unusable answer must be stored now or never."""
    return claim.is_forgotten() or claim.stop_grace_passed(2 * context.settings.cancel_grace)


def _is_last_fetch(claim: Claim) -> bool:
    return claim.part.fetch_passes + 1 >= MAX_TASK_FETCHES


def _is_young(claim: Claim) -> bool:
    return claim.job_age < NOT_FOUND_GRACE
