"""Publish calls of the public step. The record is written first, so the message only holds an id, and may be lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.redaction import call_summary, message_reprs
from scrape_do_celery.runs.context import ONCE_MORE, AppContext
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.runs.store_guard import check_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from celery import Task

log = get_logger(__name__)


def publish_call(  # noqa: PLR0913 (the arguments of Celery's `apply_async`)
    task: Task,
    publish: Callable[..., Any],
    task_id: str,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    options: dict[str, Any],
) -> Any:
    """Write the draft of a call, and publish the message of the call.

    Args:
        task: the public step.
        publish: Celery's own `apply_async` of the step.
        task_id: the Celery id of the call.
        args: the positional arguments of the call.
        kwargs: the other arguments of the call. With `run_id`, the draft exists.
        options: the options of the message.

    Raises:
        ValueError: the request is wrong.
        IdempotencyConflictError: the key belongs to a run with another request.
        ConfigurationError: the app has `task_always_eager`, or a test would buy.
    """
    app_context = AppContext.for_app(task.app)
    check_start(app_context)
    options.setdefault("queue", app_context.settings.queue)
    shown = call_summary(args, kwargs, hosts=app_context.store.encryptor is None)
    options |= message_reprs(kwargs.get("run_id", task_id), shown)
    if "run_id" not in kwargs:
        args, kwargs = _write_draft(app_context, task_id, args, kwargs, options)
    if "run_id" not in kwargs:
        return publish(args, kwargs, task_id=task_id, **options)
    try:
        return publish(args, kwargs, task_id=task_id, **{**ONCE_MORE, **app_context.result_options, **options})
    except Exception as error:  # noqa: BLE001 (the run is stored: a caller who sees an error would pay again)
        log.warning(
            "could not publish a message for run %s: %s; a worker's dispatcher starts it",
            task_id,
            type(error).__name__,
            extra=log_fields("message_not_published", run_id=task_id),
        )
        return task.AsyncResult(task_id)


def _write_draft(
    app_context: AppContext, task_id: str, args: tuple[Any, ...], kwargs: dict[str, Any], options: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Write the draft, and return arguments that only hold its id."""
    try:
        with app_context.limited_call([task_id]):
            return (), {"run_id": create_draft(app_context, task_id, options, args, kwargs)}
    except (ValueError, TypeError, RedisError):
        if app_context.app.current_worker_task is None:
            raise
        # Inside a canvas no caller would see the error, so the step itself must fail, under the awaited id.
        return args, kwargs
