"""Publish the outcome of a run under the Celery id of a waiter."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any, TypeVar

from celery import Task, signals
from celery.exceptions import Ignore, Reject
from celery.states import READY_STATES
from redis.exceptions import RedisError

from scrape_do_celery import routing, tracing
from scrape_do_celery.errors import RunNotFoundError, ScrapeDoError, StoreUnavailableError
from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.runs import AppContext
from scrape_do_celery.steps.deliver import acknowledge
from scrape_do_celery.store.commands.runs import IsRunForgotten, ReadRun
from scrape_do_celery.tasks.classes import caller_task

if TYPE_CHECKING:
    from scrape_do_celery.store.command import Command

log = logging.getLogger(__name__)
T = TypeVar("T")


@caller_task(name=routing.DELIVER_OUTCOME, throws=(ScrapeDoError,), **routing.CALLER_TASK_OPTIONS)
def deliver_outcome(self: Task, run_id: str) -> dict[str, Any] | None:
    """Return the small result of a run that succeeded. Raise the error of any other run."""
    app_context = AppContext.for_app(self.app)
    record = _run_or_requeue(app_context, ReadRun(run_id))
    if record is None and _run_or_requeue(app_context, IsRunForgotten(run_id)):
        raise Ignore
    if record is None:
        raise RunNotFoundError(f"no run {run_id} in the store: forgotten, or past its life", run_id)
    if record.unreadable is not None:
        # The message is requeued: another worker has the key, or will have it.
        log.error(
            "run %s cannot be delivered here: %s",
            run_id,
            record.unreadable,
            extra=log_fields("delivery_needs_key", run_id=run_id),
        )
        time.sleep(1)
        raise Reject(type(record.unreadable).__name__, requeue=True) from record.unreadable
    if record.outcome is None or self.request.id not in record.waiters:
        # The message came too early, or a second time. A delivered outcome must not reach the callbacks again.
        raise Ignore
    with tracing.work(record.trace, "scrape_do.deliver", run_id=run_id):
        if record.error is not None:
            raise record.error
        return record.result


def _run_or_requeue(app_context: AppContext, command: Command[T]) -> T:
    try:
        return app_context.store.run(command)
    except StoreUnavailableError as error:
        time.sleep(1)
        raise Reject(type(error).__name__, requeue=True) from error


@signals.task_postrun.connect(weak=False)
def acknowledge_delivery(task: Task, task_id: str, args: Any, state: str | None = None, **_: Any) -> None:
    """Record that Celery has stored an outcome. Until then, the dispatcher publishes the delivery again."""
    if task.name != routing.DELIVER_OUTCOME or state not in READY_STATES or not args:
        return
    app_context = AppContext.for_app(task.app)
    try:
        acknowledge(app_context, args[0], task_id)
    except RedisError as error:
        log.warning(
            "could not acknowledge the delivery of run %s: %s; a dispatcher asks Celery for the result",
            args[0],
            type(error).__name__,
            extra=log_fields("delivery_not_acknowledged", run_id=args[0]),
        )
