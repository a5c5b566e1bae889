"""The settings that hold secrets: token, credentials, options of file systems, keys. No error shows a value."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError

from scrape_do_celery.models.sendable import why_no_name
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import show_key

_KEY_BYTES: Final = 32
#: Characters of a key of webhooks, and different ones among them, at least.
_KEY_LENGTH, _KEY_VARIETY = 32, 8
_KEY_FORMAT: Final = (
    "should be 32 random bytes in Base64, as `openssl rand -base64 32` prints them; separate several keys by commas"
)


def check_token(value: SecretStr | None) -> SecretStr | None:
    """Return the token without white space around it.

    Raises:
        ValueError: the token is blank, or cannot travel in an HTTP header.
    """
    if value is None:
        return None
    token = value.get_secret_value().strip()
    if not token:
        raise ValueError("is blank; set the token, or unset the variable if this process sends no requests")
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError("should be one word of printable ASCII, because an HTTP header carries the token")
    return SecretStr(token)


def check_proxy(value: SecretStr | None) -> SecretStr | None:
    """Return the URL of a proxy without white space around it; None if it is blank.

    Raises:
        ValueError: the text is no URL of an HTTP proxy. The message does not show it, because it may hold a password.
    """
    text = "" if value is None else value.get_secret_value().strip()
    if not text:
        return None
    try:
        parts = urlsplit(text)
        is_proxy = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_proxy = False
    if not is_proxy or parts.path.strip("/") or parts.query or parts.fragment or not re.fullmatch(r"[!-~]+", text):
        raise ValueError(
            "should be the URL of an HTTP proxy, such as http://proxy:3128 or http://user:password@proxy:3128; in a "
            "password, special characters are percent-encoded"
        )
    return SecretStr(text)


class NamedCredentials(BaseModel):
    """The secret options that one name stands for. Schedules and messages hold only the name."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    headers: dict[str, str] | None = Field(default=None, repr=False)
    set_cookies: str | None = Field(default=None, repr=False)
    webhook_headers: dict[str, str] | None = Field(default=None, repr=False)
    body: str | None = Field(default=None, repr=False)


_ALL_CREDENTIALS = TypeAdapter(dict[str, NamedCredentials])


def credentials_text(value: Any) -> Any:
    """Return a dict as JSON text, as in an environment variable. Return any other value unchanged."""
    return json.dumps(value) if isinstance(value, dict) else value


def check_credentials(value: SecretStr | None) -> SecretStr | None:
    """Return the text if it can be read.

    Raises:
        ValueError: the text cannot be read. The message names the position of the fault, but no value.
    """
    try:
        _read_credentials(value)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        paths = ", ".join(".".join(str(step) for step in one["loc"]) or "the JSON" for one in found)
    else:
        return value
    raise ValueError(f'should be JSON such as {{"shop": {{"headers": {{"Authorization": "..."}}}}}}; wrong: {paths}')


def with_credentials(credentials: SecretStr | None, name: str | None, options: dict[str, Any]) -> dict[str, Any]:
    """Return the options of a request together with the named secret options. Without a name, return them unchanged.

    Raises:
        ValueError: the credentials do not have the name, or an option is given twice.
    """
    if name is None:
        return options
    known = _read_credentials(credentials)
    if fault := why_no_name(name):
        raise ValueError(f"credentials {fault}")
    if name not in known:
        raise ValueError(
            f"credentials: {show_key(name)} is not in SCRAPE_DO_CREDENTIALS, which has "
            f"{', '.join(sorted(known)) or 'none'}{suggest_name(name, known)}"
        )
    given = known[name].model_dump(exclude_none=True)
    if twice := sorted(given.keys() & options.keys()):
        raise ValueError(f"{', '.join(twice)}: also in credentials={name!r}; set each field only once")
    return {**options, **given}


def _read_credentials(value: SecretStr | None) -> dict[str, NamedCredentials]:
    return {} if value is None else _ALL_CREDENTIALS.validate_json(value.get_secret_value())


_ALL_STORAGE = TypeAdapter(dict[str, dict[str, Any]])


def check_storage(value: SecretStr | None) -> SecretStr | None:
    """Return the text of the options of file systems if it can be read.

    Raises:
        ValueError: the text cannot be read. The message shows no value.
    """
    try:
        read_storage(value)
    except ValidationError:
        pass
    else:
        return value
    raise ValueError('should be JSON with the options of each kind of URL, such as {"s3": {"key": "..."}}')


def read_storage(value: SecretStr | None) -> dict[str, dict[str, Any]]:
    """Return the options of file systems, by the kinds of their URLs in lower case."""
    given = {} if value is None else _ALL_STORAGE.validate_json(value.get_secret_value())
    return {kind.lower(): options for kind, options in given.items()}


def keys_text(value: Any) -> Any:
    """Return a list of keys as text, as in an environment variable. Return any other value unchanged."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def check_encryption_key(value: SecretStr | None) -> SecretStr | None:
    """Return the text if its keys can be read; None if the text is blank.

    Raises:
        ValueError: the text cannot be read. The message shows no key.
    """
    if value is None or not value.get_secret_value().strip():
        return None
    encryption_keys(value)
    return value


def encryption_keys(value: SecretStr | None) -> list[bytes]:
    """Return the keys of `SCRAPE_DO_ENCRYPTION_KEY`, the encrypting key first; an empty list if encryption is off.

    Raises:
        ValueError: a key cannot be read, or is given twice.
    """
    if value is None:
        return []
    found = [_decode_key(text) for text in value.get_secret_value().replace(",", " ").split()]
    if None in found or len(set(found)) < len(found):
        raise ValueError(_KEY_FORMAT if None in found else "contains a key twice; remove the second one")
    return [key for key in found if key is not None]


def _decode_key(text: str) -> bytes | None:
    try:
        # Accept both alphabets, because keys of Fernet use the URL-safe alphabet.
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == _KEY_BYTES else None


def check_webhook_keys(value: SecretStr | None) -> SecretStr | None:
    """Return the text if its keys can sign webhooks; None if the text is blank.

    Raises:
        ValueError: a key is too short, too plain, or given twice. The message shows no key.
    """
    if value is None or not value.get_secret_value().strip():
        return None
    text = value.get_secret_value()
    found = text.replace(",", " ").split()
    if not text.isascii() or any(len(key) < _KEY_LENGTH or len(set(key)) < _KEY_VARIETY for key in found):
        raise ValueError(
            f"should be at least {_KEY_LENGTH} random ASCII characters, as `openssl rand -hex 32` prints them; "
            "separate several keys by commas"
        )
    if len(set(found)) < len(found):
        raise ValueError("contains a key twice; remove the second one")
    return value


def signing_keys(value: SecretStr | None) -> tuple[bytes, ...]:
    """Return the keys of `SCRAPE_DO_WEBHOOK_KEYS`, the signing key first; none if it is not set."""
    return () if value is None else tuple(value.get_secret_value().replace(",", " ").encode().split())
