"""Register the step that delivers the outcome of a run under the Celery id of a waiter."""

from __future__ import annotations

from typing import Any

from celery import Task, signals
from celery.states import READY_STATES

from scrape_do_celery import routing
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.runs import AppContext
from scrape_do_celery.steps.deliver import acknowledge_waiter, return_outcome
from scrape_do_celery.tasks.classes import caller_task


@caller_task(
    name=routing.DELIVER_OUTCOME,
    throws=(ScrapeDoError,),
    Request=routing.OUTCOME_REQUEST,
    **routing.CALLER_TASK_OPTIONS,
)
@without_locals
def deliver_outcome(self: Task, run_id: str) -> dict[str, Any] | None:
    """Return the small result of a run that succeeded. Raise the error of any other run."""
    return return_outcome(AppContext.for_app(self.app), run_id, self.request.id)


@signals.task_postrun.connect(weak=False)
def acknowledge_delivery(task: Task, task_id: str, args: Any, state: str | None = None, **_: Any) -> None:
    """Acknowledge a delivery after Celery has stored the outcome."""
    if task.name == routing.DELIVER_OUTCOME and state in READY_STATES and args:
        acknowledge_waiter(AppContext.for_app(task.app), args[0], task_id)
