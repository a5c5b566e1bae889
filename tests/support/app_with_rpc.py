"""A user's application that reads results from `rpc://`: each result is a message to its own caller."""

from __future__ import annotations

import json
import os

from celery import Celery

app = Celery("rpc_shop", broker=os.environ["SHOP_BROKER"], backend="rpc://")
app.conf.update(
    include=["scrape_do_celery.tasks"],
    task_default_queue=os.environ["SCRAPE_DO_QUEUE"],
    **json.loads(os.environ.get("SHOP_CONF", "{}")),
)


@app.task(name="rpc.outcome")
def outcome(result):
    return result["outcome"]
