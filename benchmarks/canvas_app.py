"""The obvious Celery canvas over the peer SDK, as a worker loads it: `celery -A benchmarks.canvas_app worker`.

A caller sends `canvas.submit | canvas.poll`: submit, a poll that retries, a chord of fetches, and a step that puts the
pages together. Settings come from CANVAS_*
variables, so that it shares nothing with this package.
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
    """The one client of this process; its connections are shared by all threads."""
    ScrapeDoAsyncAPIClient.BASE_URL = os.environ["CANVAS_API_URL"]
    return ScrapeDoAsyncAPIClient(os.environ["CANVAS_API_KEY"])


@app.task(name="canvas.submit")
def submit(targets: list[Any]) -> str:
    """The id of a new job."""
    return str(client().create_job(targets=targets).job_id)


@app.task(name="canvas.poll", bind=True, max_retries=None)
def poll(self: Task, job_id: str) -> Never:
    """Looks again a second later while the job runs; then its place is taken by a chord of fetches."""
    job = client().get_job(job_id)
    if not job.is_terminal:
        raise self.retry(countdown=_POLL_EVERY)
    job.raise_for_status()
    body = aggregate.s(job.model_dump(mode="json"))
    raise self.replace(chord([fetch.s(job_id, task_id) for task_id in job.task_ids], body))


@app.task(name="canvas.fetch")
def fetch(job_id: str, task_id: str) -> dict[str, Any]:
    """A task with its page."""
    return dict(client().get_task(job_id, task_id).model_dump(mode="json"))


@app.task(name="canvas.aggregate")
def aggregate(tasks: list[dict[str, Any]], job: dict[str, Any]) -> dict[str, Any]:
    """The whole result."""
    return {"job": job, "tasks": tasks}


@app.task(name="canvas.blocking")
def blocking(targets: list[Any]) -> dict[str, Any]:
    """The whole result, waited for in the worker."""
    return dict(client().submit_and_wait(targets=targets).model_dump(mode="json"))
