"""Register the steps in every Celery app of the process that imports this package."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from celery import signals

from scrape_do_celery import routing
from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs import refuse_missing_servers
from scrape_do_celery.steps.os_threads import EVENTLET, has_eventlet

try:
    from scrape_do_celery.tasks.deliver import deliver_outcome
    from scrape_do_celery.tasks.scheduled import scheduled_run
    from scrape_do_celery.tasks.scrape import scrape
    from scrape_do_celery.tasks.steps import (
        aggregate_run,
        cancel_run,
        export_run,
        fetch_tasks,
        poll_job_list,
        poll_jobs,
        read_account_figures,
        reconcile_submit,
        report_orphans,
        submit_jobs,
    )
except Exception:
    # Libraries below the HTTP client fail while they are imported under eventlet, before a worker can be refused.
    if has_eventlet():
        raise ConfigurationError(EVENTLET) from None
    raise

__all__ = [
    "aggregate_run",
    "cancel_run",
    "deliver_outcome",
    "export_run",
    "fetch_tasks",
    "poll_job_list",
    "poll_jobs",
    "read_account_figures",
    "reconcile_submit",
    "report_orphans",
    "scheduled_run",
    "scrape",
    "submit_jobs",
]


@signals.beat_init.connect(weak=False)
def check_beat(sender: Any, **_: Any) -> None:
    """End beat of an app of ours that has no broker. Else beat would log an error for each entry that is due."""
    try:
        refuse_missing_servers(sender.app)
    except ConfigurationError as error:
        raise SystemExit(f"scrape-do-celery: {error}") from None


@signals.worker_init.connect(weak=False)
def connect_dispatcher(sender: Any, **_: Any) -> None:
    """Start the dispatcher in the workers of every app that includes the steps.

    The module is imported by name, because its layer is above the layer of the steps.
    """
    try:
        import_module(routing.WORKER_MODULE).start(sender.app)
    except Exception as error:
        # Celery would only log the exception, before its logs are set up, and serve without a dispatcher.
        raise SystemExit(
            f"scrape-do-celery: this worker cannot start: {type(error).__name__}: {masked(str(error))}"
        ) from error
