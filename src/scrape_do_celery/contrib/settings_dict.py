"""A framework's one dict of settings, with keys in capitals, as this package's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.config import Settings
from scrape_do_celery.config.fields import PREFIX
from scrape_do_celery.config.settings import SettingsError

if TYPE_CHECKING:
    from collections.abc import Collection

#: The name of the dict in every framework.
SETTING = "SCRAPE_DO"


def settings_of(found: object, framework_keys: Collection[str] = ()) -> Settings:
    """The settings of a dict; `theirs` are keys that only mean something to its framework.

    Raises:
        SettingsError: the dict, a key or a value is wrong. No value is shown.
    """
    if wrong := problems_of(found, framework_keys):
        raise SettingsError("; ".join(f"{where(key)}: {what}" for key, what in wrong.items()), wrong)
    return Settings(**_values(found, framework_keys))


def problems_of(found: object, framework_keys: Collection[str] = ()) -> dict[str, str]:
    """What is wrong, by key; what is wrong with the dict itself, under an empty one."""
    if not isinstance(found, dict):
        return {"": 'it must be a dict, such as {"REDIS_URL": "redis://localhost:6379/0"}'}
    problems = {str(key): what for key in found if (what := _case(key))}
    try:
        Settings(**_values(found, framework_keys))
    except SettingsError as error:
        problems |= {name.removeprefix(PREFIX).upper(): text for name, text in error.problems.items()}
    return problems


def where(key: str) -> str:
    """How a key is named to whoever wrote it."""
    return f"{SETTING}[{key!r}]" if key else SETTING


def _values(found: Any, framework_keys: Collection[str]) -> dict[str, Any]:
    return {key.lower(): value for key, value in found.items() if not _case(key) and key not in framework_keys}


def _case(key: object) -> str:
    """What is wrong with how a key is written."""
    if not isinstance(key, str):
        return "keys are texts"
    return "" if key == key.upper() else f"keys are in capitals: {key.upper()}"
