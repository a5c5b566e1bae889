"""Register the step that beat publishes. A tick becomes a run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery import routing
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.runs import AppContext
from scrape_do_celery.runs.message_headers import select_app_headers
from scrape_do_celery.runs.schedules import name_tick, write_rule
from scrape_do_celery.steps.requeue import requeue_if_unserved
from scrape_do_celery.steps.schedule import assign_tick, start_scheduled_run
from scrape_do_celery.store.commands.creation import ScheduleTick
from scrape_do_celery.tasks.classes import PinnedTask, caller_task

if TYPE_CHECKING:
    from celery import Task


class ScheduledStep(PinnedTask):
    """A step that names its tick when it is published."""

    abstract = True

    @without_locals
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the step as Celery does. Clear Celery's frames after an error: they have the request in variables."""
        return super().__call__(*args, **kwargs)

    @without_locals
    def apply_async(self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """Publish as Celery's `apply_async` does, on the queue of the steps and with the tick."""
        kwargs, options = name_tick(AppContext.for_app(self.app), kwargs or {}, options)
        return super().apply_async(args, kwargs, **options)


@caller_task(
    ScheduledStep,
    name=routing.SCHEDULED_RUN,
    throws=(ValueError, ConfigurationError),
    typing=False,
    Request=routing.REDACTED_REQUEST,
    **routing.CALLER_TASK_OPTIONS,
)
@without_locals
def scheduled_run(  # noqa: PLR0913 (one argument for each key of an entry)
    self: Task,
    *,
    name: str,
    rule: dict[str, Any],
    if_running: str,
    request: dict[str, Any],
    canvas: dict[str, Any] | None = None,
    tick: str | None = None,
) -> str | None:
    """Start the run of a tick. Return its id, or None if the tick is skipped."""
    app_context, kept = AppContext.for_app(self.app), {"headers": select_app_headers(vars(self.request))}
    canvas = {**(canvas or {}), **(kept if kept["headers"] else {})}
    with requeue_if_unserved():
        tick = assign_tick(app_context, self.request.id, rule) if tick is None else tick
        is_repeated = bool((self.request.delivery_info or {}).get("redelivered"))
        named = ScheduleTick(name, tick, if_running, rule=write_rule(app_context, rule))
        return start_scheduled_run(app_context, named, request, canvas, is_repeated=is_repeated)
