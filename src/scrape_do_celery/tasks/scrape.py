"""The public step: a request becomes a run under the step's own Celery id, with the canvas around it kept."""

from __future__ import annotations

import json
import time
from datetime import datetime
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject
from celery.utils import uuid
from kombu.utils.functional import maybe_list
from redis.exceptions import RedisError

from scrape_do_celery import routing
from scrape_do_celery.errors import InvalidRequestError, RunNotFoundError, ScrapeDoError
from scrape_do_celery.runs import Producer
from scrape_do_celery.runs.enqueueing import check_key, read_spec, ring_submit, write
from scrape_do_celery.store import ops

#: What belongs to one message or its journey, and must not be asked of the one that reports the outcome.
_OF_THE_MESSAGE = {
    *("exchange", "routing_key", "redelivered", "queue", "producer", "publisher", "connection", "router", "result_cls"),
    *("expires", "eta", "countdown", "retries", "retry", "retry_policy", "add_to_parent", "delivery_mode", "mandatory"),
    *("argsrepr", "kwargsrepr", "ignore_result", "time_limit", "soft_time_limit", "shadow", "stamped_headers"),
}


#: Positional and keyword arguments of a scrape.
_Request = tuple[Any, dict[str, Any]]


class ScrapeStep(Task):  # type: ignore[misc]
    """Writes the record before it sends a message, so that the message is an id, and may be lost."""

    def apply_async(
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        """Celery's `apply_async`; a wrong request raises here, in the caller, and nothing is written.

        Raises:
            ValueError: the request is wrong.
            IdempotencyConflictError: the key belongs to a run with another request.
        """
        args, kwargs, task_id = tuple(args or ()), dict(kwargs or {}), task_id or uuid()
        producer = Producer.of(self.app)
        options.setdefault("queue", producer.settings.queue)
        if "run_id" not in kwargs:
            args, kwargs = self._written(producer, task_id, args, kwargs, options)
        return super().apply_async(args, kwargs, task_id=task_id, **options)

    def _written(
        self, producer: Producer, task_id: str, args: Any, kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        wait = max(0.0, options.get("countdown") or _seconds_until(options.get("eta")))
        canvas = {**options, "task_id": task_id}
        try:
            return (), {"run_id": _write(producer, task_id, canvas, (args, kwargs), wait)}
        except (ValueError, TypeError, RedisError):
            if self.app.current_worker_task is None:
                raise
            # Inside a canvas nobody would hear it: the step itself fails, under the id that is waited for.
            return args, kwargs


def _seconds_until(eta: datetime | str | None) -> float:
    if eta is None:
        return 0.0
    moment = datetime.fromisoformat(eta) if isinstance(eta, str) else eta
    return (moment - datetime.now(moment.tzinfo)).total_seconds()


def _write(producer: Producer, task_id: str, canvas: dict[str, Any], request: _Request, hold: float) -> str:
    """The run of a request, with the canvas that goes on after it; or the run that its idempotency key has."""
    args, options = request[0], dict(request[1])
    key = check_key(options.pop("idempotency_key", None))
    spec = read_spec(*args, **options)
    finish = _finish(producer, task_id, canvas)
    run_id, new = write(producer, spec, task_id, key=key, waiter=task_id, signature=finish, hold=hold)
    if not new:
        store = producer.store
        store.run(ops.accept(store.keys, run_id, task_id, _finish(producer, run_id, canvas)))
    return run_id


def _finish(producer: Producer, run_id: str, canvas: dict[str, Any]) -> str:
    """The message that will report the outcome under the caller's id, as JSON, with the caller's canvas."""
    kept = {name: value for name, value in canvas.items() if name not in _OF_THE_MESSAGE and value is not None}
    for name in ("link", "link_error"):
        kept[name] = maybe_list(kept.get(name)) or []  # type: ignore[no-untyped-call]
    step = producer.app.tasks[routing.FINISH_RUN]
    return json.dumps(step.signature(args=[run_id], **kept, queue=producer.settings.queue))


@shared_task(
    name=routing.SCRAPE,
    base=ScrapeStep,
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
    retry_on_worker_lost=False,
    throws=(ScrapeDoError,),
    trail=False,
    typing=False,
)
def scrape(self: Task, *args: Any, run_id: str | None = None, **request: Any) -> None:
    """A run of the given request, which ends under this step's id: its value is the small result.

    Takes what `enqueue` takes, as JSON. After another step in a chain, that step's value is the list of targets.
    """
    producer = Producer.of(self.app)
    try:
        _park(self, producer, run_id, args, request)
    except RedisError as error:
        # The store is away: the message goes back, and nothing has happened.
        time.sleep(1)
        raise Reject(type(error).__name__, requeue=True) from error
    raise Ignore


def _park(step: Task, producer: Producer, run_id: str | None, args: Any, request: dict[str, Any]) -> None:
    """Leaves the caller's id to the run: its canvas waits in the record, no message and no worker does."""
    task_id, canvas = step.request.id, step.request.as_execution_options()
    if run_id is None:
        # It came by message, from a producer without this package.
        run_id = _checked(producer, task_id, canvas, args, request)
    store = producer.store
    parts = store.run(ops.accept(store.keys, run_id, task_id, _finish(producer, run_id, canvas)))
    if not parts:
        raise RunNotFoundError(f"no run {run_id} in the store: forgotten, or past its life", run_id)
    ring_submit(producer, run_id, parts)


def _checked(producer: Producer, task_id: str, canvas: dict[str, Any], args: Any, request: dict[str, Any]) -> str:
    try:
        return _write(producer, task_id, canvas, (args, request), 0.0)
    except ScrapeDoError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(str(error)) from None
