"""Register the public step. A request becomes a run under the step's own Celery id, and its canvas is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from celery.local import Proxy
from celery.utils import uuid

from scrape_do_celery import routing
from scrape_do_celery.errors import ConfigurationError, ScrapeDoError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.runs import EAGER, ensure_default_app
from scrape_do_celery.runs.calls import publish_call
from scrape_do_celery.steps.scrape import start_called_run
from scrape_do_celery.tasks.classes import PinnedTask, caller_task

if TYPE_CHECKING:
    from celery import Task


class ScrapeStep(PinnedTask):
    """A step that writes the record before its message."""

    abstract = True

    @without_locals
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
        return publish_call(
            self, super().apply_async, task_id or uuid(), tuple(args or ()), dict(kwargs or {}), options=options
        )

    @without_locals
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step as Celery does. Clear Celery's frames after an error: they have the request in variables."""
        return super().__call__(*args, **kwargs)

    @without_locals
    def delay(self, *args: Any, **kwargs: Any) -> Any:
        """Publish as Celery's `delay` does."""
        return super().delay(*args, **kwargs)

    def apply(self, *_: Any, **__: Any) -> Any:
        """Refuse to run the step in this call: no worker would continue the run.

        Raises:
            ConfigurationError: always.
        """
        raise ConfigurationError(EAGER)


@caller_task(
    ScrapeStep,
    name=routing.SCRAPE,
    throws=(ScrapeDoError,),
    typing=False,
    Request=routing.REDACTED_REQUEST,
    **routing.CALLER_TASK_OPTIONS,
)
@without_locals
def _scrape(self: Task, *args: Any, run_id: str | None = None, **request: Any) -> None:
    """Start a run that ends under the id of this step. The value of the step is the small result of the run.

    The arguments are those of `enqueue`, as JSON. In a chain, the value of the preceding task is the list of targets.
    """
    start_called_run(self, run_id, args, request)


def _in_an_app() -> Any:
    ensure_default_app()
    return _scrape._get_current_object()  # noqa: SLF001 (Celery's own way to reach a shared task in the current app)


#: The public step, in the Celery app of this process. A process without an app gets ours, as with `enqueue`.
scrape: Any = Proxy(_in_an_app, name="scrape", __doc__=_scrape.__doc__)
