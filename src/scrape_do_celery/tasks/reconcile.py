"""A submit whose fate is unknown: its job is looked for, and never bought again blindly."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.doubt import Verdict, judge
from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runtime import Runtime, serve
from scrape_do_celery.runtime.endings import CLEAR_FAILURES, finish_poisoned, finish_stopped_part
from scrape_do_celery.runtime.inquiry import inquire
from scrape_do_celery.store import Claim, PartState, RunState, ops
from scrape_do_celery.store.codec import pack

if TYPE_CHECKING:
    from scrape_do_celery.doubt import Evidence
    from scrape_do_celery.models import JobDetails

log = logging.getLogger(__name__)

TO_RECONCILING: dict[str, ops.Value] = {"state": PartState.RECONCILING}


@shared_task(name=routing.RECONCILE_SUBMIT, **routing.STEP_OPTIONS)
def reconcile_submit(self: Task, members: list[str]) -> None:
    """Resolves parts whose `POST` may have bought a job."""
    serve(self.app, members, {PartState.SUBMITTING, PartState.RECONCILING}, reconcile)


async def reconcile(runtime: Runtime, claim: Claim) -> StepMessage | None:
    """Looks once: the job is adopted, or is absent by all that can be known, or the part is due again."""
    try:
        seen = await inquire(runtime, claim)
    except EncryptionKeyError:
        # Nothing about the API: whoever has the key looks for the job.
        raise
    except ScrapeDoError as error:
        return await _unanswered(runtime, claim, error)
    if seen is None:
        await runtime.release_until(claim, TO_RECONCILING, 1.0)
        return None
    verdict, what = judge(seen.matches, seen.known)
    log.info("%s: looked for the job of its purchase; verdict %s: %s", claim.member, verdict, what)
    if verdict is Verdict.ADOPT:
        return await _adopt(runtime, claim, seen.jobs[what])
    if verdict is Verdict.ABSENT:
        return await _absent(runtime, claim, what)
    if verdict is Verdict.AMBIGUOUS:
        return await _in_doubt(runtime, claim, what, [match.job_id for match in seen.matches])
    return await _again(runtime, claim, seen.known, what)


async def _unanswered(runtime: Runtime, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """The part is due again, unless its run is to end, or there is nothing left to be found."""
    if claim.part.refused and _has_waited(runtime, claim):
        return await finish_stopped_part(runtime, claim, None, purchase_status=ops.PurchaseStatus.VOID)
    if _has_waited(runtime, claim) or claim.is_past_finding():
        return await _in_doubt(runtime, claim, f"its job could not be looked for: {error}", [])
    return await runtime.retry_after_error(claim, error, TO_RECONCILING)


def _has_waited(runtime: Runtime, claim: Claim) -> bool:
    """Whether a run that is to end has given the look for its job all the time that one needs, twice over."""
    settings = runtime.settings
    return claim.stop_grace_passed(
        settings.cancel_grace + 2 * (settings.submit_deadline + settings.submit_visibility_grace)
    )


async def _adopt(runtime: Runtime, claim: Claim, job: JobDetails) -> StepMessage | None:
    """The job becomes the part's, unless another part has taken it meanwhile."""
    ids = (job.task_ids or [task.task_id for task in job.tasks])[: claim.part.total]
    fields = {
        "state": PartState.RUNNING,
        "job": job.job_id,
        # A part whose token was refused may go on with another one.
        "account": runtime.settings.account_id,
        "tasks": pack(ids),
        "polls": 0,
        "purchase_status": ops.PurchaseStatus.ADOPTED,
        **CLEAR_FAILURES,
    }
    verdict = await runtime.write(ops.update(runtime.store.keys, claim, fields, after=0.0, owner=job.job_id))
    if verdict == "owned":
        await runtime.release_until(claim, TO_RECONCILING, 0.0)
        return StepMessage(routing.RECONCILE_SUBMIT, (str(claim.member),))
    log.warning("%s: the answer to its purchase was lost; job %s is adopted", claim.member, job.job_id)
    return StepMessage(routing.CANCEL_RUN if claim.stop_reason else routing.POLL_JOBS, (str(claim.member),))


async def _absent(runtime: Runtime, claim: Claim, what: str) -> StepMessage | None:
    if claim.stop_reason:
        return await finish_stopped_part(runtime, claim, None, purchase_status=_unfound(claim))
    # The answer to a refused purchase was not lost. A purchase whose intent was lost may never have been sent.
    refused, lost = claim.part.refused, claim.part.intent_lost
    if runtime.settings.in_doubt_policy == "never_resubmit" and not refused:
        return await _in_doubt(runtime, claim, what, [])
    not_found = claim.part.not_found + (not refused and not lost)
    if not_found >= runtime.settings.poison_after:
        return await finish_poisoned(runtime, claim, f"the answers to {not_found} purchases were lost")
    if refused:
        log.info("%s was not bought: %s; it is sent again", claim.member, what)
    elif lost:
        log.info("%s was not bought before the store lost its last writes: %s", claim.member, what)
    else:
        log.warning("%s: the answer to its purchase was lost, and %s; it is sent again", claim.member, what)
    fields = {
        "state": PartState.QUEUED,
        "not_found": not_found,
        "not_found_at": 0,
        "polls": 0,
        "purchase_status": _unfound(claim),
        # A token that was refused may be refused again: the time of its first refusal stands.
        **({} if refused else CLEAR_FAILURES),
    }
    await runtime.release_until(claim, fields, 0.0)
    return StepMessage(routing.SUBMIT_JOBS, (str(claim.member),))


def _unfound(claim: Claim) -> str:
    """Return the ledger's word for a purchase that was not found: void if its intent was lost or it was refused."""
    return ops.PurchaseStatus.VOID if claim.part.intent_lost or claim.part.refused else ops.PurchaseStatus.NOT_FOUND


async def _in_doubt(runtime: Runtime, claim: Claim, why: str, seen: list[str]) -> StepMessage | None:
    return await runtime.settle(
        claim, RunState.IN_DOUBT, claim.doubt(why, seen), purchase_status=ops.PurchaseStatus.IN_DOUBT
    )


async def _again(runtime: Runtime, claim: Claim, known: Evidence, what: str) -> StepMessage | None:
    """Lets the part go until the next look can tell more; a run that is to end does not wait for that for ever."""
    # Steps that died may have put the first whole look off: the second one is worth its time all the same.
    if _has_waited(runtime, claim) and not known.awaits_second:
        return await _in_doubt(runtime, claim, what, [])
    wait = min(runtime.backoff(claim.part.polls), known.apart or 1.0)
    fields: dict[str, ops.Value] = {**TO_RECONCILING, "polls": claim.part.polls + 1}
    if not claim.part.refused:
        fields |= CLEAR_FAILURES
    if known.counts and known.not_found_at is None:
        fields["not_found_at"] = f"{known.began:.4f}"
    await runtime.release_until(claim, fields, wait)
    return None
