"""The objects that all steps of one worker process share, and the function that runs a step."""

from __future__ import annotations

from scrape_do_celery.runtime.context import WorkerContext
from scrape_do_celery.runtime.runner import run_step

__all__ = ["WorkerContext", "run_step"]
