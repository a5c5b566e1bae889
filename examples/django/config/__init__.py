"""The project's configuration. The Celery app is created with it, so that every process of the project has the app."""

from __future__ import annotations

from config.celery import app as celery_app

__all__ = ["celery_app"]
