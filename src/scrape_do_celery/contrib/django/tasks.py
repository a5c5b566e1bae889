"""The steps, in the module in which Django projects search for Celery tasks."""

from __future__ import annotations

from scrape_do_celery.tasks import *  # noqa: F403 (the import registers each step; all are public there)
