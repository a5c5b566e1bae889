"""Looking at running jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.errors import AsyncAPINotFoundError, ScrapeDoError
from scrape_do_celery.runs import Bell
from scrape_do_celery.runtime import Runtime, serve
from scrape_do_celery.runtime.collecting import collect, fetch_early, positioned
from scrape_do_celery.runtime.endings import NO_TROUBLE, missed, seen, troubled
from scrape_do_celery.store import Claim, PartState

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails


@shared_task(name=routing.POLL_JOBS, **routing.BELL)
def poll_jobs(self: Task, members: list[str]) -> None:
    """Looks at the jobs of running parts."""
    serve(self.app, members, {PartState.RUNNING}, poll)


async def poll(runtime: Runtime, claim: Claim) -> Bell | None:
    """One look: the job runs on and is due again, or has ended and is collected."""
    try:
        job = await runtime.call(runtime.client.get_job, claim.part.job_id or "")
    except AsyncAPINotFoundError as error:
        return await missed(runtime, claim, error)
    except ScrapeDoError as error:
        return await troubled(runtime, claim, error)
    if job.is_terminal or _given_up(runtime, claim):
        return await collect(runtime, claim, job)
    if claim.early:
        job = positioned(claim, job)
        await fetch_early(runtime, claim, job)
    return await _later(runtime, claim, job)


def _given_up(runtime: Runtime, claim: Claim) -> bool:
    """Whether a job that was told to stop has had its time to say so."""
    return claim.part.canceling is not None and claim.out_of_grace(runtime.settings.cancel_grace)


async def _later(runtime: Runtime, claim: Claim, job: JobDetails) -> Bell | None:
    part, now = claim.part, seen(job)
    before = {"status": part.status, "seen_done": part.seen_done, "seen_failed": part.seen_failed}
    polls = part.polls + 1
    fields = {**now, "polls": polls, "misses": 0, **NO_TROUBLE}
    # A job of a thousand tasks is some 100 kB: it is written only where something moved.
    moved = job if now != before else None
    if claim.wish and part.canceling is None:
        # This bell was on its way when the run was told to end.
        await runtime.later(claim, fields, 0.0, moved)
        return Bell(routing.CANCEL_RUN, (str(claim.member),))
    await runtime.later(claim, fields, _wait(runtime, claim, polls), moved)
    return None


def _wait(runtime: Runtime, claim: Claim, polls: int) -> float:
    """Seconds until the next look. Jobs that wait for long are looked at together, by the list, and none apart."""
    longest = runtime.intervals
    by_list = not claim.early and claim.wish is None and polls + 1 >= len(longest)
    return longest[-1] if by_list else runtime.interval(polls)
