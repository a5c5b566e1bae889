"""A submit whose fate is unknown. It is never sent again blindly."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.errors import SubmitInDoubtError
from scrape_do_celery.runtime import Runtime, serve
from scrape_do_celery.store import Claim, PartState, RunState

if TYPE_CHECKING:
    from scrape_do_celery.runs import Bell


@shared_task(name=routing.RECONCILE_SUBMIT, **routing.BELL)
def reconcile_submit(self: Task, members: list[str]) -> None:
    """Resolves parts whose `POST` may have bought a job."""
    serve(self.app, members, {PartState.SUBMITTING, PartState.DOUBTFUL}, reconcile)


async def reconcile(runtime: Runtime, claim: Claim) -> Bell | None:
    """Ends the part as `in_doubt`, with what a person needs to look for the job."""
    run_id, part = claim.member.run_id, claim.part
    text = f"run {run_id}: a job of {part.total} targets may have been bought, its answer was lost; not sent again"
    return await runtime.settle(claim, RunState.IN_DOUBT, SubmitInDoubtError(text, part.total, part.intent))
