"""Publish calls of the public step. The record is written first, so the message only holds an id, and may be lost.

Celery makes the message first: the record keeps the headers that the app adds to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kombu.utils.json import dumps, loads
from redis.exceptions import RedisError

from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.redaction import call_summary, message_reprs
from scrape_do_celery.runs.context import ONCE_MORE, AppContext
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.runs.stand_in_producers import CallProducer, message_options
from scrape_do_celery.runs.store_guard import check_start
from scrape_do_celery.runs.subscriptions import subscribe_in_time
from scrape_do_celery.store.commands.creation import DisownMessage
from scrape_do_celery.store.commands.stats import ReadClock

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
        StoreUnavailableError: the store did not answer in time. The error's `run_id` repeats the call.
    """
    app_context = AppContext.for_app(task.app)
    check_start(app_context)
    options.setdefault("queue", app_context.settings.queue)
    shown = call_summary(args, kwargs, hosts=app_context.store.encryptor is None)
    options |= message_reprs(kwargs.get("run_id", task_id), shown)
    draft = _Draft(app_context, task_id, args, kwargs, dict(options))
    options |= {"producer": CallProducer(_find_producer(app_context, options), draft.prepare_body)}
    if task.app.current_worker_task is None:
        _check_servers(app_context, task_id, draft, is_awaited=not options.get("ignore_result", task.ignore_result))
    failure = None
    try:
        # The app's own methods and receivers see the id instead of the request.
        result = publish((), {"run_id": kwargs.get("run_id", task_id)}, task_id=task_id, **{**ONCE_MORE, **options})
        draft.ensure_written()
    except Exception as error:
        failure = draft.failure
        if failure is None and draft.run_id is None:
            raise
        if failure is None:
            # The run is stored: a caller who sees an error would pay again.
            log.warning(
                "could not publish a message for run %s: %s; a worker's dispatcher starts it",
                task_id,
                type(error).__name__,
                extra=log_fields("message_not_published", run_id=task_id),
            )
    else:
        return result
    # Raise outside the `except` block: Celery's frames would be the context of the error.
    if failure is not None:
        raise failure
    return task.AsyncResult(task_id)


def _check_servers(app_context: AppContext, task_id: str, draft: _Draft, *, is_awaited: bool) -> None:
    """Try the servers that Celery would wait for without a deadline, before anything is written.

    Raises:
        StoreUnavailableError: the store or the result backend did not answer in time.
    """
    with app_context.limited_call([task_id]) as deadline:
        if draft.run_id is None:
            app_context.store.run(ReadClock())
        if is_awaited:
            subscribe_in_time(app_context.app, task_id, deadline.left)


def _find_producer(app_context: AppContext, options: dict[str, Any]) -> Any:
    """Return the producer that publishes the message within a deadline; that of the caller for another broker."""
    given, connection = options.pop("producer", None), options.pop("connection", None)
    given = options.pop("publisher", None) or given
    if connection is not None:
        return app_context.app.amqp.Producer(connection, auto_declare=False)
    ours: Any = app_context.producer
    # A canvas passes the producer of Celery's own pool, which has no deadline.
    return ours if given is None or given.connection.as_uri() == ours.connection.as_uri() else given


class _NotDraftedError(Exception):
    """The draft of a call was not written, so its message must not be published."""


class _Draft:
    """The draft of a call, which is written when Celery has made the message and before it publishes it."""

    def __init__(
        self,
        app_context: AppContext,
        task_id: str,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: dict[str, Any],
    ) -> None:
        self._app_context, self._task_id, self._options = app_context, task_id, options
        self._arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None
        self._given = args, kwargs
        #: The error that kept the draft from being written.
        self.failure: Exception | None = None
        #: The run of the draft; None if there is none.
        self.run_id: str | None = kwargs.get("run_id")

    def prepare_body(self, body: Any, options: dict[str, Any]) -> Any:
        """Write the draft with the headers of its message. Return the body with the id of the run.

        Celery may repeat the publication of a message. The draft is written once.

        Raises:
            _NotDraftedError: the draft was not written.
        """
        if self._arguments is None:
            try:
                self._arguments = self._given if self.run_id is not None else self._write(options)
            except Exception as error:  # noqa: BLE001 (the caller gets the error)
                self.failure = error
                # Celery reads the errors of the store as errors of a Redis broker.
                raise _NotDraftedError from None
        args, kwargs = self._arguments
        # Version 1 of Celery's messages has a dict.
        return {**body, "args": args, "kwargs": kwargs} if isinstance(body, dict) else (args, kwargs, *body[2:])

    def ensure_written(self) -> None:
        """Write the draft if the app has a `send_task` that publishes without Celery's producer.

        The message is out, and names a run with the id of the call. Its step waits for the record. If the idempotency
        key of the call has another run, the step must not wait for ever, nor fail.
        """
        if self._arguments is not None:
            return
        is_named_by_call = self.run_id is None
        self.prepare_body(((), {}), {})
        if is_named_by_call and self.run_id not in {None, self._task_id}:
            with self._app_context.limited_call([self._task_id]):
                self._app_context.store.run(DisownMessage(self._task_id))

    def _write(self, options: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        app_context, (args, kwargs) = self._app_context, self._given
        try:
            added = message_options(app_context.app, options.get("headers"), options.get("reply_to"))
            canvas = {**self._options, "headers": None, **added}
            with app_context.limited_call([self._task_id]):
                self.run_id = create_draft(app_context, self._task_id, canvas, args, kwargs)
        except (ValueError, TypeError, RedisError):
            if app_context.app.current_worker_task is None or not _is_readable([args, kwargs]):
                raise
            # Inside a canvas no caller would see the error, so the step itself must fail, under the awaited id.
            return args, kwargs
        return (), {"run_id": self.run_id}


def _is_readable(arguments: Any) -> bool:
    """Return whether a worker can read the message of these arguments. Celery drops a message that it cannot read."""
    try:
        loads(dumps(arguments))  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        return False
    return True
