"""Headers, cookies and bodies under a name, so that schedules and messages hold only the name."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, SecretStr, TypeAdapter, ValidationError

if TYPE_CHECKING:
    from scrape_do_celery.config.settings import Settings


class Credentials(BaseModel):
    """The secret options that one name stands for."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    headers: dict[str, str] | None = None
    set_cookies: str | None = None
    webhook_headers: dict[str, str] | None = None
    body: str | None = None


_ALL = TypeAdapter(dict[str, Credentials])


def as_text(value: Any) -> Any:
    """Return a dict as JSON text, as in an environment variable. Return any other value unchanged."""
    return json.dumps(value) if isinstance(value, dict) else value


def checked(value: SecretStr | None) -> SecretStr | None:
    """Return the text if it can be read.

    Raises:
        ValueError: the text cannot be read. The message names the position of the fault, but no value.
    """
    try:
        _read(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        places = ", ".join(".".join(str(step) for step in one["loc"]) or "the JSON" for one in found)
    else:
        return value
    raise ValueError(f'should be JSON such as {{"shop": {{"headers": {{"Authorization": "..."}}}}}}; wrong: {places}')


def with_credentials(settings: Settings, name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a request together with the named secret options. Without a name, return them unchanged.

    Raises:
        ValueError: the settings do not have the name, or an option is given twice.
    """
    if name is None:
        return options
    known = _read(settings.credentials)
    if name not in known:
        raise ValueError(
            f"credentials: {name!r} is not in SCRAPE_DO_CREDENTIALS, which has {', '.join(sorted(known)) or 'none'}"
        )
    given = known[name].model_dump(exclude_none=True)
    if twice := sorted(given.keys() & options.keys()):
        raise ValueError(f"{', '.join(twice)}: given by credentials={name!r} as well; give them once")
    return {**options, **given}


def _read(value: SecretStr | None) -> dict[str, Credentials]:
    return {} if value is None else _ALL.validate_json(value.get_secret_value())
