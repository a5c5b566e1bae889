"""Handle a job for which the API gave no full answer: poll again, believe its absence, or rescue its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import AsyncAPIUnparsableResponseError, JobLostError
from scrape_do_celery.models import JobDetails
from scrape_do_celery.rules.fetch import JOB_NOTE, AnswerFate, AnswerNote, classify_answer, notes_to_json, unusable_task
from scrape_do_celery.rules.polling import NOT_FOUND_GRACE
from scrape_do_celery.steps.absences import is_absent
from scrape_do_celery.steps.fetch import collect_job
from scrape_do_celery.steps.fetch_task import store_task
from scrape_do_celery.steps.finish import finish_part
from scrape_do_celery.steps.positions import least_tasks, position_job, with_positions
from scrape_do_celery.steps.retry import finish_lost_part, handle_job_not_found, handle_poll_error
from scrape_do_celery.steps.store_health import FULL_STORE_DELAY
from scrape_do_celery.store import Claim, RunState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.parts import ReadJob, UpdatePart

if TYPE_CHECKING:
    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.runs import StepMessage
    from scrape_do_celery.steps.context import WorkerContext

#: The status of a job whose answers stay unreadable. The API has no such status, so the tasks decide the outcome.
UNREADABLE = "unreadable"


async def handle_ended_job(context: WorkerContext, claim: Claim, job: JobDetails) -> StepMessage | None:
    """Collect a job whose status is terminal, if it names its tasks; otherwise poll it again.

    A later answer may name further tasks, which are paid for. An answer that names too few tasks counts as unusable.
    """
    known, _ = position_job(claim, job)
    if len(known.task_ids) >= least_tasks(claim, known):
        return await collect_job(context, claim, job)
    claim, job = await with_positions(context, claim, job)
    count = len(job.task_ids)
    is_late = claim.is_forgotten() or claim.stop_grace_passed(context.settings.cancel_grace)
    if count and (is_late or _count_unusable(claim).is_used_up):
        return await collect_job(context, claim, job)
    why = f"job {job.job_id} has ended and names {count or 'none'} of its tasks"
    return await handle_unanswered_job(context, claim, AsyncAPIUnparsableResponseError(why, 200, "", True))


def _count_unusable(claim: Claim) -> AnswerNote:
    """Return the note on the part's job after one more unusable answer."""
    return claim.part.notes.get(JOB_NOTE, AnswerNote()).count(claim.watched)


async def handle_unanswered_job(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """Handle an error of a poll of the part's job."""
    fate = classify_answer(error)
    if fate in {AnswerFate.GONE, AnswerFate.NOT_FOUND, AnswerFate.UNCONFIRMED}:
        return await _handle_missing_job(context, claim, error, fate)
    if claim.is_forgotten() and claim.part.is_unlisted and (job := await _read_last_job(context, claim)):
        return await collect_job(context, claim, job)
    if claim.stop_grace_passed(context.settings.cancel_grace) and claim.part.task_ids:
        # The run has a stop request. Its tasks may be readable although its job is not.
        return await _collect_blindly(context, claim, error)
    if fate is AnswerFate.TROUBLE or claim.is_forgotten():
        return await handle_poll_error(context, claim, error)
    return await _handle_unusable(context, claim, error)


async def _handle_missing_job(
    context: WorkerContext, claim: Claim, error: ScrapeDoError, fate: AnswerFate
) -> StepMessage | None:
    is_young = claim.job_age < NOT_FOUND_GRACE
    if is_young and fate is not AnswerFate.GONE:
        return await handle_job_not_found(context, claim, error)
    if not await is_absent(context, claim, error):
        return await handle_poll_error(context, claim, error)
    if claim.part.is_unlisted and (job := await _read_last_job(context, claim)):
        return await collect_job(context, claim, job)
    return await (finish_lost_part if fate is AnswerFate.GONE else handle_job_not_found)(context, claim, error)


async def _read_last_job(context: WorkerContext, claim: Claim) -> JobDetails | None:
    """Return the last answer for the job if any of its pages is stored: a run with pages is not lost."""
    if not claim.part.has_contents:
        return None
    return await context.store.run(ReadJob(claim.part_id))


async def _handle_unusable(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """Count an unusable answer that is the API's own. After the last attempt, fetch the job's tasks."""
    after = _count_unusable(claim)
    if after.attempts > claim.part.notes.get(JOB_NOTE, AnswerNote()).attempts:
        context.rate_limiter.counters.add("unreadable:job")
    # A run whose stop request is overdue has no time for further attempts. Its tasks may be readable.
    is_late = bool(claim.part.task_ids) and claim.stop_grace_passed(context.settings.cancel_grace)
    if after.is_used_up or is_late:
        return await _collect_blindly(context, claim, error)
    notes = pack(notes_to_json({**claim.part.notes, JOB_NOTE: after}))
    return await handle_poll_error(context, claim, error, {"notes": notes})


async def _collect_blindly(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """Fetch the tasks that earlier answers named: they are paid for, and may be readable."""
    store, part_id, job_id = context.store, claim.part_id, claim.part.job_id or ""
    job = await store.run(ReadJob(part_id)) or JobDetails(job_id=job_id, status=UNREADABLE)
    if claim.part.task_ids or set(job.task_ids) - {job_id}:
        return await collect_job(context, claim, job.model_copy(update={"status": UNREADABLE}))
    # The raw answer is kept as the content of a single task. A person who reads it may find the names of the tasks.
    stored = await store_task(context, claim, 0, unusable_task(job_id, job_id, "", error))
    if stored is None and not (claim.is_forgotten() or claim.stop_grace_passed(context.settings.cancel_grace)):
        # The store is full. If the part ended now, the answer would be lost although the API still has it.
        await context.release_until(claim, {}, FULL_STORE_DELAY)
        return None
    # This job makes the content readable. Its only task has the job's own id, so no later pass asks for that task.
    await context.write(UpdatePart(claim, {}, job=JobDetails(job_id=job_id, status=UNREADABLE, task_ids=[job_id])))
    text = f"run {part_id.run_id}: the answers for job {job_id} cannot be used, and name none of its tasks: {error}"
    return await finish_part(context, claim, RunState.LOST, JobLostError(text, part_id.run_id))
