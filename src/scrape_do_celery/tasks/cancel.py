"""Telling Scrape.do to stop jobs that nobody waits for any more."""

from __future__ import annotations

from contextlib import suppress

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.errors import (
    AsyncAPINotAcceptableError,
    AsyncAPINotFoundError,
    EncryptionKeyError,
    ScrapeDoError,
)
from scrape_do_celery.runs import Bell
from scrape_do_celery.runtime import Runtime, serve
from scrape_do_celery.runtime.collecting import collect
from scrape_do_celery.runtime.endings import NO_TROUBLE, missed, troubled
from scrape_do_celery.store import Claim, PartState


@shared_task(name=routing.CANCEL_RUN, **routing.BELL)
def cancel_run(self: Task, members: list[str]) -> None:
    """Cancels the jobs of running parts whose run has a wish to end."""
    serve(self.app, members, {PartState.RUNNING}, cancel)


async def cancel(runtime: Runtime, claim: Claim) -> Bell | None:
    """One last look at the job; where it still runs, a `DELETE`. Its terminal status decides, later."""
    part = claim.part
    if claim.wish is None or part.canceling is not None:
        await runtime.later(claim, {}, 0.0)
        return Bell(routing.POLL_JOBS, (str(claim.member),))
    try:
        job = await runtime.call(runtime.client.get_job, part.job_id or "")
        if job.is_terminal:
            return await collect(runtime, claim, job)
        with suppress(AsyncAPINotAcceptableError, AsyncAPINotFoundError):
            # 406: it has just ended, 404: it was there a moment ago; the poll will see.
            await runtime.call(runtime.client.cancel_job, part.job_id or "")
    except EncryptionKeyError:
        # Nothing about the API: the part is let go, for whoever has the key.
        raise
    except AsyncAPINotFoundError as error:
        return await missed(runtime, claim, error)
    except ScrapeDoError as error:
        return await troubled(runtime, claim, error)
    fields = {"canceling": f"{claim.now:.4f}", "polls": 0, "misses": 0, **NO_TROUBLE}
    await runtime.later(claim, fields, min(1.0, runtime.interval(0)))
    return None
