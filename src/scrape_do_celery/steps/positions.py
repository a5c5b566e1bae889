"""Assign positions to the ids of a part's tasks, as the answers for its job name them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from scrape_do_celery.rules.ids import position_tasks
from scrape_do_celery.rules.targets import distinct_targets
from scrape_do_celery.steps.leases import write_claimed
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.request_inputs import targets_of

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim


def position_job(claim: Claim, job: JobDetails) -> tuple[JobDetails, int]:
    """Return the job with the ids of its tasks in the order of their positions, and the number of surplus ids."""
    return position_tasks(job, claim.part.task_ids, claim.part.total)


def least_tasks(claim: Claim, job: JobDetails) -> int:
    """Return the least number of tasks that the API makes of the part's targets. Equal targets may share a task."""
    if len(job.task_ids) >= claim.part.total:
        return claim.part.total
    return len(distinct_targets(targets_of(claim.spec().request)))


async def with_positions(context: WorkerContext, claim: Claim, job: JobDetails) -> tuple[Claim, JobDetails]:
    """Return the claim and the job with the positions of the tasks. Write new positions to the record first.

    Without that, a page would be stored at a position that the record does not know.
    """
    job, _ = position_job(claim, job)
    ids = tuple(job.task_ids)
    if ids == claim.part.task_ids:
        return claim, job
    # If another step has the part, it may give the same positions to other tasks, and a page is stored only once.
    await write_claimed(context, claim, {"tasks": pack(list(ids))})
    return replace(claim, part=replace(claim.part, task_ids=ids)), job
