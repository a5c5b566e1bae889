"""The settings of this application: those of the library, its own, and its schedule."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import signature
from celery.schedules import crontab

from scrape_do_celery import Settings, scheduled_run

#: The pages that the morning's run scrapes.
FRONT_PAGES = ["https://example.com/", "https://example.org/", "https://example.net/"]


def read_settings() -> Settings:
    """Read the library's settings from `SCRAPE_DO_*`; see `env.example`."""
    return Settings()


def output_dir() -> Path:
    """Return the folder for results."""
    return Path(os.environ.get("TITLES_DIR", "output")).absolute()


def beat_schedule(settings: Settings) -> dict[str, Any]:
    """Return the schedule of `celery -A worker beat`. The callback gets the small result of the run, never a page."""
    save_titles = signature("app.save_titles", queue=settings.queue)
    six = crontab(hour="6", minute="0")
    return {"front-pages-at-six": scheduled_run("front pages", six, FRONT_PAGES, max_wait=3600, on_success=save_titles)}
