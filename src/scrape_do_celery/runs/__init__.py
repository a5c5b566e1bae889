"""The producer's door: `enqueue` and `RunHandle`. Loads no HTTP client, no step and no worker."""

from __future__ import annotations

from scrape_do_celery.runs.enqueueing import enqueue, enqueue_many
from scrape_do_celery.runs.handle import Progress, RunHandle
from scrape_do_celery.runs.producer import (
    BATCH,
    EAGER,
    Producer,
    StepMessage,
    batched,
    ensure_app,
    is_ours,
    make_app,
    settings_of,
)
from scrape_do_celery.runs.retrying import retry_failed
from scrape_do_celery.runs.scheduling import scheduled_run
from scrape_do_celery.runs.status import RunStatus

__all__ = [
    "BATCH",
    "EAGER",
    "Producer",
    "Progress",
    "RunHandle",
    "RunStatus",
    "StepMessage",
    "batched",
    "enqueue",
    "enqueue_many",
    "ensure_app",
    "is_ours",
    "make_app",
    "retry_failed",
    "scheduled_run",
    "settings_of",
]
