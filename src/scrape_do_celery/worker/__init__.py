"""A ready Celery application: `celery -A scrape_do_celery.worker worker`. Settings come from the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.config import Settings
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs import make_app
from scrape_do_celery.runs.celery_app import end_celery_command

if TYPE_CHECKING:
    from celery import Celery

    app: Celery

__all__ = ["app", "make_app"]


def __getattr__(name: str) -> Any:
    # The app is made on first access: the worker of a foreign app imports this package and needs no app of ours.
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        settings = Settings()
    except ConfigurationError as error:
        end_celery_command(error)
        raise
    globals()["app"] = made = make_app(settings)
    return made
