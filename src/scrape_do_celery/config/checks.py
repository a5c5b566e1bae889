"""Warnings about URLs that are dangerous, but no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.config.settings import env_name
from scrape_do_celery.config.urls import redis_location

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings


def broker_warnings(settings: Settings) -> list[str]:
    """Return a warning for each danger in the URLs of the broker and of the result backend."""
    return [
        message
        for name, what in (("broker_url", "broker"), ("result_backend", "result backend"))
        for message in _url_warnings(name, what, settings)
    ]


def _url_warnings(name: str, what: str, settings: Settings) -> list[str]:
    url: str = getattr(settings, name)
    found = []
    if _redis_location(url) == redis_location(settings.redis_url):
        found.append(
            f"{env_name(name)} is the database of {env_name('redis_url')}: whoever flushes the {what} erases runs "
            "and paid pages. Give each a database of its own."
        )
    if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:
        found.append(
            f"{env_name(name)} says nothing of certificates: kombu checks none, and Celery's Redis backend does not "
            "start. Add ?ssl_cert_reqs=required."
        )
    return found


def _redis_location(url: str) -> object:
    try:
        return redis_location(url)
    except ValueError:
        return None  # a spelling that only kombu reads, such as a list of brokers
