"""The public step: a request becomes a run under the step's own Celery id, with the canvas around it kept."""

from __future__ import annotations

import time
from typing import Any

from celery import Task, shared_task
from celery.exceptions import Ignore, Reject
from celery.utils import uuid
from kombu.utils.json import dumps
from redis.exceptions import RedisError

from scrape_do_celery import routing
from scrape_do_celery.errors import InvalidRequestError, RunNotFoundError, ScrapeDoError
from scrape_do_celery.runs import Producer
from scrape_do_celery.runs.enqueueing import check_key, read_spec, ring_submit, write
from scrape_do_celery.store import ops

#: What belongs to the message that was received, and must not be asked of the one that reports the outcome.
_OF_THE_MESSAGE = ("exchange", "routing_key", "redelivered", "expires", "eta", "countdown", "retries")


class ScrapeStep(Task):  # type: ignore[misc]
    """Writes the record before it sends a message, so that the message is an id."""

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
        options.setdefault("queue", Producer.of(self.app).settings.queue)
        if "run_id" not in kwargs:
            args, kwargs = self._written(task_id, args, kwargs)
        return super().apply_async(args, kwargs, task_id=task_id, **options)

    def _written(self, task_id: str, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        producer = Producer.of(self.app)
        try:
            return (), {"run_id": draft(producer, task_id, *args, **kwargs)}
        except (ValueError, TypeError, RedisError):
            if self.app.current_worker_task is None:
                raise
            # Inside a canvas nobody would hear it: the step itself fails, under the id that is waited for.
            return args, kwargs


def draft(producer: Producer, task_id: str, *args: Any, idempotency_key: str | None = None, **options: Any) -> str:
    """The id of the run that was written, or of the one that the idempotency key has."""
    spec = read_spec(*args, **options)
    return write(producer, spec, task_id, key=check_key(idempotency_key), draft=True)[0]


@shared_task(
    name=routing.SCRAPE,
    base=ScrapeStep,
    bind=True,
    acks_late=True,
    reject_on_worker_lost=True,
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
        _park(self, producer, run_id or _drafted(producer, self.request.id, args, request))
    except RedisError as error:
        # The store is away: the message goes back, and nothing has happened.
        time.sleep(1)
        raise Reject(type(error).__name__, requeue=True) from error
    raise Ignore


def _drafted(producer: Producer, task_id: str, args: Any, request: dict[str, Any]) -> str:
    """The run of a request that came by message, from a producer without this package."""
    try:
        return draft(producer, task_id, *args, **request)
    except ScrapeDoError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(str(error)) from None


def _park(step: Task, producer: Producer, run_id: str) -> None:
    """Leaves the caller's id to the run: its canvas waits in the record, no message and no worker does."""
    finish = producer.app.tasks[routing.FINISH_RUN]
    later = finish.signature_from_request(step.request, args=[run_id], kwargs={})
    for name in _OF_THE_MESSAGE:
        later.options.pop(name, None)
    later.options["queue"] = producer.settings.queue
    store = producer.store
    parts = store.run(ops.accept(store.keys, run_id, step.request.id, dumps(later)))
    if not parts:
        raise RunNotFoundError(f"the request of run {run_id} is gone: its message came after a week or more", run_id)
    ring_submit(producer, run_id, parts)
