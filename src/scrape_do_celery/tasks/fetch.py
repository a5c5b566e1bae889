"""Fetch the tasks of jobs that have ended."""

from __future__ import annotations

from celery import Task, shared_task

from scrape_do_celery import routing
from scrape_do_celery.runtime import run_step
from scrape_do_celery.runtime.collecting import fetch
from scrape_do_celery.store import PartState


@shared_task(name=routing.FETCH_TASKS, **routing.STEP_OPTIONS)
def fetch_tasks(self: Task, part_ids: list[str]) -> None:
    """Fetch the missing tasks of parts whose jobs have ended."""
    run_step(self.app, part_ids, {PartState.FETCHING}, fetch)
