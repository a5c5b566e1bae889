"""Export an ended run, until its files are whole or no attempt is left. The outcome of the run stays as it is."""

from __future__ import annotations

import asyncio
import random
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, cast

from redis.exceptions import RedisError

from scrape_do_celery import routing, tracing
from scrape_do_celery.config.secrets import read_storage
from scrape_do_celery.errors import NewerRecordError, RunNotFoundError
from scrape_do_celery.errors.base import describe_error
from scrape_do_celery.export.options import TemplateValues, fill_template
from scrape_do_celery.local_variables import clear_locals
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.outside_text import redact_url
from scrape_do_celery.redaction import redact_values
from scrape_do_celery.rules.exports import (
    MAX_ATTEMPTS,
    ExportInterruptedError,
    ExportState,
    classify_fault,
    decide_retry_delay,
)
from scrape_do_celery.runs.exports import ExportRequest, export_ended_run
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.steps.leases import LeaseLostError, while_renewed
from scrape_do_celery.steps.loop import call_in_caller
from scrape_do_celery.steps.waiting_parts import warn_newer_record, warn_unreadable
from scrape_do_celery.store.commands.exports import ClaimExport, UpdateExport
from scrape_do_celery.store.commands.parts import ReadPartSpec
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ReadRun

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.config import Settings
    from scrape_do_celery.export.options import ExportOptions
    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.steps.context import WorkerContext
    from scrape_do_celery.store import RunRecord
    from scrape_do_celery.store.commands.exports import ExportClaim

log = get_logger(__name__)

#: Characters of an error that the record keeps, at most.
_LONGEST_ERROR: Final = 500


async def export_runs(context: WorkerContext, run_ids: Iterable[str]) -> None:
    """Export runs, one after the other. The dispatcher publishes the message of a run again if its export goes on."""
    for run_id in run_ids:
        try:
            await _export_run(context, run_id)
        except NewerRecordError as error:
            warn_newer_record(error.version)
        except RunNotFoundError:
            # The run was freed meanwhile, and its export with it.
            continue
        except (LeaseLostError, RedisError) as error:
            log.warning(
                "the export of run %s was interrupted: %s; its step message is published again",
                run_id,
                describe_error(error),
                extra=log_fields("export_interrupted", run_id=run_id),
            )


async def _export_run(context: WorkerContext, run_id: str) -> None:
    store, seconds = context.store, context.settings.lease_seconds
    record = await store.run(ReadRun(run_id))
    if record is None or not record.awaits_export:
        return
    if record.unreadable is not None:
        warn_unreadable(context.once, record.unreadable)
        return
    claimed = ClaimExport(run_id, uuid.uuid4().hex, seconds)
    claim = await store.run(claimed)
    if claim is None:
        return

    async def renew() -> bool:
        return await store.run(claimed) is not None

    attempt = _Attempt(context.app_context, record, claim, claimed.token)
    with tracing.work(record.trace, routing.Step.EXPORT.span, run_id=run_id):
        update = await while_renewed(_make_attempt(context, attempt), renew, seconds, f"the lease of {run_id} is lost")
    await context.write(update)
    if update.state is not None:
        # If this process dies before, the dispatcher does the same.
        await context.write(AcknowledgeDelivery(run_id, "", context.app_context.retention))


async def _make_attempt(context: WorkerContext, attempt: _Attempt) -> UpdateExport:
    """Return what the record must say after this attempt."""
    record = attempt.record
    if not any(part.has_contents for part in record.parts):
        return attempt.update(ExportState.EMPTY)
    if attempt.claim.attempts > MAX_ATTEMPTS:
        # A failed attempt is counted at its end. A worker that dies counts none, and the next one may die as well.
        return _judge_failure(attempt, ExportInterruptedError("workers died in the attempts, or lost the store"))
    try:
        return await call_in_caller(attempt.write_files, await _read_options(context, record))
    except asyncio.CancelledError:
        attempt.is_lost = True
        raise
    except (LeaseLostError, NewerRecordError, RunNotFoundError, RedisError):
        raise
    except Exception as error:  # noqa: BLE001 (each file system has errors of its own)
        return _judge_failure(attempt, error)


