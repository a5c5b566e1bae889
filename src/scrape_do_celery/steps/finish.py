"""End parts, each outcome with its error, for the steps submit, poll, cancel and fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.errors import PoisonedRunError, ScrapeDoError
from scrape_do_celery.models.statuses import JobStatus
from scrape_do_celery.rules.lifecycle import shorten_word
from scrape_do_celery.rules.outcomes import error_for_outcome, outcome_of_stop, part_outcome, skips_unsent
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.store import Claim, PartState, RunState
from scrape_do_celery.store.commands.parts import FinishPart
from scrape_do_celery.store.commands.purchases import PurchaseStatus

if TYPE_CHECKING:
    from collections.abc import Collection

    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store.command import Value


#: Fields that a successful call writes: they clear the errors of earlier calls.
CLEAR_FAILURES: dict[str, Value] = {"api_failures": 0, "refused_since": 0}


async def finish_part(  # noqa: PLR0913 (the end of a part, and what proves it)
    context: WorkerContext,
    claim: Claim,
    outcome: str,
    error: ScrapeDoError | None = None,
    *,
    purchase_status: str = "",
    kept: Collection[int] | None = None,
) -> StepMessage | None:
    """End a part. Return the message for the aggregate step if it was the last part.

    `purchase_status` is the new status of the part's purchase in the ledger. `kept` is as in `FinishPart`.
    """
    if claim.part.refused and claim.part.state is PartState.RECONCILING and not purchase_status:
        purchase_status = PurchaseStatus.VOID
    if claim.is_unresolved and not purchase_status:
        purchase_status = PurchaseStatus.IN_DOUBT
        if outcome not in {RunState.IN_DOUBT, RunState.POISONED}:
            # With any other reason, it stays unknown whether a job exists.
            outcome, error = RunState.IN_DOUBT, claim.in_doubt_error(str(error or outcome))
    skip = context.settings.stop_on_failure and skips_unsent(outcome)
    left = await context.write(
        FinishPart(claim, outcome, error=error, skip_unsent=skip, purchase_status=purchase_status, kept=kept)
    )
    return StepMessage(routing.AGGREGATE_RUN, (claim.part_id.run_id,)) if left == 0 else None


async def finish_stopped_part(
    context: WorkerContext,
    claim: Claim,
    job: JobDetails | None,
    *,
    purchase_status: str = "",
    kept: Collection[int] | None = None,
) -> StepMessage | None:
    """End a part that was canceled, or whose deadline passed. `kept` is as in `FinishPart`."""
    outcome = outcome_of_stop(claim.stop_reason)
    return await finish_part(
        context, claim, outcome, default_error(claim, outcome, job), purchase_status=purchase_status, kept=kept
    )


async def finish_poisoned(context: WorkerContext, claim: Claim, why: str) -> StepMessage | None:
    """Take a part out of work."""
    run_id, more = claim.part_id.run_id, "; a job may have been bought" if claim.is_unresolved else ""
    if cause := claim.part.submit_error or claim.part.api_error:
        more += f"; the last cause: {cause}"
    error = PoisonedRunError(f"run {run_id} was taken out of work: {why}{more}", run_id)
    return await finish_part(context, claim, RunState.POISONED, error)


async def finish_ended_part(
    context: WorkerContext, claim: Claim, job: JobDetails, *, done: int = 0, kept: Collection[int] | None = None
) -> StepMessage | None:
    """End a part whose job has ended and whose contents are stored; `done` of its tasks succeeded.

    `kept` is as in `FinishPart`.
    """
    outcome = part_outcome(job, claim.stop_reason, done=done)
    return await finish_part(context, claim, outcome, default_error(claim, outcome, job), kept=kept)


def default_error(claim: Claim, outcome: RunState, job: JobDetails | None) -> ScrapeDoError | None:
    """Return the error of an outcome that has no more specific error."""
    return error_for_outcome(claim.part_id.run_id, outcome, job, claim.max_wait, claim.part.job_id)


def read_progress(job: JobDetails) -> dict[str, int | str]:
    """Return the fields of a part's record for the progress that an answer for its job shows."""
    return {
        "status": shorten_word(str(job.status)),
        "reported_ok": sum(task.status == JobStatus.SUCCESS for task in job.tasks),
        "reported_failed": sum(task.status in (JobStatus.ERROR, JobStatus.CANCELED) for task in job.tasks),
    }
