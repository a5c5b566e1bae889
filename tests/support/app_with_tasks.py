"""A user's own application: our steps included, and tasks of its own around them."""

from __future__ import annotations

import json

from scrape_do_celery import RunHandle
from scrape_do_celery.worker import app

STORE = "seen"


@app.task(name="user.targets")
def targets():
    return ["https://a.example/chained"]


@app.task(name="user.pages")
def pages(result):
    """Load the wanted pages from the small result, as a task after ours does."""
    return [task.url for task in RunHandle(result["run_id"]).iter_tasks()]


@app.task(name="user.metas")
def metas(result):
    """Store the `meta` of each page, which the small result does not have."""
    found = [task.meta for task in RunHandle(result["run_id"]).iter_tasks()]
    app.backend.client.rpush(f"{app.conf.task_default_queue}:metas", json.dumps(found))


@app.task(name="user.collect")
def collect(results):
    return sum(result["counts"]["succeeded"] for result in results)


@app.task(name="user.alert")
def alert(request, exc, traceback):
    app.backend.client.rpush(f"{app.conf.task_default_queue}:alerts", type(exc).__name__)


@app.task(name="user.note")
def note(result):
    app.backend.client.rpush(f"{app.conf.task_default_queue}:notes", result["outcome"])
