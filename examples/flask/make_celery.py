"""`celery -A make_celery worker`: the worker of the application."""

from __future__ import annotations

from shop import create_app

app = create_app().extensions["celery"]
