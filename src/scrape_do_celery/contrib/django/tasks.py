"""The steps, where Django projects look for them."""

from __future__ import annotations

from scrape_do_celery.tasks import *  # noqa: F403 (each is registered by being imported; all are public there)
