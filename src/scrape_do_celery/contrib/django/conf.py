"""`SCRAPE_DO`, the one dict of Django's settings, as this package's settings."""

from __future__ import annotations

from functools import cache
from typing import Any

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from scrape_do_celery.config import Settings
from scrape_do_celery.config.fields import env_name
from scrape_do_celery.config.settings import SettingsError

SETTING = "SCRAPE_DO"
#: Keys that only mean something here, with their defaults.
OURS: dict[str, Any] = {
    # Whether runs are mirrored in the table of `ScrapeRun`.
    "MIRROR": False,
    # The database whose transactions `enqueue` waits for, and that has that table.
    "DATABASE": "default",
}
_KINDS = {"MIRROR": bool, "DATABASE": str}


def given() -> dict[str, Any]:
    """The dict as it stands in Django's settings; empty where it is not a dict."""
    found = getattr(django_settings, SETTING, {})
    return dict(found) if isinstance(found, dict) else {}


def problems() -> dict[str, str]:
    """What is wrong, by key; the dict itself stands under an empty one."""
    if not isinstance(getattr(django_settings, SETTING, {}), dict):
        return {"": 'it must be a dict, such as {"REDIS_URL": "redis://localhost:6379/0"}'}
    found = {key: _case(key) for key in given() if _case(key)}
    for key, kind in _KINDS.items():
        if not isinstance(ours(key), kind):
            found[key] = f"it must be a {kind.__name__}"
    if ours("DATABASE") not in django_settings.DATABASES and "DATABASE" not in found:
        found["DATABASE"] = "it must be a key of DATABASES"
    try:
        Settings(**_values())
    except SettingsError as error:
        found |= {_key(name): text for name, text in error.problems.items()}
    return found


@cache
def settings() -> Settings:
    """The settings of this project: its dict first, then `SCRAPE_DO_*` variables, then defaults.

    Raises:
        ImproperlyConfigured: a key or a value is wrong; `manage.py check` says so as well.
    """
    if wrong := problems():
        text = "; ".join(f"{SETTING}[{key!r}]: {what}" if key else f"{SETTING}: {what}" for key, what in wrong.items())
        raise ImproperlyConfigured(text)
    return Settings(**_values())


def ours(key: str) -> Any:
    """The value of a key that only means something here."""
    return given().get(key, OURS[key])


def _values() -> dict[str, Any]:
    return {key.lower(): value for key, value in given().items() if key not in OURS and not _case(key)}


def _case(key: object) -> str:
    """What is wrong with how a key is written."""
    if not isinstance(key, str):
        return "keys are texts"
    return "" if key == key.upper() else f"keys are in capitals: {key.upper()}"


def _key(name: str) -> str:
    """The key of a setting that is named by its variable, or by its argument where nobody knows it."""
    return name.removeprefix(env_name("")).upper()
