"""A user's app with Celery's own defaults for its result backend: one try, then the result is gone."""

from __future__ import annotations

from scrape_do_celery.worker import app

app.conf.result_backend_always_retry = False
app.conf.result_backend_transport_options = {"retry_policy": {"max_retries": 0}}
