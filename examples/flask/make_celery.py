"""The worker's app: `celery -A make_celery worker`."""

from __future__ import annotations

from shop import create_app

app = create_app().extensions["celery"]
