"""Poll running jobs, each by its own request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.errors import ScrapeDoError, StoreUnavailableError
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
from scrape_do_celery.steps.deliveries import DeliveryRound
from scrape_do_celery.steps.early_fetch import EarlyPass, fetch_early
from scrape_do_celery.steps.fetch import collect_job
from scrape_do_celery.steps.finish import CLEAR_FAILURES, read_progress
from scrape_do_celery.steps.job_answers import UNREADABLE, handle_ended_job, handle_unanswered_job
from scrape_do_celery.steps.positions import least_tasks, position_job, with_positions
from scrape_do_celery.steps.status_words import note_words
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import ReadStoredPositions

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim
    from scrape_do_celery.store.command import Value


async def poll_part(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """Poll a job once. If it still runs, it becomes due again. If it has ended, its tasks are fetched.

    If deliveries tell which tasks have ended, fetch these, and poll the job only if there is a reason.
    """
    deliveries = DeliveryRound(context, claim) if claim.part.has_webhook and claim.stop_reason is None else None
    if deliveries is not None and not await deliveries.serve():
        return await deliveries.release({})
    try:
        job = await context.call_for_one(context.client.get_job, claim.part.job_id or "")
    except StoreUnavailableError:
        # The API is not at fault.
        raise
    except ScrapeDoError as error:
        return await handle_unanswered_job(context, claim, error)
    context.absences.note_answer(claim)
    if job.is_terminal:
        return await handle_ended_job(context, claim, job)
    if _given_up(context, claim):
        return await collect_job(context, claim, job)
    if claim.is_forgotten():
        # The job is older than the API keeps jobs, so its status proves nothing. The tasks decide the outcome.
        return await collect_job(context, claim, job.model_copy(update={"status": UNREADABLE}))
    return await (_poll_unknown if is_unknown(job.status) else _poll_open)(context, claim, job, deliveries)


async def _poll_open(
    context: WorkerContext, claim: Claim, job: JobDetails, deliveries: DeliveryRound | None
) -> StepMessage | None:
    """Release a job that runs by its status word until the next poll. If only the word says so, collect the job."""
    fields: dict[str, Value] = {}
    served: DeliveryRound | EarlyPass | None = deliveries
    if claim.part.is_unlisted or claim.part.notes:
        fields = {"unlisted": 0, "unknown_job": "", "notes": ""}
    if has_passed(job.end_time, claim.now):
        fate, memory = _judge_open(claim, job)
        if fate is JobFate.ENDED:
            return await collect_job(context, claim, job.model_copy(update={"status": UNREADABLE}))
        if memory.has_end:
            fields |= {"unlisted": 1, "unknown_job": str(memory)}
    if deliveries is not None or _is_early(claim):
        claim, job = await with_positions(context, claim, job)
        served = await _fetch_ended(context, claim, job, deliveries)
    elif claim.may_have_contents or max(len(job.task_ids), len(job.tasks)) > claim.part.total:
        # Stored pages are read by the positions of the stored job. Surplus tasks must not fill the store.
        job, _ = position_job(claim, job)
    return await _poll_later(context, claim, job, fields, served)


async def _poll_unknown(
    context: WorkerContext, claim: Claim, job: JobDetails, deliveries: DeliveryRound | None
) -> StepMessage | None:
    """Collect a job with an unknown status word once it has ended.

    If its answer does not change for a while, fetch the tasks that may have ended.
    """
    claim = await note_words(context, claim, "job", [str(job.status)])
    claim = await note_words(context, claim, "task", unknown_words(job))
    claim, job = await with_positions(context, claim, job)
    fate, memory = judge_unknown_job(job, claim.part.unknown_job, claim.now, least=least_tasks(claim, job))
    if fate is JobFate.ENDED or claim.is_forgotten():
        return await collect_job(context, claim, job)
    notes: Notes = claim.part.notes
    served: DeliveryRound | EarlyPass | None = deliveries
    if is_stalled := fate is JobFate.COLLECT:
        work = await fetch_early(context, claim, job, is_stalled=True)
        notes, served = work.notes, deliveries or work
        if await _has_all(context, claim, job):
            return await collect_job(context, claim, job)
    elif deliveries is not None or _is_early(claim):
        served = await _fetch_ended(context, claim, job, deliveries)
    packed = notes_to_json(notes) if is_stalled else {}
    fields: dict[str, Value] = {"unlisted": 1, "unknown_job": str(memory), "notes": pack(packed) if packed else ""}
    return await _poll_later(context, claim, job, fields, served)


def _is_early(claim: Claim) -> bool:
    """Return whether tasks are fetched as the answers for the job show their ends. With a webhook, deliveries do so."""
    return bool(claim.run_options.get("early")) and not claim.part.has_webhook


async def _fetch_ended(
    context: WorkerContext, claim: Claim, job: JobDetails, deliveries: DeliveryRound | None
) -> DeliveryRound | EarlyPass:
    if deliveries is None:
        return await fetch_early(context, claim, job)
    await deliveries.fetch_ended(claim, job)
    return deliveries


def _judge_open(claim: Claim, job: JobDetails) -> tuple[JobFate, JobMemory]:
    """Judge a job that has an end time, although its status word says that the job goes on."""
    job, _ = position_job(claim, job)
    return judge_open_job(job, claim.part.unknown_job, claim.now, least=least_tasks(claim, job))


async def _has_all(context: WorkerContext, claim: Claim, job: JobDetails) -> bool:
    """Return whether each task of the job is stored."""
    stored = await context.store.run(ReadStoredPositions(claim.part_id))
    return bool(job.task_ids) and set(range(len(job.task_ids))) <= stored


def _given_up(context: WorkerContext, claim: Claim) -> bool:
    """Return whether a canceled job has had `cancel_grace` seconds to report its end."""
    return claim.part.cancel_sent_at is not None and claim.stop_grace_passed(context.settings.cancel_grace)


async def _poll_later(
    context: WorkerContext,
    claim: Claim,
    job: JobDetails,
    more: dict[str, Value],
    served: DeliveryRound | EarlyPass | None,
) -> StepMessage | None:
    """Release the part until its next poll. If a pass over its tasks was cut by the time, the next one goes on."""
    part, now = claim.part, read_progress(job)
    before = {"status": part.status, "reported_ok": part.reported_ok, "reported_failed": part.reported_failed}
    polls = part.polls + 1
    fields: dict[str, Value] = {**now, "polls": polls, "not_found_polls": 0, **CLEAR_FAILURES, **more}
    # A job of 1,000 tasks takes about 100 kB, so the job is written only after a change.
    moved = job if now != before else None
    if claim.stop_reason and part.cancel_sent_at is None:
        # The stop request came while this step message was under way.
        await context.release_until(claim, fields, 0.0, moved)
        return StepMessage(routing.CANCEL_RUN, (str(claim.part_id),))
    by_itself = bool(more.get("unlisted"))
    if isinstance(served, DeliveryRound):
        return await served.release(fields, moved, is_near_end=by_itself)
    if served is not None and served.has_more:
        await context.release_until(claim, {**fields, "polls": part.polls}, 0.0, moved)
        return StepMessage(routing.POLL_JOBS, (str(claim.part_id),))
    await context.release_until(claim, fields, _poll_delay(context, claim, polls, by_itself=by_itself), moved)
    return None


def _poll_delay(context: WorkerContext, claim: Claim, polls: int, *, by_itself: bool) -> float:
    """Return the seconds until the next poll.

    Jobs at the longest interval are polled together by the list, so jitter must not set them apart.
    """
    longest = context.intervals
    can_be_listed = not by_itself and claim.stop_reason is None and polls + 1 >= len(longest)
    by_list = can_be_listed and not _is_early(claim)
    return longest[-1] if by_list else context.interval(polls)
