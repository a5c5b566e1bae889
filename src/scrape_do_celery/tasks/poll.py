"""Looking at running jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.rules.fetch import Notes, notes_to_json
from scrape_do_celery.rules.lifecycle import (
    JobFate,
    JobMemory,
    has_passed,
    is_unknown,
    judge_open_job,
    judge_unknown_job,
    unknown_words,
)
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runtime import WorkerContext, run_step
from scrape_do_celery.runtime.collecting import collect, fetch_early
from scrape_do_celery.runtime.endings import CLEAR_FAILURES, seen
from scrape_do_celery.runtime.naming import least_tasks, positioned, with_positions
from scrape_do_celery.runtime.observing import note_words
from scrape_do_celery.runtime.unanswered import UNREADABLE, job_ended, job_unanswered
from scrape_do_celery.store import Claim, PartState, ops
from scrape_do_celery.store.codec import pack

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails


@shared_task(name=routing.POLL_JOBS, **routing.STEP_OPTIONS)
def poll_jobs(self: Task, part_ids: list[str]) -> None:
    """Looks at the jobs of running parts."""
    run_step(self.app, part_ids, {PartState.RUNNING}, poll)


async def poll(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """One look: the job runs on and is due again, or has ended and is collected."""
    try:
        job = await context.call_for_one(context.client.get_job, claim.part.job_id or "")
    except ScrapeDoError as error:
        return await job_unanswered(context, claim, error)
    context.absences.note_answer(claim)
    if job.is_terminal:
        return await job_ended(context, claim, job)
    if _given_up(context, claim):
        return await collect(context, claim, job)
    if claim.is_forgotten():
        # The API keeps no job for so long, whatever it says: the tasks decide the outcome.
        return await collect(context, claim, job.model_copy(update={"status": UNREADABLE}))
    return await (_poll_unknown if is_unknown(job.status) else _poll_open)(context, claim, job)


async def _poll_open(context: WorkerContext, claim: Claim, job: JobDetails) -> StepMessage | None:
    """Waits for a job that goes on by its status word, and collects it if nothing but the word says so."""
    fields: dict[str, ops.Value] = {}
    if claim.part.is_unlisted or claim.part.notes:
        fields = {"unlisted": 0, "unknown_job": "", "notes": ""}
    if has_passed(job.end_time, claim.now):
        fate, memory = _judge_open(claim, job)
        if fate is JobFate.ENDED:
            return await collect(context, claim, job.model_copy(update={"status": UNREADABLE}))
        if memory.has_end:
            fields |= {"unlisted": 1, "unknown_job": str(memory)}
    if claim.early:
        claim, job = await with_positions(context, claim, job)
        await fetch_early(context, claim, job)
    elif claim.part.has_contents or max(len(job.task_ids), len(job.tasks)) > claim.part.total:
        # Stored pages are read by the positions of the kept job. Surplus tasks must not fill the store.
        job, _ = positioned(claim, job)
    return await _later(context, claim, job, fields)


async def _poll_unknown(context: WorkerContext, claim: Claim, job: JobDetails) -> StepMessage | None:
    """Collects a job with an unknown status word once it has ended; what may have ended is fetched after a while."""
    claim = await note_words(context, claim, "job", [str(job.status)])
    claim = await note_words(context, claim, "task", unknown_words(job))
    claim, job = await with_positions(context, claim, job)
    fate, memory = judge_unknown_job(job, claim.part.unknown_job, claim.now, least=least_tasks(claim, job))
    if fate is JobFate.ENDED or claim.is_forgotten():
        return await collect(context, claim, job)
    notes: Notes = claim.part.notes
    if is_stalled := fate is JobFate.COLLECT:
        notes = await fetch_early(context, claim, job, is_stalled=True)
        if await _has_all(context, claim, job):
            return await collect(context, claim, job)
    elif claim.early:
        await fetch_early(context, claim, job)
    packed = notes_to_json(notes) if is_stalled else {}
    fields: dict[str, ops.Value] = {"unlisted": 1, "unknown_job": str(memory), "notes": pack(packed) if packed else ""}
    return await _later(context, claim, job, fields)


def _judge_open(claim: Claim, job: JobDetails) -> tuple[JobFate, JobMemory]:
    """Judge a job that names its end, although its status word says that it goes on."""
    job, _ = positioned(claim, job)
    return judge_open_job(job, claim.part.unknown_job, claim.now, least=least_tasks(claim, job))


async def _has_all(context: WorkerContext, claim: Claim, job: JobDetails) -> bool:
    """Whether each task of the job is stored."""
    stored = await context.store.run(ops.fetched(context.store.keys, claim.part_id))
    return bool(job.task_ids) and set(range(len(job.task_ids))) <= stored


def _given_up(context: WorkerContext, claim: Claim) -> bool:
    """Whether a job that was told to stop has had its time to say so."""
    return claim.part.cancel_sent_at is not None and claim.stop_grace_passed(context.settings.cancel_grace)


async def _later(
    context: WorkerContext, claim: Claim, job: JobDetails, more: dict[str, ops.Value]
) -> StepMessage | None:
    part, now = claim.part, seen(job)
    before = {"status": part.status, "reported_ok": part.reported_ok, "reported_failed": part.reported_failed}
    polls = part.polls + 1
    fields: dict[str, ops.Value] = {**now, "polls": polls, "not_found_polls": 0, **CLEAR_FAILURES, **more}
    # A job of a thousand tasks is some 100 kB: it is written only where something moved.
    moved = job if now != before else None
    if claim.stop_reason and part.cancel_sent_at is None:
        # This step message was on its way when the run was told to end.
        await context.release_until(claim, fields, 0.0, moved)
        return StepMessage(routing.CANCEL_RUN, (str(claim.part_id),))
    await context.release_until(
        claim, fields, _wait(context, claim, polls, by_itself=bool(more.get("unlisted"))), moved
    )
    return None


def _wait(context: WorkerContext, claim: Claim, polls: int, *, by_itself: bool) -> float:
    """Seconds until the next look. Jobs that wait for long are looked at together, by the list, and none apart."""
    longest = context.intervals
    by_list = not by_itself and not claim.early and claim.stop_reason is None and polls + 1 >= len(longest)
    return longest[-1] if by_list else context.interval(polls)
