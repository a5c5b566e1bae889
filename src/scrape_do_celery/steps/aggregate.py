"""Decide the outcome of a run, once, when its last part has ended."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from scrape_do_celery import routing, tracing
from scrape_do_celery.errors import EncryptionKeyError, NewerRecordError, PoisonedRunError
from scrape_do_celery.local_variables import clear_locals
from scrape_do_celery.log_fields import about_run, get_logger, log_fields
from scrape_do_celery.models import JobFailedError, TaskFailedError
from scrape_do_celery.models.reasons import FailureReason, reasons_to_json
from scrape_do_celery.outside_text import redact_answer
from scrape_do_celery.redaction import redact_error
from scrape_do_celery.rules.outcomes import error_for_outcome, worst_outcome
from scrape_do_celery.runs import results
from scrape_do_celery.steps.deliver import deliver_record
from scrape_do_celery.steps.failure_reasons import read_reasons
from scrape_do_celery.steps.loop import call_in_caller
from scrape_do_celery.steps.waiting_parts import warn_newer_record, warn_unreadable
from scrape_do_celery.store import PartState, RunRecord, RunState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.parts import ReadJob, ReadPartSpec
from scrape_do_celery.store.commands.runs import CountDecisionAttempt, ReadRun, RecordOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.models import JobDetails
    from scrape_do_celery.runs import AppContext
    from scrape_do_celery.steps.context import WorkerContext

log = get_logger(__name__)

_MAX_DECISION_FACTOR = 3


async def decide_runs(context: WorkerContext, run_ids: list[str]) -> None:
    """Decide runs, and publish the outcomes of those that have ended."""
    answers = await asyncio.gather(*(decide_run(context, run_id) for run_id in run_ids), return_exceptions=True)
    for run_id, answer in zip(run_ids, answers, strict=True):
        if isinstance(answer, NewerRecordError):
            # A dispatcher of that version publishes the message again.
            warn_newer_record(answer.version)
        elif isinstance(answer, Exception):
            clear_locals(answer)
            # The other runs of this message must still be delivered. The dispatcher publishes this run again.
            log.error(
                "could not decide the outcome of run %s; its step message is published again",
                run_id,
                exc_info=answer,
                extra=log_fields("run_not_decided", run_id=run_id),
            )
    ended = [answer for answer in answers if isinstance(answer, RunRecord)]
    await call_in_caller(_deliver_all, context.app_context, ended)


def _deliver_all(app_context: AppContext, records: Iterable[RunRecord]) -> None:
    for record in records:
        deliver_record(app_context, record)


async def decide_run(context: WorkerContext, run_id: str) -> RunRecord | None:
    """Decide a run whose parts have all ended. Return its record, with the outcome and the small result.

    The first step that writes an outcome decides the run. Return None if the run goes on or cannot be read here.
    """
    store = context.store
    record = await store.run(ReadRun(run_id))
    if record is None or any(part.state is not PartState.DONE for part in record.parts):
        return None
    if record.unreadable is not None and record.lacks_key:
        warn_unreadable(context.once, record.unreadable)
        return None
    if record.outcome is not None:
        return record
    span = routing.Step.AGGREGATE.span
    with about_run(record.names), tracing.work(record.trace, span, run_id=run_id, **record.names):
        attempt = await store.run(CountDecisionAttempt(run_id))
        try:
            outcome, fields = await _compose_outcome(context, record, attempt)
        except EncryptionKeyError as error:
            # Another worker may read the value, or the right value may come back. So the attempt does not count.
            warn_unreadable(context.once, error)
            await store.run(CountDecisionAttempt(run_id, -1))
            return None
        await store.run(RecordOutcome(run_id, outcome, fields))
    # Read the record again: a waiter may have been added a moment ago.
    return await store.run(ReadRun(run_id))


async def _compose_outcome(context: WorkerContext, record: RunRecord, attempt: int) -> tuple[RunState, dict[str, Any]]:
    """Return the outcome, and the fields that the record keeps of it."""
    # Several messages may aggregate the same run at once, so only a high number of attempts without an outcome marks
    # the run as poisoned.
    if attempt > _MAX_DECISION_FACTOR * context.settings.poison_after:
        text = f"the outcome of run {record.run_id} could not be decided in {attempt - 1} attempts"
        return RunState.POISONED, {"error": json.dumps(PoisonedRunError(text, record.run_id).to_json())}
    decided_by, outcome, error = await _choose_outcome(context, record)
    store = context.store
    found = await asyncio.gather(*(store.run(ReadJob(record.part_id(number))) for number in range(len(record.parts))))
    jobs = {number: job for number, job in enumerate(found) if job is not None}
    job = jobs.get(decided_by) or next(iter(jobs.values()), None)
    reasons = await read_reasons(context, record, jobs)
    if reasons and isinstance(error, JobFailedError):
        error = error.with_reasons(reasons)
    small = small_result(record, outcome, job, context.settings.key_prefix, reasons)
    fields: dict[str, Any] = {"decided_by": decided_by, "result": pack(small)}
    if error is not None:
        fields["error"] = json.dumps(error.to_json())
    return outcome, fields


async def _choose_outcome(context: WorkerContext, record: RunRecord) -> tuple[int, RunState, ScrapeDoError | None]:
    decided_by, outcome = worst_outcome(part.outcome or RunState.POISONED for part in record.parts)
    error = record.parts[decided_by].error or error_for_outcome(record.run_id, outcome, max_wait=record.max_wait)
    if isinstance(error, EncryptionKeyError):
        raise error
    if outcome is not RunState.SUCCEEDED or not any(part.stored_failed for part in record.parts):
        return decided_by, outcome, error
    store = context.store
    spec = await store.run(ReadPartSpec(record.part_id(0)))
    if spec is None or not spec.raise_on_task_failure:
        return decided_by, outcome, error
    failed = await call_in_caller(_first_failed, context.app_context, record)
    if failed is None:
        return decided_by, outcome, error
    # The API may quote the token, or a header of the request, in the reason of a failure.
    token = "" if context.settings.api_key is None else context.settings.api_key.get_secret_value()
    return failed[0], RunState.FAILED, redact_error(failed[1], spec.request, token)


def _first_failed(app_context: AppContext, record: RunRecord) -> tuple[int, TaskFailedError] | None:
    """Return the first failed task in input order, and the number of its part."""
    store = app_context.store
    for part in results.part_readers(store, record):
        for task in part.iter_tasks(store):
            if task.is_terminal_failure:
                return part.part_id.part, TaskFailedError(task, record.run_id)
    return None


def small_result(
    record: RunRecord,
    outcome: RunState,
    job: JobDetails | None,
    prefix: str,
    reasons: Sequence[FailureReason] = (),
) -> dict[str, Any]:
    """Return the result that travels through Celery, which never holds a page.

    The result has figures, the deciding job cut short, and the location of the contents.
    """
    parts = record.parts
    # Monitors show only the beginning of a result, so the most useful fields come first.
    return {
        "outcome": outcome.value,
        "counts": {
            "total": sum(part.total for part in parts),
            "succeeded": sum(part.stored_ok for part in parts),
            "failed": sum(part.stored_failed for part in parts),
            "gone": sum(part.gone for part in parts),
        },
        "credits": sum(part.credits for part in parts),
        "run_id": record.run_id,
        **({"reasons": reasons_to_json(reasons)} if reasons else {}),
        "job": None if job is None else redact_answer(job.cut().to_wire()),
        "jobs": [part.job_id for part in parts if part.job_id],
        "contents": {"store": "redis", "prefix": prefix},
    }
