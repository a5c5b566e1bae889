"""The obvious Celery canvas over the peer SDK, as a worker loads it: `celery -A benchmarks.canvas_app worker`.

A caller sends `canvas.submit | canvas.poll`: submit, a poll that retries, a chord of fetches, and a step that combines
the pages. Settings come from CANVAS_* variables, so that the canvas shares nothing with this package.
"""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Never

from celery import Celery, Task, chord
from scrape_do.async_api import ScrapeDoAsyncAPIClient

_POLL_EVERY = 1

app = Celery("canvas", broker=os.environ.get("CANVAS_BROKER"), backend=os.environ.get("CANVAS_RESULTS"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_connection_retry_on_startup=True,
    result_expires=3_600,
)


@cache
def client() -> ScrapeDoAsyncAPIClient:
    """Return the client of this process; all threads share its connections."""
    ScrapeDoAsyncAPIClient.BASE_URL = os.environ["CANVAS_API_URL"]
    return ScrapeDoAsyncAPIClient(os.environ["CANVAS_API_KEY"])


@app.task(name="canvas.submit")
def submit(targets: list[Any]) -> str:
    """Create a job and return its id."""
    return str(client().create_job(targets=targets).job_id)


@app.task(name="canvas.poll", bind=True, max_retries=None)
def poll(self: Task, job_id: str) -> Never:
    """Poll the job every second while it runs; then replace this task by a chord of fetches."""
    job = client().get_job(job_id)
    if not job.is_terminal:
        raise self.retry(countdown=_POLL_EVERY)
    job.raise_for_status()
    body = aggregate.s(job.model_dump(mode="json"))
    raise self.replace(chord([fetch.s(job_id, task_id) for task_id in job.task_ids], body))


@app.task(name="canvas.fetch")
def fetch(job_id: str, task_id: str) -> dict[str, Any]:
    """Return a task with its page."""
    return dict(client().get_task(job_id, task_id).model_dump(mode="json"))


@app.task(name="canvas.aggregate")
def aggregate(tasks: list[dict[str, Any]], job: dict[str, Any]) -> dict[str, Any]:
    """Return the whole result."""
    return {"job": job, "tasks": tasks}


@app.task(name="canvas.blocking")
def blocking(targets: list[Any]) -> dict[str, Any]:
    """Wait for the job in the worker, and return the whole result."""
    return dict(client().submit_and_wait(targets=targets).model_dump(mode="json"))
