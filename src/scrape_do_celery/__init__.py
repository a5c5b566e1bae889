"""Scrape.do's Async API in Celery: pay once, block no worker, lose no page, raise typed errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.config import Settings
from scrape_do_celery.config.budget_limits import BudgetPeriod
from scrape_do_celery.errors import api as _api
from scrape_do_celery.errors import base as _base
from scrape_do_celery.errors import contents as _contents
from scrape_do_celery.errors import runs as _runs
from scrape_do_celery.errors.api import *  # noqa: F403
from scrape_do_celery.errors.base import *  # noqa: F403
from scrape_do_celery.errors.contents import *  # noqa: F403
from scrape_do_celery.errors.runs import *  # noqa: F403
from scrape_do_celery.models import JobCreationRequest, JobStatus, Render, RenderOptions, RequestWarning, Target
from scrape_do_celery.models import browser_actions as _browser_actions
from scrape_do_celery.models import jobs as _jobs
from scrape_do_celery.models import plugin_results as _plugin_results
from scrape_do_celery.models import plugins as _plugins
from scrape_do_celery.models import reasons as _reasons
from scrape_do_celery.models import rendered as _rendered
from scrape_do_celery.models import results as _results
from scrape_do_celery.models import tasks as _tasks
from scrape_do_celery.models.browser_actions import *  # noqa: F403
from scrape_do_celery.models.jobs import *  # noqa: F403
from scrape_do_celery.models.plugin_results import *  # noqa: F403
from scrape_do_celery.models.plugins import *  # noqa: F403
from scrape_do_celery.models.reasons import *  # noqa: F403
from scrape_do_celery.models.rendered import *  # noqa: F403
from scrape_do_celery.models.results import *  # noqa: F403
from scrape_do_celery.models.tasks import *  # noqa: F403
from scrape_do_celery.rules.polling import PollingStrategy
from scrape_do_celery.rules.schedules import TickDecision
from scrape_do_celery.runs import (
    Budget,
    Estimate,
    ExportReport,
    MergedEntry,
    MergedResult,
    Progress,
    RunHandle,
    RunPage,
    RunPlan,
    RunStatus,
    Schedule,
    SchedulePause,
    ScheduleStart,
    WaitingFor,
    WaitKind,
    aenqueue,
    aenqueue_many,
    aestimate,
    alist_runs,
    enqueue,
    enqueue_many,
    estimate,
    list_budgets,
    list_runs,
    list_schedules,
    pause_schedule,
    resume_buying,
    resume_schedule,
    retry_failed,
    run_schedule,
    scheduled_run,
    set_budget,
    stop_buying,
)
from scrape_do_celery.store import RunState

if TYPE_CHECKING:
    from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient

__all__ = [
    "AsyncScrapeDoAsyncAPIClient",
    "Budget",
    "BudgetPeriod",
    "Estimate",
    "ExportReport",
    "JobCreationRequest",
    "JobStatus",
    "MergedEntry",
    "MergedResult",
    "PollingStrategy",
    "Progress",
    "Render",
    "RenderOptions",
    "RequestWarning",
    "RunHandle",
    "RunPage",
    "RunPlan",
    "RunState",
    "RunStatus",
    "Schedule",
    "SchedulePause",
    "ScheduleStart",
    "ScrapeDoAsyncAPIClient",
    "Settings",
    "Target",
    "TickDecision",
    "WaitKind",
    "WaitingFor",
    "aenqueue",
    "aenqueue_many",
    "aestimate",
    "alist_runs",
    "enqueue",
    "enqueue_many",
    "estimate",
    "list_budgets",
    "list_runs",
    "list_schedules",
    "pause_schedule",
    "resume_buying",
    "resume_schedule",
    "retry_failed",
    "run_schedule",
    "scheduled_run",
    "set_budget",
    "stop_buying",
]
# `__all__` of each module lists its public names. Star imports repeat none, so a new name is written in one file.
__all__ += _api.__all__
__all__ += _base.__all__
__all__ += _contents.__all__
__all__ += _runs.__all__
__all__ += _browser_actions.__all__
__all__ += _jobs.__all__
__all__ += _plugin_results.__all__
__all__ += _plugins.__all__
__all__ += _reasons.__all__
__all__ += _rendered.__all__
__all__ += _results.__all__
__all__ += _tasks.__all__

_CLIENTS = {"AsyncScrapeDoAsyncAPIClient", "ScrapeDoAsyncAPIClient"}


def __getattr__(name: str) -> Any:
    # Import lazily, so that a web process that only enqueues never loads the HTTP client.
    if name in _CLIENTS:
        from scrape_do_celery import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
