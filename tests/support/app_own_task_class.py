"""A user's application whose own task class, annotations and rate limit are made for its own tasks."""

from __future__ import annotations

import json
import logging
import os

from celery import Celery, Task

log = logging.getLogger(__name__)


class ShopTask(Task):
    """A task that is retried after any error, expires, and runs for the tenant of its message."""

    abstract = True
    autoretry_for = (Exception,)
    default_retry_delay = 600
    rate_limit = "1/h"
    expires = 0.001
    time_limit = 0.5
    routing_key = exchange = "shop"

    def apply_async(self, args=None, kwargs=None, task_id=None, **options):
        headers = {**(options.pop("headers", None) or {}), "tenant": os.environ.get("TENANT", "nobody")}
        return super().apply_async(args, kwargs, task_id=task_id, headers=headers, **options)

    def __call__(self, *args, **kwargs):
        log.warning("tenant %s runs %s", getattr(self.request, "tenant", None), self.name)
        return super().__call__(*args, **kwargs)


app = Celery("shop", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BACKEND"], task_cls=ShopTask)
app.conf.include = ["scrape_do_celery.tasks"]
app.conf.update(json.loads(os.environ.get("SHOP_CONF", "{}")))
