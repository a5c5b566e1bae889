"""The conversion of a framework's settings dict, with keys in capitals, to the settings of this package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.config import Settings
from scrape_do_celery.config.settings import SettingsError
from scrape_do_celery.config.variables import PREFIX, suggest_setting

if TYPE_CHECKING:
    from collections.abc import Collection

#: The name of the dict in every framework.
SETTING = "SCRAPE_DO"


def settings_of(found: object, framework_keys: Collection[str] = ()) -> Settings:
    """Return the settings of a dict. `framework_keys` are keys that only the integration with the framework reads.

    Raises:
        SettingsError: the dict, a key or a value is wrong. The message shows no value.
    """
    if wrong := problems_of(found, framework_keys):
        raise SettingsError("; ".join(f"{name_of_key(key)}: {what}" for key, what in wrong.items()), wrong)
    return Settings(**_settings_values(found, framework_keys))


def problems_of(found: object, framework_keys: Collection[str] = ()) -> dict[str, str]:
    """Return the faults by key. A fault of the dict itself stands under an empty key."""
    if not isinstance(found, dict):
        return {"": 'the value must be a dict, such as {"REDIS_URL": "redis://localhost:6379/0"}'}
    problems = {str(key): what for key in found if (what := _key_fault(key, framework_keys))}
    try:
        Settings(**_settings_values(found, framework_keys))
    except SettingsError as error:
        problems |= {name.removeprefix(PREFIX).upper(): text for name, text in error.problems.items()}
    return problems


def name_of_key(key: str) -> str:
    """Return the name of a key as the author of the dict wrote it."""
    return f"{SETTING}[{key!r}]" if key else SETTING


def _settings_values(found: Any, framework_keys: Collection[str]) -> dict[str, Any]:
    ours = [key for key in found if key not in framework_keys and not _key_fault(key, framework_keys)]
    return {key.lower(): found[key] for key in ours}


def _key_fault(key: object, framework_keys: Collection[str]) -> str:
    """Return the fault in the spelling of a key; empty if the spelling is right."""
    if not isinstance(key, str):
        return "each key must be a str"
    if key != key.upper():
        return f"write the key in capitals: {key.upper()}"
    known = [*Settings.model_fields, *(one.lower() for one in framework_keys)]
    return "" if key.lower() in known else f"unknown key{suggest_setting(key, known)}"
