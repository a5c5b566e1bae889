"""Publishing an outcome under a caller's Celery id."""

from __future__ import annotations

import logging
import time
from typing import Any

from celery import Task, shared_task, signals
from celery.exceptions import Ignore, Reject
from celery.states import READY_STATES
from redis.exceptions import RedisError

from scrape_do_celery import routing
from scrape_do_celery.errors import RunNotFoundError, ScrapeDoError
from scrape_do_celery.runs import Producer
from scrape_do_celery.runs.reporting import is_delivered
from scrape_do_celery.store import RunRecord, ops

log = logging.getLogger(__name__)


@shared_task(name=routing.FINISH_RUN, throws=(ScrapeDoError,), **routing.UNDER_CALLERS_ID)
def finish_run(self: Task, run_id: str) -> dict[str, Any] | None:
    """The small result of a run that succeeded; its error is raised otherwise."""
    record = _record(Producer.of(self.app), run_id)
    if record is None:
        raise RunNotFoundError(f"no run {run_id} in the store: forgotten, or past its life", run_id)
    if record.outcome is None or self.request.id not in record.waiters:
        # Rung too early, or a second time: what the caller knows already must not reach its callbacks again.
        raise Ignore
    if record.error is not None:
        raise record.error
    return record.result


def _record(producer: Producer, run_id: str) -> RunRecord | None:
    try:
        return producer.store.run(ops.view(producer.store.keys, run_id))
    except RedisError as error:
        time.sleep(1)
        raise Reject(type(error).__name__, requeue=True) from error


@signals.task_postrun.connect(weak=False)
def note_delivery(task: Task, task_id: str, args: Any, state: str | None = None, **_: Any) -> None:
    """Notes that Celery has stored an outcome: then, and only then, is it not rung for again."""
    if task.name != routing.FINISH_RUN or state not in READY_STATES or not args:
        return
    producer = Producer.of(task.app)
    if not is_delivered(producer, task_id):
        # Celery calls this too where its backend did not take the result.
        return
    try:
        producer.store.run(ops.delivered(producer.store.keys, args[0], task_id, producer.lives))
    except RedisError as error:
        log.warning("the report of %s is not noted: %s; a ticker asks Celery", args[0], type(error).__name__)
