"""A Celery application without a task, for the cost of a worker that does nothing."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ.get("BARE_BROKER"))
app.conf.update(broker_connection_retry_on_startup=True)
