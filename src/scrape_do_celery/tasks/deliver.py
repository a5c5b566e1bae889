"""Register the step that delivers the outcome of a run under the Celery id of a waiter."""

from __future__ import annotations

from typing import Any

from celery import Task, signals
from celery.states import FAILURE, READY_STATES, REVOKED, SUCCESS

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


@signals.task_success.connect(weak=False)
def confirm_success(sender: Task, **_: Any) -> None:
    """Note that the backend took the result of a delivery."""
    sender.request.scrape_do_taken = SUCCESS


@signals.task_failure.connect(weak=False)
def confirm_failure(sender: Task, **_: Any) -> None:
    """Note that the backend took the error of a delivery."""
    sender.request.scrape_do_taken = FAILURE


@signals.task_revoked.connect(weak=False)
def acknowledge_revoked(sender: Task, request: Any, **_: Any) -> None:
    """Acknowledge a delivery to an id that was revoked: Celery runs no task for it."""
    args = getattr(request, "args", None)
    if sender.name == routing.DELIVER_OUTCOME and args:
        acknowledge_waiter(AppContext.for_app(sender.app), args[0], request.id, REVOKED)


@signals.task_postrun.connect(weak=False)
def acknowledge_delivery(task: Task, task_id: str, args: Any, state: str | None = None, **_: Any) -> None:
    """Acknowledge a delivery after Celery has stored or published the outcome.

    Celery also sends this signal if it could not publish the outcome. It sends the two signals above only if it could.
    """
    if task.name == routing.DELIVER_OUTCOME and state in READY_STATES and args:
        acknowledge_waiter(AppContext.for_app(task.app), args[0], task_id, task.request.get("scrape_do_taken"))
