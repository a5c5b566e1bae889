"""End parts, each outcome with its error, for the steps submit, poll, cancel and fetch."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrape_do_celery.errors import JobLostError, PoisonedRunError, ScrapeDoError
from scrape_do_celery.models import JobCanceledError, JobDetails, JobFailedError, RunTimeoutError
from scrape_do_celery.models.statuses import JobStatus
from scrape_do_celery.rules.api_errors import is_auth
from scrape_do_celery.rules.lifecycle import shorten_word
from scrape_do_celery.rules.polling import MAX_NOT_FOUND_POLLS, NOT_FOUND_GRACE, delay_before_last, job_not_found
from scrape_do_celery.rules.states import outcome_of_stop, part_outcome
from scrape_do_celery.store import Claim, RunState, ops

if TYPE_CHECKING:
    from scrape_do_celery.runs import StepMessage
    from scrape_do_celery.steps.context import WorkerContext


log = logging.getLogger(__name__)

#: Fields that a successful call writes: they clear the errors of earlier calls.
CLEAR_FAILURES: dict[str, ops.Value] = {"api_failures": 0, "refused_since": 0}


async def finish_stopped_part(
    context: WorkerContext, claim: Claim, job: JobDetails | None, *, purchase_status: str = ""
) -> StepMessage | None:
    """End a part that was canceled, or whose deadline passed."""
    outcome = outcome_of_stop(claim.stop_reason)
    return await context.settle(claim, outcome, _error(claim, outcome, job), purchase_status=purchase_status)


async def finish_poisoned(context: WorkerContext, claim: Claim, why: str) -> StepMessage | None:
    """Take a part out of work."""
    run_id, more = claim.part_id.run_id, "; a job may have been bought for it" if claim.is_unresolved else ""
    if cause := claim.part.submit_error or claim.part.api_error:
        more += f"; the last cause: {cause}"
    error = PoisonedRunError(f"run {run_id} was taken out of work: {why}{more}", run_id)
    return await context.settle(claim, RunState.POISONED, error)


async def finish_ended_part(
    context: WorkerContext, claim: Claim, job: JobDetails, *, done: int = 0
) -> StepMessage | None:
    """End a part whose job has ended and whose contents are stored; `done` of its tasks succeeded."""
    outcome = part_outcome(job, claim.stop_reason, done=done)
    return await context.settle(claim, outcome, _error(claim, outcome, job))


def error_for_outcome(
    run_id: str, outcome: RunState, job: JobDetails | None = None, max_wait: float | None = None
) -> ScrapeDoError | None:
    """Return the error of an outcome that has no more specific error; None for a success."""
    if outcome is RunState.FAILED and job is not None:
        return JobFailedError.cut(job, run_id)
    if outcome is RunState.CANCELED:
        return JobCanceledError(None, run_id) if job is None else JobCanceledError.cut(job, run_id)
    if outcome is RunState.TIMED_OUT:
        text = f"run {run_id} did not end within its max_wait of {max_wait or 0:g} s"
        return RunTimeoutError(text, run_id, max_wait or 0.0, None if job is None else job.cut())
    return None


def _error(claim: Claim, outcome: RunState, job: JobDetails | None) -> ScrapeDoError | None:
    return error_for_outcome(claim.part_id.run_id, outcome, job, claim.max_wait)


async def handle_job_not_found(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """Poll a job again that the API does not know, because the job may be too young; at last end its part."""
    age = claim.now - (claim.part.bought_at or claim.now)
    misses = claim.part.not_found_polls + 1
    if job_not_found(age, misses) == "lost":
        return await lost(context, claim, error)
    counted = misses if age >= NOT_FOUND_GRACE else 0
    wait = delay_before_last(counted, MAX_NOT_FOUND_POLLS, context.interval(claim.part.not_found_polls))
    await context.release_until(claim, {"not_found_polls": counted}, wait)
    return None


async def lost(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """End a part whose job the API no longer knows."""
    run_id = claim.part_id.run_id
    text = f"run {run_id}: the API no longer knows job {claim.part.job_id}: {error}"
    return await context.settle(claim, RunState.LOST, JobLostError(text, run_id))


async def handle_poll_error(
    context: WorkerContext, claim: Claim, error: ScrapeDoError, fields: dict[str, ops.Value] | None = None
) -> StepMessage | None:
    """Retry a failed call for a running job. End the part if the job is deleted, or a stop request is overdue."""
    if claim.is_forgotten():
        run_id = claim.part_id.run_id
        text = f"run {run_id}: job {claim.part.job_id} was not answered for before the API forgot it: {error}"
        return await context.settle(claim, RunState.LOST, JobLostError(text, run_id))
    if not claim.stop_grace_passed(context.settings.cancel_grace):
        # A refusal other than of the token never ends a part that has paid for its job: the API keeps the pages, and
        # may answer again.
        return await context.retry_after_error(claim, error, fields, may_end=is_auth(error))
    log.warning("%s was told to end, and job %s does not answer: %s", claim.part_id, claim.part.job_id, error)
    return await finish_stopped_part(
        context, claim, await context.store.run(ops.job(context.store.keys, claim.part_id))
    )


def seen(job: JobDetails) -> dict[str, int | str]:
    """Return the fields of a part's record for the progress that an answer for its job shows."""
    return {
        "status": shorten_word(str(job.status)),
        "reported_ok": sum(task.status == JobStatus.SUCCESS for task in job.tasks),
        "reported_failed": sum(task.status in (JobStatus.ERROR, JobStatus.CANCELED) for task in job.tasks),
    }
