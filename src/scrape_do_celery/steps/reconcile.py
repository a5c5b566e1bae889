"""Reconcile a purchase in doubt: search for its job, and never resubmit blindly."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from pydantic import ValidationError

from scrape_do_celery import routing
from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.ids import position_tasks
from scrape_do_celery.rules.reconciliation import Resolution, decide
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.finish import CLEAR_FAILURES, finish_part, finish_poisoned, finish_stopped_part
from scrape_do_celery.steps.job_search import search_for_job
from scrape_do_celery.steps.noted_jobs import search_noted_jobs
from scrape_do_celery.steps.retry import retry_after_error
from scrape_do_celery.steps.unsent import TOO_OLD
from scrape_do_celery.store import Claim, PartState, RunState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.parts import UpdatePart, UpdateResult
from scrape_do_celery.store.commands.purchases import PurchaseStatus

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.rules.reconciliation import SearchEvidence
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.steps.job_search import SearchResult
    from scrape_do_celery.store.command import Value

log = get_logger(__name__)


async def reconcile_part(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """Search for the job once, and act on the evidence.

    The part adopts the job, or is resubmitted or ended if no job exists by all that can be known. If a job may belong
    to another part, this part ends in doubt. Otherwise the part becomes due for another search.
    """
    try:
        claim.spec()
    except ValidationError as error:
        # Without the request, the job cannot be distinguished from others. If each step failed, the part would be
        # taken out of work without this reason.
        why = f"its request cannot be read ({error.error_count()} invalid values); {TOO_OLD}"
        return await _end_in_doubt(context, claim, why, [])
    return await _search_once(context, claim)


async def _search_once(context: WorkerContext, claim: Claim) -> StepMessage | None:
    try:
        noted = await search_noted_jobs(context, claim)
        if noted.job is not None:
            return await _adopt_job(context, claim, noted.job)
        search = await search_for_job(context, claim, is_bought=noted.is_bought)
    except (EncryptionKeyError, StoreUnavailableError):
        # The API is not at fault: a worker with the key searches for the job.
        raise
    except ScrapeDoError as error:
        return await _handle_failed_search(context, claim, error)
    if search is None:
        await context.release_until(claim, {}, 1.0, to=PartState.RECONCILING)
        return None
    return await _act_on_search(context, claim, search)


async def _act_on_search(context: WorkerContext, claim: Claim, search: SearchResult) -> StepMessage | None:
    resolution, what = decide(search.candidates, search.evidence)
    log.info(
        "%s: searched for the job of its purchase; resolution is %s: %s",
        claim.part_id,
        resolution,
        what,
        extra=log_fields("purchase_searched", claim.part_id),
    )
    if resolution is Resolution.ADOPT:
        return await _adopt_job(context, claim, search.jobs[what])
    if resolution is Resolution.NOT_FOUND:
        return await _resubmit_or_finish(context, claim, what)
    if resolution is Resolution.AMBIGUOUS:
        return await _end_in_doubt(context, claim, what, [candidate.job_id for candidate in search.candidates])
    return await _search_later(context, claim, search.evidence, what)


async def _handle_failed_search(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """Search again later, unless the run has waited for its end long enough or the API has forgotten the job."""
    if claim.part.refused and _has_waited(context, claim):
        return await finish_stopped_part(context, claim, None, purchase_status=PurchaseStatus.VOID)
    if _has_waited(context, claim) or claim.is_past_finding():
        return await _end_in_doubt(context, claim, f"the search for its job failed: {error}", [])
    return await retry_after_error(context, claim, error, to=PartState.RECONCILING)


def _has_waited(context: WorkerContext, claim: Claim) -> bool:
    """Return whether a run with a stop request has given the search for its job twice the time that a search needs."""
    settings = context.settings
    return claim.stop_grace_passed(
        settings.cancel_grace + 2 * (settings.submit_deadline + settings.submit_visibility_grace)
    )


async def _adopt_job(context: WorkerContext, claim: Claim, job: JobDetails) -> StepMessage | None:
    """Make the job the part's own, unless another part has adopted the job meanwhile."""
    ids = (job.task_ids or [task.task_id for task in job.tasks])[: claim.part.total]
    fields = {
        "job": job.job_id,
        # A part whose token was refused may go on with another token.
        "account": context.settings.account_id,
        "tasks": pack(ids),
        "polls": 0,
        "purchase_status": PurchaseStatus.ADOPTED,
        **CLEAR_FAILURES,
    }
    # A delivered page is readable at once, before any poll.
    known = position_tasks(job, ids, claim.part.total)[0] if claim.has_webhooks else None
    command = UpdatePart(claim, fields, to=PartState.RUNNING, after=0.0, job=known, owner=job.job_id)
    result = await context.write(command)
    if result is UpdateResult.OWNED:
        await context.release_until(claim, {}, 0.0, to=PartState.RECONCILING)
        return StepMessage(routing.RECONCILE_SUBMIT, (str(claim.part_id),))
    if result not in {UpdateResult.OK, UpdateResult.HINTED}:
        # Another step has the part, or the part has ended.
        return None
    log.warning(
        "%s: the answer to its purchase was lost; job %s is adopted",
        claim.part_id,
        job.job_id,
        extra=log_fields("job_adopted", claim.part_id),
    )
    return StepMessage(routing.CANCEL_RUN if claim.stop_reason else routing.POLL_JOBS, (str(claim.part_id),))


