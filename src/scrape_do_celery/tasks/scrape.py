"""The public step. A request becomes a run under the step's own Celery id, and its canvas is kept."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

from celery.exceptions import Ignore, Reject
from celery.local import Proxy
from celery.utils import uuid
from redis.exceptions import RedisError

from scrape_do_celery import routing
from scrape_do_celery.errors import (
    ConfigurationError,
    InvalidRequestError,
    RunNotFoundError,
    ScrapeDoError,
    StoreUnavailableError,
)
from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.redaction import call_summary, message_reprs
from scrape_do_celery.runs import AppContext, ensure_default_app
from scrape_do_celery.runs.canvas import delivery_signature
from scrape_do_celery.runs.celery_app import EAGER, refuse_eager
from scrape_do_celery.runs.context import ONCE_MORE
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.runs.enqueue import publish_submit
from scrape_do_celery.store.commands.creation import FORGOTTEN, AcceptRun
from scrape_do_celery.tasks.classes import PinnedTask, caller_task

if TYPE_CHECKING:
    from celery import Task

log = logging.getLogger(__name__)


class ScrapeStep(PinnedTask):
    """A step that writes the record before its message. The message only holds an id, and may be lost."""

    abstract = True

    def apply_async(
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> Any:
        """Publish as Celery's `apply_async` does. A wrong request raises here, in the caller, and nothing is written.

        Raises:
            ValueError: the request is wrong.
            IdempotencyConflictError: the key belongs to a run with another request.
            ConfigurationError: the app has `task_always_eager`.
        """
        refuse_eager(self.app)
        args, kwargs, task_id = tuple(args or ()), dict(kwargs or {}), task_id or uuid()
        app_context = AppContext.for_app(self.app)
        options.setdefault("queue", app_context.settings.queue)
        shown = call_summary(args, kwargs, hosts=app_context.store.encryptor is None)
        options |= message_reprs(kwargs.get("run_id", task_id), shown)
        if "run_id" not in kwargs:
            args, kwargs = self._written(app_context, task_id, args, kwargs, options)
        if "run_id" not in kwargs:
            return super().apply_async(args, kwargs, task_id=task_id, **options)
        try:
            return super().apply_async(
                args, kwargs, task_id=task_id, **{**ONCE_MORE, **app_context.result_options, **options}
            )
        except Exception as error:  # noqa: BLE001 (the run is stored: a caller who sees an error would pay again)
            log.warning(
                "could not publish a message for run %s: %s; a worker's dispatcher starts it",
                task_id,
                type(error).__name__,
                extra=log_fields("message_not_published", run_id=task_id),
            )
            return self.AsyncResult(task_id)

    def apply(self, *_: Any, **__: Any) -> Any:
        """Refuse to run the step in this call: no worker would continue the run.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(EAGER)

    def _written(
        self, app_context: AppContext, task_id: str, args: Any, kwargs: dict[str, Any], options: dict[str, Any]
    ) -> tuple[Any, dict[str, Any]]:
        """Write the record, and return arguments that only hold its id."""
        try:
            return (), {"run_id": create_draft(app_context, task_id, options, args, kwargs)}
        except (ValueError, TypeError, RedisError):
            if self.app.current_worker_task is None:
                raise
            # Inside a canvas no caller would see the error, so the step itself must fail, under the awaited id.
            return args, kwargs


@caller_task(
    ScrapeStep,
    name=routing.SCRAPE,
    throws=(ScrapeDoError,),
    typing=False,
    Request=routing.REDACTED_REQUEST,
    **routing.CALLER_TASK_OPTIONS,
)
def _scrape(self: Task, *args: Any, run_id: str | None = None, **request: Any) -> None:
    """Start a run that ends under the id of this step. The value of the step is the small result of the run.

    The arguments are those of `enqueue`, as JSON. In a chain, the value of the preceding task is the list of targets.
    """
    app_context = AppContext.for_app(self.app)
    canvas = self.request.as_execution_options()
    # With `result_extended`, Celery stores these arguments beside the result, so they must be a summary.
    shown = call_summary(args, {**request, "run_id": run_id}, hosts=app_context.store.encryptor is None)
    self.request.update(args=(), kwargs=shown)
    try:
        # A message without a run id came from a producer without this package.
        _park_caller(
            app_context,
            run_id or _create_draft(app_context, self.request.id, canvas, args, request),
            self.request.id,
            canvas,
        )
    except StoreUnavailableError as error:
        # The store does not answer: the message is requeued, and nothing has happened.
        time.sleep(1)
        raise Reject(type(error).__name__, requeue=True) from error
    raise Ignore


def _park_caller(app_context: AppContext, run_id: str, task_id: str, canvas: dict[str, Any]) -> None:
    """Leave the caller's Celery id to the run. The canvas waits in the record, so that no message or worker waits."""
    store = app_context.store
    parts = store.run(AcceptRun(run_id, task_id, delivery_signature(app_context, run_id, task_id, canvas)))
    if not parts:
        raise RunNotFoundError(f"no run {run_id} in the store", run_id)
    if parts != FORGOTTEN:
        publish_submit(app_context, run_id, parts)


def _create_draft(
    app_context: AppContext, task_id: str, canvas: dict[str, Any], args: tuple[Any, ...], request: dict[str, Any]
) -> str:
    try:
        return create_draft(app_context, task_id, {**canvas, "eta": None}, args, request)
    except RunNotFoundError:
        # The message was redelivered after its run had ended and was forgotten.
        raise Ignore from None
    except ScrapeDoError:
        raise
    except (ValueError, TypeError) as error:
        raise InvalidRequestError(str(error)) from None


def _in_an_app() -> Any:
    ensure_default_app()
    return _scrape._get_current_object()  # noqa: SLF001 (Celery's own way to reach a shared task in the current app)


#: The public step, in the Celery app of this process. A process without an app gets ours, as with `enqueue`.
scrape: Any = Proxy(_in_an_app, name="scrape", __doc__=_scrape.__doc__)
