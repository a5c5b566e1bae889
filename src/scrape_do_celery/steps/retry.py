"""Release a part after an error of the API, for a retry or with its end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from scrape_do_celery.errors import JobLostError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.api_errors import decide_retry, describe_trouble, is_auth, is_client_error
from scrape_do_celery.rules.polling import MAX_NOT_FOUND_POLLS, NOT_FOUND_GRACE, delay_before_last, job_not_found
from scrape_do_celery.rules.waits import kind_of_trouble
from scrape_do_celery.steps.breaker import apply_to_all_workers
from scrape_do_celery.steps.finish import finish_part, finish_stopped_part
from scrape_do_celery.store import RunState
from scrape_do_celery.store.commands.parts import ReadJob

if TYPE_CHECKING:
    from typing import Any

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.runs import StepMessage
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import Claim, PartState
    from scrape_do_celery.store.command import Value

log = get_logger(__name__)


async def retry_after_error(  # noqa: PLR0913 (the failed call, and how the part goes on)
    context: WorkerContext,
    claim: Claim,
    error: ScrapeDoError,
    fields: dict[str, Any] | None = None,
    *,
    may_end: bool = True,
    to: PartState | None = None,
) -> StepMessage | None:
    """Release a part for a retry after an API error, in the state `to`.

    With `may_end`, end it if a refusal has lasted too long.
    """
    since = claim.part.refused_since
    verdict = decide_retry(
        error,
        failures=claim.part.api_failures,
        refused_for=claim.watched - since if may_end and since is not None else None,
        longest=context.settings.poll_max_interval,
        auth_grace=context.settings.auth_grace,
    )
    await apply_to_all_workers(context, error)
    # Log the first of consecutive errors as a warning, and then each tenth.
    level = logging.INFO if claim.part.api_failures % 10 else logging.WARNING
    log.log(
        level,
        "%s: %s: %s; the next attempt follows in %.1f s",
        claim.part_id,
        context.settings.api_url,
        error,
        verdict.after,
        extra=log_fields("call_failed", claim.part_id),
    )
    if verdict.fatal:
        return await finish_part(
            context, claim, RunState.FAILED, error, purchase_status=str((fields or {}).get("purchase_status", ""))
        )
    refused_since = since or claim.watched if is_client_error(error) else 0
    noted = {
        "api_failures": claim.part.api_failures + 1,
        "api_error": describe_trouble(error),
        **claim.trouble_fields(kind_of_trouble(error)),
        "refused_since": f"{refused_since:.4f}",
    }
    # A run with a stop request retries often enough to end in time.
    after = verdict.after if claim.stop_reason is None else min(verdict.after, context.settings.cancel_grace)
    await context.release_until(claim, {**noted, **(fields or {})}, after, to=to)
    return None


async def handle_job_not_found(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """Poll a job again that the API does not know, because the job may be too young; at last end its part."""
    age = claim.job_age
    misses = claim.part.not_found_polls + 1
    if job_not_found(age, misses) == "lost":
        return await finish_lost_part(context, claim, error)
    counted = misses if age >= NOT_FOUND_GRACE else 0
    wait = delay_before_last(counted, MAX_NOT_FOUND_POLLS, context.interval(claim.part.not_found_polls))
    await context.release_until(claim, {"not_found_polls": counted}, wait)
    return None


async def finish_lost_part(context: WorkerContext, claim: Claim, error: ScrapeDoError) -> StepMessage | None:
    """End a part whose job the API no longer knows."""
    run_id = claim.part_id.run_id
    text = f"run {run_id}: the API no longer knows job {claim.part.job_id}: {error}"
    return await finish_part(context, claim, RunState.LOST, JobLostError(text, run_id))


async def handle_poll_error(
    context: WorkerContext, claim: Claim, error: ScrapeDoError, fields: dict[str, Value] | None = None
) -> StepMessage | None:
    """Retry a failed call for a running job. End the part if the job is deleted, or a stop request is overdue."""
    if claim.is_forgotten():
        run_id = claim.part_id.run_id
        text = f"run {run_id}: job {claim.part.job_id} had no usable answer before the API forgot the job: {error}"
        return await finish_part(context, claim, RunState.LOST, JobLostError(text, run_id))
    if not claim.stop_grace_passed(context.settings.cancel_grace):
        # A refusal other than of the token never ends a part that has paid for its job: the API keeps the pages, and
        # may answer again.
        return await retry_after_error(context, claim, error, fields, may_end=is_auth(error))
    log.warning(
        "%s ends by its stop request, but the API does not answer for job %s: %s; check `scrape-do orphans`",
        claim.part_id,
        claim.part.job_id,
        error,
        extra=log_fields("stopped_without_answer", claim.part_id),
    )
    return await finish_stopped_part(context, claim, await context.store.run(ReadJob(claim.part_id)))