async def _resubmit_or_finish(context: WorkerContext, claim: Claim, what: str) -> StepMessage | None:
    # The answer to a refused purchase was not lost. A purchase whose intent was lost may never have been sent.
    # Neither counts as a lost answer.
    refused, lost = claim.part.refused, claim.part.intent_lost
    if context.settings.in_doubt_policy == "never_resubmit" and not refused:
        # This comes before the stop request: a retry of a stopped run would buy its targets again.
        return await _end_in_doubt(context, claim, what, [])
    if claim.stop_reason:
        return await finish_stopped_part(context, claim, None, purchase_status=_purchase_status(claim))
    not_found = claim.part.not_found + (not refused and not lost)
    if not_found >= context.settings.poison_after:
        return await finish_poisoned(context, claim, f"the answers to {not_found} purchases were lost")
    if refused:
        text = "%s was not bought: %s; the POST is sent again"
    elif lost:
        text = "%s was not bought before the store lost its last writes: %s"
    else:
        text = "%s: the answer to its purchase was lost, and %s; the POST is sent again"
    level = logging.INFO if refused or lost else logging.WARNING
    log.log(level, text, claim.part_id, what, extra=log_fields("purchase_not_found", claim.part_id))
    fields = {
        "not_found": not_found,
        "not_found_at": 0,
        "polls": 0,
        "purchase_status": _purchase_status(claim),
        # A token that was refused may be refused again, so the time of its first refusal stands.
        **({} if refused else CLEAR_FAILURES),
    }
    await context.release_until(claim, fields, 0.0, to=PartState.QUEUED)
    return StepMessage(routing.SUBMIT_JOBS, (str(claim.part_id),))


def _purchase_status(claim: Claim) -> str:
    """Return the ledger status of a purchase without a job: void if its intent was lost or the purchase was refused."""
    return PurchaseStatus.VOID if claim.part.intent_lost or claim.part.refused else PurchaseStatus.NOT_FOUND


async def _end_in_doubt(context: WorkerContext, claim: Claim, why: str, candidates: list[str]) -> StepMessage | None:
    return await finish_part(
        context,
        claim,
        RunState.IN_DOUBT,
        claim.in_doubt_error(why, candidates),
        purchase_status=PurchaseStatus.IN_DOUBT,
    )


async def _search_later(
    context: WorkerContext, claim: Claim, evidence: SearchEvidence, what: str
) -> StepMessage | None:
    """Release the part until the next search can tell more. A run with a stop request does not wait for ever."""
    # Steps that died may have delayed the first full listing. The second listing is worth its time all the same.
    if _has_waited(context, claim) and not evidence.needs_second_listing:
        return await _end_in_doubt(context, claim, what, [])
    wait = _search_delay(context, claim, evidence)
    fields: dict[str, Value] = {"polls": claim.part.polls + 1}
    if not claim.part.refused:
        fields |= CLEAR_FAILURES
    if evidence.proves_absence and evidence.not_found_at is None:
        # The store writes its own time: the listing was over before.
        fields["not_found_at"] = 1
    await context.release_until(claim, fields, wait, to=PartState.RECONCILING)
    return None


def _search_delay(context: WorkerContext, claim: Claim, evidence: SearchEvidence) -> float:
    """Return the seconds until the next search. A delivery that names another job, or a stop request, comes first."""
    if claim.part.proven_purchase and claim.stop_reason is None:
        # No list can prove the absence of the job, so searches may go on for as long as the API keeps a job.
        return context.backoff(claim.part.polls, context.settings.webhook_poll_max)
    return min(context.backoff(claim.part.polls), evidence.min_gap or 1.0)
