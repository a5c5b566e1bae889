"""Buy the job of a part. The intent is on disk first, and nothing is sent twice."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from redis.exceptions import RedisError

from scrape_do_celery import routing
from scrape_do_celery.client import endpoints
from scrape_do_celery.errors import (
    AsyncAPIRateLimitError,
    InvalidRequestError,
    ScrapeDoError,
    StoreUnavailableError,
    SubmitInDoubtError,
)
from scrape_do_celery.local_variables import clear_locals
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.redaction import redact_error
from scrape_do_celery.rules.api_errors import describe_trouble, is_auth
from scrape_do_celery.rules.budgets import BudgetRefusal, over_budget_error, parse_refusal
from scrape_do_celery.rules.ids import make_created_job
from scrape_do_celery.rules.polling import safety_delay
from scrape_do_celery.rules.prices import price_groups
from scrape_do_celery.rules.submit import SubmitFailure, classify_submit_error
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.rules.waits import BUY_BELOW
from scrape_do_celery.rules.webhook_tokens import carries_webhook
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.finish import CLEAR_FAILURES, finish_part, finish_stopped_part
from scrape_do_celery.steps.leases import LeaseLostError
from scrape_do_celery.steps.retry import retry_after_error
from scrape_do_celery.steps.store_health import FULL_STORE_DELAY, is_full
from scrape_do_celery.steps.unsent import TOO_OLD, end_unsent_part, hold_part_back, prepare_request
from scrape_do_celery.store import SKIPPED, Claim, PartState, RunState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.parts import UpdatePart, UpdateResult
from scrape_do_celery.store.commands.purchases import (
    CheckBeforeSend,
    IntentVerdict,
    NoteRejected,
    PurchaseStatus,
    RejectedPurchase,
    SendVerdict,
    WriteIntent,
    digest_claim,
)
from scrape_do_celery.store.request_inputs import targets_of

if TYPE_CHECKING:
    from scrape_do_celery.client.endpoints import Endpoint
    from scrape_do_celery.models import JobCreationRequest, JobCreationResponse
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store.command import Value

log = get_logger(__name__)

#: Verdicts on the intent of a part that must not be bought any more.
_UNNEEDED = frozenset({IntentVerdict.STOP_REQUESTED, IntentVerdict.SKIP_UNSENT})
#: Fields of a part whose `POST` certainly bought nothing, so that the part is queued again.
NOTHING_BOUGHT: dict[str, Value] = {"purchase_status": PurchaseStatus.VOID}


class _Purchase(NamedTuple):
    """What the step sends, ready before its intent is written."""

    request: JobCreationRequest
    job: Endpoint[JobCreationResponse]
    marker: str


class _SendAbortedError(Exception):
    """An error before the `POST`: nothing was sent, because the lease was too short or the store did not answer."""


async def submit_part(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """Buy the job of a claimed part, at most once, or hold the part back."""
    try:
        request, marker = prepare_request(context, claim, claim.spec().request)
        # Make the body before the intent: an error after the intent leaves the purchase in doubt.
        purchase = _Purchase(request, endpoints.create_job(request), marker)
    except ValueError as error:
        text = f"the request cannot be sent: {error}; {TOO_OLD}"
        return await end_unsent_part(context, claim, RunState.FAILED, InvalidRequestError(text))
    if claim.skip_unsent or claim.stop_reason:
        return await _finish_unneeded(
            context, claim, (await _write_intent(context, claim, request, marker, uuid.uuid4().hex))[0]
        )
    if not await context.health.is_below(BUY_BELOW):
        await context.release_until(claim, {}, FULL_STORE_DELAY)
        return None
    try:
        return await _buy_job(context, claim, purchase)
    except AsyncAPIRateLimitError as error:
        # Nothing was sent: a pause after a 429 holds for all workers.
        return await retry_after_error(context, claim, error)


async def _buy_job(context: WorkerContext, claim: Claim, purchase: _Purchase) -> StepMessage | None:
    async with context.submit_semaphore, context.rate_limiter.acquire() as room:
        nonce = uuid.uuid4().hex
        try:
            verdict, reason = await _write_intent(context, claim, purchase.request, purchase.marker, nonce)
        except StoreUnavailableError as error:
            room.was_used = False
            if not is_full(error):
                raise
            # The server may not tell its memory. Such a refusal must not count as an attempt of the part.
            context.health.note_write_refused()
            await context.release_until(claim, {}, FULL_STORE_DELAY)
            return None
        if verdict is IntentVerdict.OK:
            was_sent = asyncio.Event()
            post = _post_job(context, claim, purchase, nonce, was_sent)
            return await context.sent_purchases.finish(post, was_sent)
        room.was_used = False
    if verdict is IntentVerdict.OVER_BUDGET:
        return await _obey_budget(context, claim, parse_refusal(reason))
    if verdict in {*_UNNEEDED, IntentVerdict.STALE}:
        # The stop or skip came after the claim, so the next claim sees it. If stale, another step has the part.
        await context.release_until(claim, {}, 0.0)
        return StepMessage(routing.SUBMIT_JOBS, (str(claim.part_id),))
    return await hold_part_back(context, claim, verdict)


async def _obey_budget(context: WorkerContext, claim: Claim, refusal: BudgetRefusal) -> StepMessage | None:
    """End a part whose price a budget refuses for good. Any other part waits already: the script has released it."""
    if not refusal.is_final:
        return None
    error = over_budget_error(claim.part_id.run_id, refusal)
    return await finish_part(context, claim, RunState.BUDGET_EXCEEDED, error)


async def _finish_unneeded(context: WorkerContext, claim: Claim, verdict: IntentVerdict) -> StepMessage | None:
    """End a part that must not be bought, unless it may have been bought before the store lost its last writes."""
    if verdict not in _UNNEEDED:
        return await hold_part_back(context, claim, verdict)
    return await (
        finish_part(context, claim, SKIPPED) if claim.skip_unsent else finish_stopped_part(context, claim, None)
    )


async def _write_intent(
    context: WorkerContext, claim: Claim, request: JobCreationRequest, marker: str, nonce: str
) -> tuple[IntentVerdict, str]:
    store, settings = context.store, context.settings
    return await store.run(
        WriteIntent(
            claim,
            nonce,
            settings.submit_lease,
            account=settings.account_id,
            groups=price_groups(request, store.keys.mask),
            marker=marker,
            has_webhook=claim.has_webhooks and carries_webhook(request),
            digests=PartDigests.from_targets(targets_of(request)),
            durable_process=await context.health.find_durable_process(),
            limit=settings.max_active_jobs,
            if_over_budget=settings.over_budget,
        )
    )


async def _post_job(
    context: WorkerContext, claim: Claim, purchase: _Purchase, nonce: str, was_sent: asyncio.Event
) -> StepMessage | None:
    try:
        with context.rate_limiter.counters.request("create_job"):
            created = await context.submit_client.post_job(
                purchase.job,
                before_send=partial(_check_before_send, context, claim, was_sent),
                timeout=context.settings.submit_deadline,
            )
    except _SendAbortedError:
        await context.release_until(claim, NOTHING_BOUGHT, 1.0, to=PartState.QUEUED)
        return None
    except (LeaseLostError, RedisError):
        # Also `StoreUnavailableError`: the API is not at fault, and the intent in the store tells if a `POST` was sent.
        raise
    except ScrapeDoError as error:
        return await _handle_failed_submit(context, claim, redact_error(error, purchase.request))
    except Exception as error:  # noqa: BLE001 (a transport may raise anything, and after the first byte a job may be bought)
        why = f"the job may have been bought: {type(error).__name__}"
        return await _handle_failed_submit(context, claim, SubmitInDoubtError(why, purchase.request.size))
    return await _record_job(context, claim, purchase, created, nonce)


async def _check_before_send(context: WorkerContext, claim: Claim, was_sent: asyncio.Event) -> None:
    """Check, right before the bytes leave, that the lease is still ours and outlasts the longest `POST`."""
    asked = time.monotonic()
    try:
        check = await context.store.run(CheckBeforeSend(claim))
    except RedisError as error:
        raise _SendAbortedError from error
    if check.verdict is SendVerdict.LEASE_LOST:
        raise LeaseLostError(str(claim.part_id))
    if check.verdict is not SendVerdict.OK:
        raise _SendAbortedError
    # A process that was frozen meanwhile has an old answer, so the time since the query counts.
    left = check.seconds - (time.monotonic() - asked)
    if left < context.settings.submit_deadline + context.settings.submit_visibility_grace:
        raise _SendAbortedError
    was_sent.set()


async def _handle_failed_submit(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    fate = classify_submit_error(error)
    log.info(
        "%s: the POST failed (%s): %s", claim.part_id, fate, error, extra=log_fields("submit_failed", claim.part_id)
    )
    if fate is SubmitFailure.UNKNOWN:
        note = {"submit_error": json.dumps(error.to_json())}
        await context.release_until(claim, note, 0.0, to=PartState.RECONCILING)
        return StepMessage(routing.RECONCILE_SUBMIT, (str(claim.part_id),))
    if fate is SubmitFailure.RATE_LIMITED or is_auth(error):
        # The API says that it bought nothing. A listing after the pause shows whether the answer is true.
        note = {"submit_error": json.dumps(error.to_json()), "refused": "token" if is_auth(error) else "pause"}
        return await retry_after_error(context, claim, error, {**note, **NOTHING_BOUGHT}, to=PartState.RECONCILING)
    if fate is SubmitFailure.REJECTED:
        return await _end_rejected_part(context, claim, error)
    if fate is SubmitFailure.REDIRECTED:
        return await _hold_redirected_part(context, claim, error)
    return await retry_after_error(context, claim, error, NOTHING_BOUGHT, to=PartState.QUEUED)


async def _end_rejected_part(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """End a part whose request the API rejected. A later step searches the job list for a job of the part."""
    after = context.settings.submit_deadline + context.settings.submit_visibility_grace
    purchase = RejectedPurchase.of(claim.part_id, claim.now, digest_claim(claim))
    await context.write(NoteRejected(context.settings.account_id, purchase, after))
    return await finish_part(context, claim, RunState.FAILED, error, purchase_status=PurchaseStatus.VOID)


async def _hold_redirected_part(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """Hold a part back whose `POST` was answered with a redirect, for `auth_grace` as after a refused token."""
    since = claim.part.refused_since or claim.watched
    left = context.settings.auth_grace - (claim.watched - since)
    if left < 0:
        return await finish_part(context, claim, RunState.FAILED, error, purchase_status=PurchaseStatus.VOID)
    text = f"{describe_trouble(error)}; if this lasts {left:.0f} s longer, the run fails (SCRAPE_DO_AUTH_GRACE)"
    fields = {**NOTHING_BOUGHT, "refused_since": f"{since:.4f}", "api_error": text}
    return await retry_after_error(context, claim, error, fields, to=PartState.QUEUED)


async def _record_job(
    context: WorkerContext, claim: Claim, purchase: _Purchase, created: JobCreationResponse, nonce: str
) -> StepMessage | None:
    task_ids = created.task_ids[: claim.part.total]
    fields: dict[str, Value] = {
        "job": created.job_id,
        "tasks": pack(task_ids),
        "polls": 0,
        "purchase_status": PurchaseStatus.CONFIRMED,
        # A later refusal has its own time: the time of an earlier one must not end a part whose job is paid.
        **CLEAR_FAILURES,
    }
    # The first poll comes after the full interval, without jitter. The times of purchase spread these polls, and each
    # poll sees a job that has ended within the interval.
    after, job = context.interval(0, jitter=0.0), None
    if claim.has_webhooks and carries_webhook(purchase.request):
        # A delivered page is readable at once, before any poll.
        after, job = safety_delay(0, context.settings.webhook_poll_max), make_created_job(created.job_id, task_ids)
    command = UpdatePart(claim, fields, to=PartState.RUNNING, after=after, job=job, owner=created.job_id, nonce=nonce)
    try:
        # Try for as long as the lease can last while the store is away.
        result = await context.write(command, context.settings.submit_visibility_grace + context.settings.lease_seconds)
    except BaseException as error:
        clear_locals(error)
        # Log the id after any exception, also after a lost lease: the id of a paid job must be kept somewhere.
        log.exception(
            "%s bought job %s, but the store did not write its id; a later step searches for the job",
            claim.part_id,
            created.job_id,
            extra=log_fields("job_not_recorded", claim.part_id),
        )
        raise
    if result is UpdateResult.HINTED:
        # Deliveries came before the answer of the `POST`.
        return StepMessage(routing.POLL_JOBS, (str(claim.part_id),))
    if result is not UpdateResult.OK:
        _log_refused_id(claim, created.job_id, result)
    if result is UpdateResult.OWNED:
        # A second `POST` would get the same answer, and each `POST` may buy a job.
        why = f"the API named job {created.job_id}, which another run owns"
        return await finish_part(
            context,
            claim,
            RunState.IN_DOUBT,
            claim.in_doubt_error(why, [created.job_id]),
            purchase_status=PurchaseStatus.IN_DOUBT,
        )
    return None


def _log_refused_id(claim: Claim, job_id: str, result: UpdateResult) -> None:
    later = "a later step searches for the job; act only if the run ends in doubt"
    log.error(
        "%s bought job %s, but the store refused its id: %s; %s",
        claim.part_id,
        job_id,
        result,
        "the run ends in doubt" if result is UpdateResult.OWNED else later,
        extra=log_fields("job_not_recorded", claim.part_id),
    )
