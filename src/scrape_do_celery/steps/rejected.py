"""Read the job list for jobs of purchases that the API rejected."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from scrape_do_celery.errors import (
    AsyncAPIGoneError,
    AsyncAPINotFoundError,
    AsyncAPIUnparsableResponseError,
    ScrapeDoError,
)
from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.rules.reconciliation import read_back_to
from scrape_do_celery.store.commands.ownership import NoteUnowned, ReadJobOwners
from scrape_do_celery.store.commands.purchases import DropRejected, TakeRejected

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.rules.targets import JobDigests
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store.commands.purchases import RejectedPurchase

log = logging.getLogger(__name__)


async def search_for_rejected(context: WorkerContext) -> None:
    """Search the job list once for the jobs of rejected purchases, and log each job that exists."""
    account = context.settings.account_id
    purchases = await context.store.run(TakeRejected(account))
    if not purchases:
        return
    try:
        unowned = await _unowned_jobs(context, min(purchase.at for purchase in purchases))
        for job, position in unowned:
            digests = await _read_digests(context, job)
            if found := _rejected_purchase(purchases, digests, position):
                _report_orphan(context, job, found)
    except ScrapeDoError as error:
        log.warning(
            "could not read the job list for rejected purchases: %s; a later step reads the list",
            error,
            extra=log_fields("rejected_not_searched", account=account),
        )
        return
    await context.write(DropRejected(account, purchases))


async def _unowned_jobs(context: WorkerContext, since: float) -> list[tuple[JobDetails, int]]:
    """Return the jobs that no run owns, each with the position of its first sighting in the order of all intents."""
    store, settings = context.store, context.settings
    offset = await context.store_clock_offset() or 0.0
    tolerance = settings.api_clock_tolerance
    back_to = read_back_to(since, context.job_list.api_clock_offset(offset, tolerance), tolerance)
    listing = await context.job_list.read_listing(asyncio.get_running_loop().time(), back_to)
    ids = [job.job_id for job in listing.jobs.values()]
    owners = await store.run(ReadJobOwners(ids)) if ids else []
    free = [job for job, owner in zip(listing.jobs.values(), owners, strict=True) if owner is None]
    seen = await context.write(NoteUnowned(settings.account_id, [job.job_id for job in free]))
    return list(zip(free, seen, strict=True))


async def _read_digests(context: WorkerContext, job: JobDetails) -> JobDigests | None:
    known = context.job_list.digests_of(job)
    if known is not None:
        return known
    try:
        whole = await context.call(context.client.get_job, job.job_id)
    except (AsyncAPINotFoundError, AsyncAPIGoneError, AsyncAPIUnparsableResponseError):
        return None
    return context.job_list.digests_of(whole)


def _rejected_purchase(
    purchases: Iterable[RejectedPurchase], digests: JobDigests | None, position: int
) -> RejectedPurchase | None:
    if digests is None:
        return None
    for purchase in purchases:
        if position >= purchase.order and digests.coarse == purchase.coarse:
            return purchase
    return None


def _report_orphan(context: WorkerContext, job: JobDetails, purchase: RejectedPurchase) -> None:
    context.rate_limiter.counters.add("orphans:rejected")
    log.error(
        "job %s exists although the API rejected the purchase of %s; stop it with `scrape-do orphans --cancel %s`",
        job.job_id,
        purchase.part_id,
        job.job_id,
        extra=log_fields("orphan_found", purchase.part_id),
    )
