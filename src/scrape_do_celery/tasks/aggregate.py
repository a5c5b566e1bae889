"""Deciding a run, once, when its last part has ended."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.errors import PoisonedRunError
from scrape_do_celery.models import TaskFailedError
from scrape_do_celery.runs import Producer, reading
from scrape_do_celery.runs.reporting import report
from scrape_do_celery.runtime.endings import error_of
from scrape_do_celery.store import PartState, RunRecord, RunState, ops
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.states import worst

if TYPE_CHECKING:
    from scrape_do_celery.errors import ScrapeDoError

log = logging.getLogger(__name__)

_PATIENCE = 3


@shared_task(name=routing.AGGREGATE_RUN, **routing.BELL)
def aggregate_run(self: Task, run_ids: list[str]) -> None:
    """Decides runs whose parts have all ended, and rings for their report."""
    producer = Producer.of(self.app)
    for run_id in run_ids:
        try:
            aggregate(producer, run_id)
        except Exception:
            # The others of this message are to be told; this one is rung again.
            log.exception("run %s could not be decided", run_id)


def aggregate(producer: Producer, run_id: str) -> None:
    """The outcome and the small result, written by whoever comes first."""
    store = producer.store
    record = store.run(ops.view(store.keys, run_id))
    if record is None or any(part.state is not PartState.DONE for part in record.parts):
        return
    if record.outcome is None:
        outcome, fields = _decided(producer, record, store.run(ops.attempt(store.keys, run_id)))
        store.run(ops.decide(store.keys, run_id, outcome, fields))
    report(producer, run_id)


def _decided(producer: Producer, record: RunRecord, attempt: int) -> tuple[RunState, dict[str, Any]]:
    """The outcome, and what the record keeps of it."""
    # Bells for one decision may overlap while it takes its time: only many in vain are poison.
    if attempt > _PATIENCE * producer.settings.poison_after:
        text = f"run {record.run_id} could not be decided in {attempt - 1} attempts"
        return RunState.POISONED, {"error": json.dumps(PoisonedRunError(text, record.run_id).to_json())}
    decided_by, outcome, error = _decision(producer, record)
    fields: dict[str, Any] = {"decided_by": decided_by}
    fields["result"] = pack(small_result(producer, record, outcome, decided_by))
    if error is not None:
        fields["error"] = json.dumps(error.to_json())
    return outcome, fields


def _decision(producer: Producer, record: RunRecord) -> tuple[int, RunState, ScrapeDoError | None]:
    decided_by, outcome = worst(part.outcome or RunState.POISONED for part in record.parts)
    error = record.parts[decided_by].error or error_of(record.run_id, outcome, max_wait=record.max_wait)
    if outcome is not RunState.SUCCEEDED or not any(part.got_failed for part in record.parts):
        return decided_by, outcome, error
    store = producer.store
    spec = store.run(ops.part_spec(store.keys, record.member(0)))
    if spec is None or not spec.raise_on_task_failure:
        return decided_by, outcome, error
    for part in reading.readers(store, record):
        for task in part.tasks(store):
            if task.is_terminal_failure:
                return part.member.part, RunState.FAILED, TaskFailedError(task, record.run_id)
    return decided_by, outcome, error


def small_result(producer: Producer, record: RunRecord, outcome: RunState, decided_by: int) -> dict[str, Any]:
    """What travels through Celery: figures, the deciding job cut short, and where the contents are. Never a page."""
    jobs = reading.jobs_by_part(producer.store, record)
    job = jobs.get(decided_by) or next(iter(jobs.values()), None)
    parts = record.parts
    return {
        "run_id": record.run_id,
        "outcome": outcome.value,
        "counts": {
            "total": sum(part.total for part in parts),
            "succeeded": sum(part.got_done for part in parts),
            "failed": sum(part.got_failed for part in parts),
            "gone": sum(part.gone for part in parts),
        },
        "credits": sum(part.credits for part in parts),
        "job": None if job is None else job.cut().to_wire(),
        "jobs": [part.job_id for part in parts if part.job_id],
        "contents": {"store": "redis", "prefix": producer.settings.key_prefix},
    }
