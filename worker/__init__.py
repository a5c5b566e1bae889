"""The application's Celery app: `celery -A worker worker`, and `celery -A worker beat`."""

from __future__ import annotations

from config.settings import beat_schedule, read_settings
from scrape_do_celery.worker import make_app

settings = read_settings()
app = make_app(settings, "worker")
app.conf.include = [*app.conf.include, "tasks"]
app.conf.beat_schedule = beat_schedule(settings)
# Shared tasks, and every thread of a web process, find this app without a reference to it.
app.set_default()
