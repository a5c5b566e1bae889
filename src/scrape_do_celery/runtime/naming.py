"""The ids of a part's tasks, as the answers for its job name them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scrape_do_celery.rules.ids import position_tasks
from scrape_do_celery.rules.targets import distinct_targets
from scrape_do_celery.runtime.leases import LeaseLostError
from scrape_do_celery.store import Claim, ops
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.options import targets_of

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.runtime.context import WorkerContext


def positioned(claim: Claim, job: JobDetails) -> tuple[JobDetails, int]:
    """The job with the ids of its tasks in the order of their positions in the store, and how many ids are surplus."""
    return position_tasks(job, claim.part.task_ids, claim.part.total)


def least_tasks(claim: Claim, job: JobDetails) -> int:
    """How many tasks the API makes of the part's targets at least: it may answer equal targets with one."""
    if len(job.task_ids) >= claim.part.total:
        return claim.part.total
    return len(distinct_targets(targets_of(claim.spec().request)))


async def with_positions(context: WorkerContext, claim: Claim, job: JobDetails) -> tuple[Claim, JobDetails]:
    """The job with the positions of its tasks, which are written down before a page is stored at one."""
    job, _ = positioned(claim, job)
    ids = tuple(job.task_ids)
    if ids == claim.part.task_ids:
        return claim, job
    if await context.write(ops.update_part(context.store.keys, claim, {"tasks": pack(list(ids))})) != "ok":
        # Another step may give the same positions to other tasks, and a page is stored once only.
        raise LeaseLostError(str(claim.part_id))
    return replace(claim, part=replace(claim.part, task_ids=ids)), job
