"""End or hold back queued parts whose `POST` is not sent now."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.config.secrets import signing_keys
from scrape_do_celery.config.webhook_settings import find_missing
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.outcomes import outcome_of_stop
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.rules.reconciliation import marker_of, with_marker
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.rules.webhook_tokens import PurchaseId, with_webhook
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.finish import default_error, finish_part
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.purchases import IntentVerdict, WriteIntent

if TYPE_CHECKING:
    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.models import JobCreationRequest
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim

log = get_logger(__name__)

#: The advice about a request that this version cannot read.
TOO_OLD = "this worker may be older than the process that enqueued: upgrade the workers"
#: Seconds until the next attempt if the store has just ceased to be durable.
DURABILITY_DELAY = 3.0
#: Verdicts after which a part may end without a `POST`.
_ENDS_UNSENT = frozenset({IntentVerdict.UNSENT, IntentVerdict.STOP_REQUESTED, IntentVerdict.SKIP_UNSENT})


async def end_unsent_part(
    context: WorkerContext, claim: Claim, outcome: str, error: ScrapeDoError | None
) -> StepMessage | None:
    """End a part that will not be sent. A part in another state than `queued` ends by the rules of that state.

    The store may have lost the intent of an earlier `POST` with its last writes. Then a job may exist, so the part is
    reconciled, and never ends as if nothing had been bought.
    """
    if claim.part.state is not PartState.QUEUED:
        return await finish_part(context, claim, outcome, error)
    settings, targets = context.settings, claim.targets()
    verdict, _ = await context.store.run(
        WriteIntent(
            claim,
            uuid.uuid4().hex,
            settings.submit_lease,
            # Only a worker of the account that bought the job can search for it.
            account=claim.part.account or settings.account_id,
            groups=(PriceGroup.unknown(len(targets)),),
            marker=_read_marker(context, claim),
            digests=PartDigests.from_targets(targets),
            durable_process=await context.health.find_durable_process(),
            # A job that may exist takes a slot.
            limit=settings.max_active_jobs,
            will_send=False,
        )
    )
    if verdict in _ENDS_UNSENT:
        return await finish_part(context, claim, outcome, error)
    return await hold_part_back(context, claim, verdict)


async def end_stopped_unsent_part(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """End a part with a stop request that will not be sent, as `end_unsent_part` does."""
    outcome = outcome_of_stop(claim.stop_reason)
    return await end_unsent_part(context, claim, outcome, default_error(claim, outcome, None))


async def hold_part_back(context: WorkerContext, claim: Claim, verdict: IntentVerdict) -> StepMessage | None:
    """Release a part whose `POST` must not be sent now. A `stale` part belongs to another step and is left alone."""
    if verdict is IntentVerdict.MAYBE_SENT:
        return StepMessage(routing.RECONCILE_SUBMIT, (str(claim.part_id),))
    if verdict is IntentVerdict.DURABILITY_PENDING:
        await context.release_until(claim, {}, DURABILITY_DELAY)
    elif verdict is IntentVerdict.TARGETS_LOCKED:
        # The part becomes due when the other purchase is resolved. The delay only guards against a missed wake-up.
        fields = {"polls": claim.part.polls + 1, "same_targets": 1}
        await context.release_until(claim, fields, context.backoff(claim.part.polls))
    return None


def prepare_request(
    context: WorkerContext, claim: Claim, request: JobCreationRequest
) -> tuple[JobCreationRequest, str]:
    """Return the request as it is sent, with its webhook, and its marker.

    On an account of our own, a request needs no marker.
    """
    settings, request = context.settings, _add_webhook(context, claim, request)
    if not settings.shared_account:
        return request, ""
    marker = marker_of(settings.key_prefix, str(claim.part_id))
    marked = with_marker(request, marker, settings.marker_url)
    return (request, "") if marked is None else (marked, marker)


def _add_webhook(context: WorkerContext, claim: Claim, request: JobCreationRequest) -> JobCreationRequest:
    """Return the request with the webhook of its purchase, if the run has webhooks.

    Token and secret are made here, right before they are sent, so no record and no message ever has them. The next
    intent counts the purchase: the fence keeps all other steps from counting one before.
    """
    settings, part_id = context.settings, claim.part_id
    if not claim.has_webhooks:
        return request
    if settings.webhook_base_url is None or settings.webhook_keys is None:
        if context.once.is_first("no_webhook"):
            missing = find_missing(settings.webhook_base_url, settings.webhook_keys)
            log.warning(
                "%s: bought without a webhook, so polls find its end: this worker lacks %s; set both in all workers",
                part_id,
                missing,
                extra=log_fields("no_webhook", part_id),
            )
        return request
    purchase = PurchaseId(part_id.run_id, part_id.part, claim.part.purchases + 1)
    return with_webhook(request, settings.webhook_base_url, signing_keys(settings.webhook_keys)[0], purchase)


def _read_marker(context: WorkerContext, claim: Claim) -> str:
    """Return the marker that a `POST` of the part had. A wrong marker would prove that no job exists."""
    try:
        return prepare_request(context, claim, claim.spec().request)[1]
    except ValueError:
        return ""
