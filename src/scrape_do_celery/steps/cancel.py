"""Cancel jobs at Scrape.do whose run has a stop request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.rules.fetch import AnswerFate, classify_answer, should_retry_cancel
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.fetch import collect
from scrape_do_celery.steps.finish import CLEAR_FAILURES
from scrape_do_celery.steps.job_answers import job_ended, job_unanswered
from scrape_do_celery.steps.retry import handle_poll_error

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim


async def cancel(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """Poll the job once more; if it still runs, send a `DELETE`. A later poll finds the terminal status, which decides.

    If the answer cannot be read, the job may run, so the `DELETE` is sent as well.
    """
    part = claim.part
    job: JobDetails | None = None
    unread: ScrapeDoError | None = None
    if claim.stop_reason is None or part.cancel_sent_at is not None:
        await context.release_until(claim, {}, 0.0)
        return StepMessage(routing.POLL_JOBS, (str(claim.part_id),))
    try:
        job = await context.call_for_one(context.client.get_job, part.job_id or "")
    except StoreUnavailableError:
        # The API is not at fault.
        raise
    except ScrapeDoError as error:
        if classify_answer(error) is not AnswerFate.ATTEMPT:
            return await job_unanswered(context, claim, error)
        unread = error
    context.absences.note_answer(claim)
    if job is not None and job.is_terminal:
        return await job_ended(context, claim, job)
    try:
        await context.call_for_one(context.client.cancel_job, part.job_id or "")
    except (EncryptionKeyError, StoreUnavailableError):
        # The API is not at fault: the part is released for a worker that has the key.
        raise
    except ScrapeDoError as error:
        # An answer about the job needs no retry: the job has just ended (406) or is gone. The next poll will tell.
        if should_retry_cancel(error):
            if not claim.stop_grace_passed(context.settings.cancel_grace):
                return await handle_poll_error(context, claim, error)
            # The job cannot be stopped. Its paid pages can be fetched.
            fetching = collect(context, claim, job) if job else job_unanswered(context, claim, unread or error)
            return await fetching
    fields = {"cancel_sent_at": f"{claim.now:.4f}", "polls": 0, "not_found_polls": 0, **CLEAR_FAILURES}
    await context.release_until(claim, fields, min(1.0, context.interval(0)))
    return None
