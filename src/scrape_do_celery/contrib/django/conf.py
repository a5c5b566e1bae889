"""The dict `SCRAPE_DO` in Django's settings, with the keys that only this integration reads."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings

from scrape_do_celery.contrib import settings_dict

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings

#: Keys that only this integration reads, with their defaults.
_DEFAULTS: dict[str, Any] = {
    # Whether runs are mirrored in the table of `ScrapeRun`.
    "MIRROR": False,
    # The database with this table. `enqueue` waits for the transactions of this database.
    "DATABASE": "default",
}


def find_problems() -> dict[str, str]:
    """Return the faults by key. A fault of the dict itself stands under an empty key."""
    found = settings_dict.problems_of(_read_dict(), _DEFAULTS)
    found |= {
        key: f"the value must be a {type(default).__name__}"
        for key, default in _DEFAULTS.items()
        if not _has_right_type(key)
    }
    if _has_right_type("DATABASE") and read_option("DATABASE") not in django_settings.DATABASES:
        found["DATABASE"] = "the value must be a key of DATABASES"
    return found


@cache
def read_settings() -> Settings:
    """Return the settings of this project: its dict first, then `SCRAPE_DO_*` variables, then defaults.

    Raises:
        SettingsError: a key or a value is wrong. `manage.py check` reports this fault, too.
    """
    return settings_dict.settings_of(_read_dict(), _DEFAULTS)


def read_option(key: str) -> Any:
    """Return the value of a key that only this integration reads."""
    found = _read_dict()
    return found.get(key, _DEFAULTS[key]) if isinstance(found, dict) else _DEFAULTS[key]


def _read_dict() -> Any:
    return getattr(django_settings, settings_dict.SETTING, {})


def _has_right_type(key: str) -> bool:
    return isinstance(read_option(key), type(_DEFAULTS[key]))
