"""The producer's door: `enqueue` and `RunHandle`. Loads no HTTP client, no step and no worker."""

from __future__ import annotations

from scrape_do_celery.runs.enqueueing import enqueue, enqueue_many
from scrape_do_celery.runs.handle import Progress, RunHandle
from scrape_do_celery.runs.producer import BATCH, Bell, Producer, batched, ensure_app, is_ours, make_app, settings_of

__all__ = [
    "BATCH",
    "Bell",
    "Producer",
    "Progress",
    "RunHandle",
    "batched",
    "enqueue",
    "enqueue_many",
    "ensure_app",
    "is_ours",
    "make_app",
    "settings_of",
]
