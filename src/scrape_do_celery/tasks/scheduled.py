"""The step that beat publishes. A tick becomes a run."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from celery.exceptions import Reject

from scrape_do_celery import routing
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.redaction import schedule_summary
from scrape_do_celery.rules.schedules import tick as tick_of
from scrape_do_celery.runs import AppContext
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.store.commands.creation import AssignTick, ScheduleTick
from scrape_do_celery.tasks.classes import PinnedTask, caller_task

if TYPE_CHECKING:
    from celery import Task


class ScheduledStep(PinnedTask):
    """A step that names its tick when it is published. A message that waits in a queue keeps its own tick."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: dict[str, Any] | None = None, **options: Any) -> Any:
        """Publish as Celery's `apply_async` does, on the queue of the steps and with the tick."""
        kwargs = dict(kwargs or {})
        kwargs.setdefault("tick", _current_tick(self, kwargs["rule"]))
        options.setdefault("queue", AppContext.for_app(self.app).settings.queue)
        shown = schedule_summary(kwargs, hosts=AppContext.for_app(self.app).store.encryptor is None)
        options |= {"argsrepr": "()", "kwargsrepr": repr(shown)}
        return super().apply_async(args, kwargs, **options)


def _current_tick(task: Task, rule: dict[str, Any]) -> str:
    return tick_of(rule, datetime.now(UTC), task.app.timezone)


@caller_task(
    ScheduledStep,
    name=routing.SCHEDULED_RUN,
    throws=(ValueError,),
    typing=False,
    Request=routing.REDACTED_REQUEST,
    **routing.CALLER_TASK_OPTIONS,
)
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
    """Start the run of a tick. Return its id, or None if the tick is skipped.

    A beat that does not know this step publishes a message without a tick. The first delivery then names the tick.
    """
    app_context = AppContext.for_app(self.app)
    store = app_context.store
    try:
        if tick is None:
            # A redelivery may come in the time of a later tick, so the first name is stored.
            tick = store.run(AssignTick(self.request.id, _current_tick(self, rule)))
        return start_scheduled_run(app_context, ScheduleTick(name, tick, if_running), request, canvas)
    except StoreUnavailableError as error:
        time.sleep(1)
        raise Reject(type(error).__name__, requeue=True) from error
