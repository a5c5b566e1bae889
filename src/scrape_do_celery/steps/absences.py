"""Believe "not found" for a job or a task, or ask the API first for its account and its job list."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.steps.breaker import apply_to_all_workers

if TYPE_CHECKING:
    from datetime import datetime

    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim


async def is_absent(context: WorkerContext, claim: Claim, error: ScrapeDoError, *, of_task: bool = False) -> bool:
    """Return whether an answer 404 or 410 for the part's job, or for a task of the job, is believed."""
    read_job_ids = partial(_read_job_ids, context)
    return await context.absences.is_believed(claim, error, read_job_ids, of_task=of_task)


async def _read_job_ids(context: WorkerContext, back_to: datetime) -> frozenset[str] | None:
    try:
        await context.call(context.client.get_user_info)
        listing = await context.job_list.read_listing(asyncio.get_running_loop().time(), back_to)
    except ScrapeDoError as error:
        await apply_to_all_workers(context, error)
        return None
    return frozenset(listing.jobs) if listing.complete else None
