"""`SCRAPE_DO` in Django's settings, with the keys that only mean something here."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from django.conf import settings as django_settings

from scrape_do_celery.contrib import settings_dict

if TYPE_CHECKING:
    from scrape_do_celery.config import Settings

#: Keys of ours, with their defaults.
_DEFAULTS: dict[str, Any] = {
    # Whether runs are mirrored in the table of `ScrapeRun`.
    "MIRROR": False,
    # The database whose transactions `enqueue` waits for, and that has that table.
    "DATABASE": "default",
}


def problems() -> dict[str, str]:
    """What is wrong, by key; what is wrong with the dict itself, under an empty one."""
    found = settings_dict.problems_of(_dict(), _DEFAULTS)
    found |= {key: f"it must be a {type(default).__name__}" for key, default in _DEFAULTS.items() if not _fits(key)}
    if _fits("DATABASE") and option("DATABASE") not in django_settings.DATABASES:
        found["DATABASE"] = "it must be a key of DATABASES"
    return found


@cache
def settings() -> Settings:
    """The settings of this project: its dict first, then `SCRAPE_DO_*` variables, then defaults.

    Raises:
        SettingsError: a key or a value is wrong; `manage.py check` says so as well.
    """
    return settings_dict.settings_of(_dict(), _DEFAULTS)


def option(key: str) -> Any:
    """The value of a key that only means something here."""
    found = _dict()
    return found.get(key, _DEFAULTS[key]) if isinstance(found, dict) else _DEFAULTS[key]


def _dict() -> Any:
    return getattr(django_settings, settings_dict.SETTING, {})


def _fits(key: str) -> bool:
    return isinstance(option(key), type(_DEFAULTS[key]))
