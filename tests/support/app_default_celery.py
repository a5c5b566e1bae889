"""A user's app with Celery's defaults for its result backend: after one failed try the result is lost."""

from __future__ import annotations

from scrape_do_celery.worker import app

app.conf.result_backend_always_retry = False
app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 0}}
