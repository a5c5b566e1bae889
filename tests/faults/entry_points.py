"""Start runs in every possible way, also with lost or duplicate step messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery import routing
from scrape_do_celery.runs.drafts import create_draft, write_run
from scrape_do_celery.runs.new_runs import publish_submit
from scrape_do_celery.store import RunSpec

if TYPE_CHECKING:
    from tests.faults.servers import Servers
    from tests.faults.trials import Run, Trial

_STEPS = (
    routing.SUBMIT_JOBS,
    routing.RECONCILE_SUBMIT,
    routing.POLL_JOBS,
    routing.FETCH_TASKS,
    routing.CANCEL_RUN,
)


def start_trial(servers: Servers, trial: Trial) -> None:
    """Start the runs of a trial. A second call for the same trial starts nothing twice."""
    if trial.start == "batch":
        for run in trial.runs:
            _write_run(servers, run)
        servers.app_context.publish(routing.SUBMIT_JOBS, [f"{run.run_id}:0" for run in trial.runs])
        return
    for run in trial.runs:
        _ENTRY_POINTS[trial.start](servers, run)


def _write_run(servers: Servers, run: Run) -> None:
    write_run(servers.app_context, RunSpec.from_arguments(**run.arguments), run.run_id)


def _enqueue(servers: Servers, run: Run) -> None:
    """Start a run as `enqueue` does, under an id that the lab already knows."""
    _write_run(servers, run)
    publish_submit(servers.app_context, run.run_id, 1)


def _publish_duplicates(servers: Servers, run: Run) -> None:
    """Publish step messages of every kind several times, before and after the right one."""
    _write_run(servers, run)
    for _ in range(2):
        for step in _STEPS:
            servers.app_context.publish(step, [f"{run.run_id}:0"])
        servers.app_context.publish(routing.AGGREGATE_RUN, [run.run_id])
    servers.app_context.publish(routing.SUBMIT_JOBS, [f"{run.run_id}:0"] * 3)


def _kwargs(run: Run) -> dict[str, Any]:
    return run.arguments


def _scrape(servers: Servers, run: Run) -> None:
    app = servers.app_context.app
    app.loader.import_default_modules()
    app.tasks[routing.SCRAPE].apply_async(kwargs=_kwargs(run), task_id=run.run_id)


def _message(servers: Servers, run: Run) -> None:
    """Send the message of a producer that does not have this package."""
    servers.app_context.app.send_task(
        routing.SCRAPE, kwargs=_kwargs(run), task_id=run.run_id, queue=servers.settings.queue
    )


def _draft(servers: Servers, run: Run) -> None:
    """Write the draft, and lose its message."""
    create_draft(servers.app_context, run.run_id, {}, (), _kwargs(run))


def _unknown_run(servers: Servers, run: Run) -> None:
    """Ask for the outcome of a run that has no record. The outcome must be delivered."""
    servers.app_context.app.send_task(
        routing.DELIVER_OUTCOME, args=[run.run_id], task_id=run.run_id, queue=servers.settings.queue
    )


_ENTRY_POINTS = {
    "enqueue": _enqueue,
    "silent": _write_run,
    "duplicates": _publish_duplicates,
    "scrape": _scrape,
    "message": _message,
    "draft": _draft,
    "unknown_run": _unknown_run,
}
