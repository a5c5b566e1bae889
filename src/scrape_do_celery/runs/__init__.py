"""The interface of producers: `enqueue` and `RunHandle`. The package loads no HTTP client, step or worker."""

from __future__ import annotations

from scrape_do_celery.rules.waits import WaitingFor, WaitKind
from scrape_do_celery.runs.async_enqueue import aenqueue, aenqueue_many, aestimate
from scrape_do_celery.runs.budgets import Budget, list_budgets, resume_buying, set_budget, stop_buying
from scrape_do_celery.runs.celery_app import EAGER, is_own_app, make_app, refuse_missing_servers, settings_of
from scrape_do_celery.runs.context import BATCH, AppContext, StepMessage, batched, ensure_default_app
from scrape_do_celery.runs.enqueue import enqueue, enqueue_many
from scrape_do_celery.runs.exports import ExportReport
from scrape_do_celery.runs.handle import Progress, RunHandle
from scrape_do_celery.runs.listing import RunPage, alist_runs, list_runs
from scrape_do_celery.runs.merging import MergedEntry, MergedResult
from scrape_do_celery.runs.plans import Estimate, RunPlan, estimate, plan_runs
from scrape_do_celery.runs.retry import retry_failed
from scrape_do_celery.runs.schedule_control import ScheduleStart, pause_schedule, resume_schedule, run_schedule
from scrape_do_celery.runs.schedule_list import Schedule, SchedulePause, list_schedules
from scrape_do_celery.runs.schedules import scheduled_run
from scrape_do_celery.runs.start_calls import start_run, start_runs
from scrape_do_celery.runs.status import RunStatus

__all__ = [
    "BATCH",
    "EAGER",
    "AppContext",
    "Budget",
    "Estimate",
    "ExportReport",
    "MergedEntry",
    "MergedResult",
    "Progress",
    "RunHandle",
    "RunPage",
    "RunPlan",
    "RunStatus",
    "Schedule",
    "SchedulePause",
    "ScheduleStart",
    "StepMessage",
    "WaitKind",
    "WaitingFor",
    "aenqueue",
    "aenqueue_many",
    "aestimate",
    "alist_runs",
    "batched",
    "enqueue",
    "enqueue_many",
    "ensure_default_app",
    "estimate",
    "is_own_app",
    "list_budgets",
    "list_runs",
    "list_schedules",
    "make_app",
    "pause_schedule",
    "plan_runs",
    "refuse_missing_servers",
    "resume_buying",
    "resume_schedule",
    "retry_failed",
    "run_schedule",
    "scheduled_run",
    "set_budget",
    "settings_of",
    "start_run",
    "start_runs",
    "stop_buying",
]

#: The short names of `list_runs` and `alist_runs`, for `runs.list(...)`.
list = list_runs  # noqa: A001 (a star import takes the names of `__all__` only)
alist = alist_runs
