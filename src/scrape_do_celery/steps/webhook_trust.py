"""The trust in delivered pages: fetch and compare some of them, and end the trust of an account if one was a lie."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.delivered_tasks import find_differences
from scrape_do_celery.rules.deliveries import replaces_delivered
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.deliveries import Deliveries, ReadDeliveries
from scrape_do_celery.store.commands.webhook_trust import DistrustWebhooks, ReadWebhookTrust

if TYPE_CHECKING:
    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim

log = get_logger(__name__)


async def read_unproven(context: WorkerContext, claim: Claim) -> Deliveries:
    """Read the deliveries of a part. A delivered page that is not believed any more counts as one to check."""
    if not claim.has_webhooks:
        return Deliveries()
    found = await context.store.run(ReadDeliveries(claim.part_id))
    if not found.pages:
        return found
    trust = await context.store.run(ReadWebhookTrust(_account_of(claim)))
    is_off = trust.off_since is not None
    doubted = frozenset(at for at in found.pages if is_off or found.restores.get(at, 0) != trust.restores)
    return replace(found, checks=found.checks | doubted, pages=found.pages - doubted)


async def check_page(context: WorkerContext, claim: Claim, position: int, fetched: TaskDetails) -> None:
    """Compare a fetched task with the delivered one that it is about to replace. End the trust if they differ.

    The trust ends first: if the step dies before the fetched task is stored, the next step compares again.
    """
    (delivered,) = await context.store.run(ReadContents(claim.part_id, [position]))
    if delivered is None or not replaces_delivered(fetched):
        return
    differing = find_differences(delivered, fetched)
    if not differing:
        return
    why = f"task {fetched.task_id} of job {fetched.job_id} was delivered with other values of {', '.join(differing)}"
    if await context.write(DistrustWebhooks(_account_of(claim), why)):
        log.error(
            "%s: %s than the API gives; no delivered page of the account is believed any more, and those of runs that "
            "have not ended are fetched; if Scrape.do sends such deliveries, set SCRAPE_DO_WEBHOOK_TRUST=hint in all "
            "receivers; otherwise somebody knows the secret of your webhooks, so replace SCRAPE_DO_WEBHOOK_KEYS",
            claim.part_id,
            why,
            extra=log_fields("webhook_distrusted", claim.part_id),
        )


def _account_of(claim: Claim) -> str:
    return claim.part.account or ""
