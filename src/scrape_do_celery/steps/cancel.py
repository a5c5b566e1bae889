"""Cancel jobs at Scrape.do whose run has a stop request."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError
from scrape_do_celery.rules.fetch import AnswerFate, classify_answer, should_retry_cancel
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.fetch import collect_job
from scrape_do_celery.steps.finish import CLEAR_FAILURES
from scrape_do_celery.steps.job_answers import handle_ended_job, handle_unanswered_job
from scrape_do_celery.steps.retry import handle_poll_error

if TYPE_CHECKING:
    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim


async def cancel_part(context: WorkerContext, claim: Claim) -> StepMessage | None:
    """Poll the job once more. If it still runs, send a `DELETE`; a later poll finds the terminal status.

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
    except ScrapeDoError as error:
        if classify_answer(error) is not AnswerFate.ATTEMPT:
            return await handle_unanswered_job(context, claim, error)
        unread = error
    context.absences.note_answer(claim)
    if job is not None and job.is_terminal:
        return await handle_ended_job(context, claim, job)
    try:
        await context.call_for_one(context.client.cancel_job, part.job_id or "")
    except EncryptionKeyError:
        # The API is not at fault: the part is released for a worker that has the key.
        raise
    except ScrapeDoError as error:
        # An answer about the job needs no retry: the job has just ended (406) or is gone. The next poll will tell.
        if should_retry_cancel(error):
            if not claim.stop_grace_passed(context.settings.cancel_grace):
                return await handle_poll_error(context, claim, error)
            # The job cannot be stopped. Its paid pages can be fetched.
            return await _rescue_pages(context, claim, job, unread or error)
    fields = {"cancel_sent_at": f"{claim.now:.4f}", "polls": 0, "not_found_polls": 0, **CLEAR_FAILURES}
    await context.release_until(claim, fields, min(1.0, context.interval(0)))
    return None


async def _rescue_pages(
    context: WorkerContext, claim: Claim, job: JobDetails | None, error: ScrapeDoError
) -> StepMessage | None:
    """Fetch the tasks of a job that the API does not cancel. Its pages are paid for."""
    if job is not None:
        return await collect_job(context, claim, job)
    return await handle_unanswered_job(context, claim, error)
