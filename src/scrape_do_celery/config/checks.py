"""Warnings about an environment or settings that are suspicious, but no error."""

from __future__ import annotations

import difflib
import warnings
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from scrape_do_celery.config.fields import PREFIX, SettingsFields, env_name
from scrape_do_celery.config.urls import is_loopback, redis_location
from scrape_do_celery.models.sendable import caller_level

if TYPE_CHECKING:
    from collections.abc import Mapping

DATA_DIR = "SCRAPE_DO_DATA_DIR"
RESERVED = frozenset({DATA_DIR})
"""Variables of this package that are not settings: the data directory of the embedded server."""

_warned: set[str] = set()


class SettingsWarning(UserWarning):
    """A setting has no effect, or may lose data."""


def unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a message for each `SCRAPE_DO_*` variable that nothing reads. No message shows a value."""
    return list(_unknown(environ).values())


def warn_unknown(environ: Mapping[str, str], *, stacklevel: int = 2) -> None:
    """Emit a `SettingsWarning` for each unknown variable that this process has not named yet."""
    for name, message in _unknown(environ).items():
        if name not in _warned:
            _warned.add(name)
            warnings.warn(message, SettingsWarning, stacklevel=stacklevel + 1)


def why_exposed(url: str) -> str | None:
    """Return a warning if requests to the API at `url` are not encrypted; None for https and for this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or is_loopback(host):
        return None
    return f"the API at http://{host} is not encrypted: the token and the pages travel in clear text; use https://"


def warn_exposed(url: str) -> None:
    """Emit a `SettingsWarning` for an API without encryption, once per host and process."""
    message = why_exposed(url)
    if message is not None and message not in _warned:
        _warned.add(message)
        warnings.warn(message, SettingsWarning, stacklevel=caller_level())


def broker_warnings(settings: SettingsFields) -> list[str]:
    """Return a warning for each danger in the URLs of the broker and of the result backend."""
    return [
        message
        for name, what in (("broker_url", "broker"), ("result_backend", "result backend"))
        for message in _url_warnings(name, what, settings)
    ]


def _url_warnings(name: str, what: str, settings: SettingsFields) -> list[str]:
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


def _unknown(environ: Mapping[str, str]) -> dict[str, str]:
    known = sorted({env_name(field) for field in SettingsFields.model_fields} | RESERVED)
    strangers = sorted(name for name in environ if name.upper().startswith(PREFIX) and name.upper() not in known)
    return {name: f"{name} is not a setting{_nearest(name.upper(), known)}" for name in strangers}


def _nearest(name: str, known: list[str]) -> str:
    rests = [other.removeprefix(PREFIX) for other in known]
    close = difflib.get_close_matches(name.removeprefix(PREFIX), rests, n=1)
    return f"; did you mean {PREFIX}{close[0]}?" if close else ""
