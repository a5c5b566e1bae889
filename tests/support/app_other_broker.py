"""A user's application: its own broker, backend and tasks, and our steps included."""

from __future__ import annotations

import json
import os

from celery import Celery

app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BACKEND"])
app.conf.include = ["scrape_do_celery.tasks"]
app.conf.update(json.loads(os.environ.get("SHOP_CONF", "{}")))


@app.task
def start(url):
    from scrape_do_celery import enqueue

    return enqueue([url]).run_id


@app.task
def outcome(result):
    return result["outcome"]
