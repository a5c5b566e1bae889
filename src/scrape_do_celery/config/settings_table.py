"""The table of all settings, for the documentation."""

from __future__ import annotations

from scrape_do_celery.config.settings import Settings
from scrape_do_celery.config.variables import env_name

_COMPUTED_DEFAULTS = {
    "broker_url": "database 1 of the store's server",
    "result_backend": "database 2 of the store's server",
}


def settings_table() -> list[tuple[str, str, str]]:
    """Return variable, default and meaning of each setting, in the order of the documentation."""
    return [
        (env_name(name), _COMPUTED_DEFAULTS.get(name, _format_default(field.default)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _format_default(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
