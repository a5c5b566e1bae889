"""Fetch the tasks of jobs: store each task when it arrives, and never fetch it again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.errors import AsyncAPIRateLimitError, JobLostError
from scrape_do_celery.log_fields import get_logger
from scrape_do_celery.models import JobDetails, UndetailedTaskResponse
from scrape_do_celery.rules.api_errors import is_auth
from scrape_do_celery.rules.fetch import JOB_NOTE, AnswerNote, Notes, notes_to_json
from scrape_do_celery.rules.ids import pad_job, targets_of_tasks
from scrape_do_celery.rules.lifecycle import (
    is_unknown,
    unknown_words,
    wanted_positions,
    was_stopped,
)
from scrape_do_celery.rules.polling import MAX_TASK_FETCHES, delay_before_last
from scrape_do_celery.rules.waits import FETCH_BELOW, WaitKind
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.fetch_task import (
    FetchPass,
    fetch_task,
    is_last_pass,
)
from scrape_do_celery.steps.finish import (
    CLEAR_FAILURES,
    finish_ended_part,
    finish_part,
    finish_stopped_part,
    read_progress,
)
from scrape_do_celery.steps.leases import write_claimed
from scrape_do_celery.steps.loop import gather_or_cancel
from scrape_do_celery.steps.positions import position_job
from scrape_do_celery.steps.retry import retry_after_error
from scrape_do_celery.steps.status_words import note_words
from scrape_do_celery.steps.store_health import FULL_STORE_DELAY
from scrape_do_celery.steps.webhook_trust import read_unproven
from scrape_do_celery.store import Claim, PartState, RunState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import CountDone, ReadContents, ReadStoredPositions
from scrape_do_celery.store.commands.parts import ReadJob, UpdatePart
from scrape_do_celery.store.request_inputs import targets_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store.command import Value

log = get_logger(__name__)

#: Contents in memory at a time, while the URLs of a job's tasks are read from them.
_CHUNK = 50
#: Seconds until the dispatcher publishes a second step message for the next turn. In a backlog, a message waits for a
#: long time. A second message would make two turns of one.
_REQUEUE_DELAY = 120.0
_NO_NOTE = AnswerNote()


async def collect_job(context: WorkerContext, claim: Claim, job: JobDetails) -> StepMessage | None:
    """Begin to fetch the tasks of a job that has ended, or for which no better answer will come."""
    claim = await note_words(context, claim, "task", unknown_words(job))
    job, surplus = position_job(claim, job)
    if surplus:
        context.rate_limiter.counters.add("surplus_ids", surplus)
    if not job.task_ids and claim.part.total:
        run_id = claim.part_id.run_id
        lost = JobLostError(f"run {run_id}: job {job.job_id} ended and names none of its tasks", run_id)
        return await finish_part(context, claim, RunState.LOST, lost)
    job, total = _all_targets(claim, job)
    fields: dict[str, Value] = {
        "tasks": pack(job.task_ids),
        "total": total,
        **CLEAR_FAILURES,
        **read_progress(job),
    }
    await write_claimed(context, claim, fields, job, to=PartState.FETCHING)
    part = replace(claim.part, state=PartState.FETCHING, task_ids=tuple(job.task_ids), total=total)
    return await _fetch_missing(context, replace(claim, part=part), job)


def _all_targets(claim: Claim, job: JobDetails) -> tuple[JobDetails, int]:
    """Return the job with a task for each target, and the number of tasks. The figures of a run must add up."""
    total = claim.part.total
    if len(job.task_ids) >= total:
        return job, total
    targets = targets_of_tasks(job.task_ids, targets_of(claim.spec().request))
    return (job if was_stopped(job) else pad_job(job, targets)), len(targets)


async def fetch_part(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """Fetch and store the missing tasks of a part in state `fetching`. End the part if none is missing."""
    job = await context.store.run(ReadJob(claim.part_id))
    if job is None:
        raise LookupError(f"{claim.part_id} is in state fetching, but its record has no job")
    return await _fetch_missing(context, claim, job)


async def _fetch_missing(context: WorkerContext, claim: Claim, job: JobDetails) -> StepMessage | None:
    passes = claim.part.fetch_passes
    stored = await context.store.run(ReadStoredPositions(claim.part_id))
    # An unreadable answer may hold a page, even if the job was stopped.
    counted = {at for at, note in _task_notes(claim).items() if note.attempts}
    checks = (await read_unproven(context, claim)).checks
    missing = ((wanted_positions(job, passes) | counted) - stored) | checks
    is_last = is_last_pass(context, claim)
    waiting = set() if is_last else {at for at in missing if _read_note(claim, at).next_at > claim.watched}
    found = await _fetch_once(context, claim, job, sorted(missing - waiting), checks)
    found.left += len(waiting)
    if not found.left:
        # A page may have been delivered meanwhile. No part ends before its checks.
        found.left = len((await read_unproven(context, claim)).checks)
    claim = await note_words(context, claim, "task", found.words)
    # The API has nothing more of a job that it has deleted. So the part ends, whatever the store has lost.
    kept = None if claim.is_forgotten() else stored | found.kept
    if not found.left:
        return await _finish_fetching(context, claim, job, kept)
    # The pages of a run with a stop request are paid for. So fetching goes on for another `cancel_grace` after the
    # grace in which the job had to stop. A pass that was cut for other parts has its next turn.
    if not found.cut and claim.stop_grace_passed(2 * context.settings.cancel_grace):
        return await finish_stopped_part(context, claim, await _with_task_urls(context, claim, job), kept=kept)
    passes += found.counts_as_pass
    fields: dict[str, Value] = {"fetch_passes": passes, "notes": _pack_notes(found.notes)}
    if found.full:
        await context.release_until(claim, fields, FULL_STORE_DELAY)
        return None
    if found.trouble is not None:
        return await retry_after_error(context, claim, found.trouble, fields, may_end=is_auth(found.trouble))
    if found.cut:
        await context.release_until(claim, {**fields, **CLEAR_FAILURES}, 0.0, redispatch_after=_REQUEUE_DELAY)
        return StepMessage(routing.FETCH_TASKS, (str(claim.part_id),))
    fields |= _failure_fields(claim, found, is_waiting=bool(waiting))
    await context.release_until(claim, fields, _fetch_delay(context, claim, found, passes))
    return None


def _fetch_delay(context: WorkerContext, claim: Claim, found: FetchPass, passes: int) -> float:
    """Return the seconds until the next pass. If all answers left are unusable, wait until the first one may count."""
    wait = delay_before_last(passes, MAX_TASK_FETCHES, context.interval(claim.part.fetch_passes))
    if not (found.unfinished or found.unasked):
        wait = max(
            wait, min((note.next_at for note in found.notes.values() if note.attempts), default=0.0) - claim.watched
        )
    return wait if claim.stop_reason is None else min(wait, context.settings.cancel_grace)


def _failure_fields(claim: Claim, found: FetchPass, *, is_waiting: bool) -> dict[str, Value]:
    if found.unusable:
        trouble = claim.trouble_fields(WaitKind.API_ERROR)
        return {"api_failures": 1, "refused_since": 0, "api_error": found.unusable, **trouble}
    return {} if is_waiting else CLEAR_FAILURES


def _read_note(claim: Claim, position: int) -> AnswerNote:
    return claim.part.notes.get(position, _NO_NOTE)


def _task_notes(claim: Claim) -> Notes:
    return {position: note for position, note in claim.part.notes.items() if position != JOB_NOTE}


def _pack_notes(notes: Notes) -> bytes | str:
    data = notes_to_json(notes)
    return pack(data) if data else ""


async def _finish_fetching(
    context: WorkerContext, claim: Claim, job: JobDetails, kept: Collection[int] | None
) -> StepMessage | None:
    done = await context.store.run(CountDone(claim.part_id)) if is_unknown(job.status) else 0
    return await finish_ended_part(context, claim, await _with_task_urls(context, claim, job), done=done, kept=kept)


async def _fetch_once(
    context: WorkerContext, claim: Claim, job: JobDetails, positions: Iterable[int], checks: Collection[int]
) -> FetchPass:
    found = FetchPass(notes=_task_notes(claim), checks=checks)
    room = asyncio.Semaphore(context.settings.fetch_concurrency)

    async def one(position: int) -> None:
        # An answer with a large page holds the memory slot until the page is stored.
        async with room, context.page_memory.page():
            # A task that is only recorded as gone needs no memory, so a full store does not stop the pass.
            found.full = found.full or not (claim.is_forgotten() or await context.health.is_below(FETCH_BELOW))
            # A 429 holds for all tasks, so the pass sends no further request.
            if found.full or isinstance(found.trouble, AsyncAPIRateLimitError):
                found.unasked += 1
                found.left += 1
            elif found.is_over() or not await fetch_task(context, claim, job, position, found):
                found.left += 1
            else:
                found.notes.pop(position, None)

    await gather_or_cancel(one(position) for position in positions)
    return found


async def _with_task_urls(context: WorkerContext, claim: Claim, job: JobDetails) -> JobDetails:
    """Complete the summaries of the job's tasks from the stored tasks.

    Some answers lack the summaries, and the URLs in them give the input order.
    """
    if len(job.tasks) >= len(job.task_ids):
        return job
    store, names = context.store, {task.task_id: task for task in job.tasks}
    for start in range(0, len(job.task_ids), _CHUNK):
        positions = range(start, min(start + _CHUNK, len(job.task_ids)))
        for task in await store.run(ReadContents(claim.part_id, positions)):
            if task is not None:
                names[task.task_id] = UndetailedTaskResponse(task_id=task.task_id, url=task.url, status=task.status)
    job = job.model_copy(update={"tasks": [names[i] for i in job.task_ids if i in names]})
    await store.run(UpdatePart(claim, {}, job=job))
    return job
