"""`Settings`, which are read from arguments and the environment, checked together and safe to print."""

from __future__ import annotations

import difflib
import hashlib
import os
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from scrape_do_celery.config.checks import warn_exposed, warn_unknown
from scrape_do_celery.config.fields import SettingsFields, env_name
from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

_COMPUTED = {
    "broker_url": "database 1 of the store's server",
    "result_backend": "database 2 of the store's server",
}


class SettingsError(ConfigurationError, ValueError):
    """Settings are missing, unknown or out of bounds. The message shows no value."""

    def __init__(self, message: str = "", problems: dict[str, str] | None = None) -> None:
        super().__init__(message, problems or {})

    @property
    def problems(self) -> dict[str, str]:
        """The fault of each setting, by its environment variable. An unknown argument stands under its own name."""
        return dict(self.args[1])


class Settings(SettingsFields):
    """The settings of one process. Arguments override `SCRAPE_DO_*` variables, and these override defaults.

    Raises:
        SettingsError: a value is out of bounds, or an argument is unknown.
    """

    def __init__(self, **values: Any) -> None:
        warn_unknown(os.environ, stacklevel=2)
        problems: dict[str, str] = {}
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = _problems(error)
        # Raise outside the `except` block: an error tracker would find the values in the exception's context.
        if problems:
            message = "; ".join(f"{name}: {text}" for name, text in problems.items())
            raise SettingsError(message, problems)
        warn_exposed(self.api_url)

    @property
    def submit_lease(self) -> float:
        """Seconds of a submit step's lease: longer than its `POST` may take and its job needs to appear at the API."""
        return self.submit_deadline + self.submit_visibility_grace + self.lease_seconds

    @property
    def account_id(self) -> str:
        """The account's id in the store: a keyed fingerprint of its name, else of the token. It reveals no token."""
        token = "" if self.api_key is None else self.api_key.get_secret_value()
        text = f"name {self.account}" if self.account else f"token {token}"
        return hashlib.blake2b(text.encode(), key=b"scrape-do-celery", digest_size=8).hexdigest()

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        for name, value in super().__repr_args__():
            yield name, masked(value) if isinstance(value, str) else value


def settings_table() -> list[tuple[str, str, str]]:
    """Return variable, default and meaning of each setting, in the order of the documentation."""
    return [
        (env_name(name), _COMPUTED.get(name, _printed(field.default)), field.description or "")
        for name, field in Settings.model_fields.items()
    ]


def _printed(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _problems(error: ValidationError) -> dict[str, str]:
    found = {}
    for item in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(item["loc"][0]) if item["loc"] else "settings"
        if item["type"] == "extra_forbidden":
            found[name] = "unknown argument" + _nearest(name)
        else:
            found[env_name(name)] = item["msg"].removeprefix("Value error, ")
    return found


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"; did you mean {close[0]}?" if close else ""