async def _read_options(context: WorkerContext, record: RunRecord) -> ExportOptions:
    spec = await context.store.run(ReadPartSpec(record.part_id(0)))
    if spec is None:
        raise RunNotFoundError(f"the store has no run {record.run_id}", record.run_id)
    return cast("ExportOptions", spec.export)


def _judge_failure(attempt: _Attempt, error: Exception) -> UpdateExport:
    clear_locals(error)
    run_id, fault = attempt.record.run_id, classify_fault(error)
    text = describe_failure(error, attempt.app_context.settings)
    retry_after = decide_retry_delay(fault, attempt.claim.attempts, random.random)
    report = {"fault": fault, "error": text}
    if retry_after is None:
        log.error(
            "the export of run %s has failed (%s): %s; while its pages are kept, write them by: scrape-do export %s "
            "--to PATH",
            run_id,
            fault,
            text,
            run_id,
            extra=log_fields("export_failed", run_id=run_id),
        )
        return attempt.update(ExportState.FAILED, report)
    log.warning(
        "attempt %d to export run %s failed (%s): %s; the next one begins in %.0f s",
        attempt.claim.attempts,
        run_id,
        fault,
        text,
        retry_after,
        extra=log_fields("export_delayed", run_id=run_id),
    )
    return attempt.update(None, report, retry_after)


def describe_failure(error: Exception, settings: Settings) -> str:
    """Return the class and the text of an error, without credentials of URLs and without the options of storages."""
    text = redact_url(f"{type(error).__name__}: {error}")
    return redact_values(text, read_storage(settings.export_storage))[:_LONGEST_ERROR]


@dataclass(slots=True)
class _Attempt:
    """An attempt to export a run, under a claim."""

    app_context: AppContext
    record: RunRecord
    claim: ExportClaim
    token: str
    #: whether the claim is lost, so that nothing more may be written
    is_lost: bool = False

    def write_files(self, options: ExportOptions) -> UpdateExport:
        """Write the files. A file that an earlier attempt has begun is the export's own if it has the same bytes."""
        handle = RunHandle(self.record.run_id, app_context=self.app_context)
        request = ExportRequest(
            format=options.get("format"),
            overwrite=options.get("overwrite", False),
            rows_per_shard=options.get("rows_per_shard"),
            content=options.get("content", True),
            carry_on=True,
            is_begun=self._is_begun,
            begin=self._note_begin,
            check=self._check_claim,
        )
        done = export_ended_run(handle, fill_template(options["to"], self._template_values), request)
        log.info(
            "run %s is exported: %d rows in %s",
            done.run_id,
            done.rows,
            done.to,
            extra=log_fields("export_written", run_id=done.run_id),
        )
        figures = {"to": done.to, "format": done.format, "rows": done.rows, "succeeded": done.succeeded}
        return self.update(ExportState.DONE, {**figures, "bytes": done.size})

    def update(
        self, state: ExportState | None, report: dict[str, Any] | None = None, retry_after: float = 0.0
    ) -> UpdateExport:
        """Return the command that notes a state of this export."""
        return UpdateExport(self.record.run_id, self.token, state, report or {}, retry_after)

    @property
    def _is_begun(self) -> bool:
        return self.claim.state is ExportState.WRITING

    @property
    def _template_values(self) -> TemplateValues:
        record = self.record
        moment = record.created if record.export_time is None else record.export_time
        return TemplateValues(record.run_id, record.export_schedule, datetime.fromtimestamp(moment, UTC))

    def _note_begin(self) -> None:
        """Note that a file is begun. If this process dies after it, the next attempt knows the file as its own."""
        if not self._is_begun and not self.app_context.store.run(self.update(ExportState.WRITING)):
            raise LeaseLostError(f"the export of {self.record.run_id} is another step's")

    def _check_claim(self) -> None:
        if self.is_lost:
            raise LeaseLostError(f"the export of {self.record.run_id} is another step's")
