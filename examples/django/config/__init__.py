"""The project's configuration. The Celery app is made with it, so that every process of the project has it."""

from __future__ import annotations

from config.celery import app as celery_app

__all__ = ["celery_app"]
