"""The keys of `SCRAPE_DO_ENCRYPTION_KEY`, which are checked when settings are read and never shown."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pydantic import SecretStr

    from scrape_do_celery.config.fields import SettingsFields

_BYTES: Final = 32
_HOW: Final = (
    "should be 32 random bytes in Base64, such as `openssl rand -base64 32` prints; several with commas between"
)


def as_text(value: Any) -> Any:
    """Return a list of keys as text, as in an environment variable. Return any other value unchanged."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else value


def checked(value: SecretStr | None) -> SecretStr | None:
    """Return the text if its keys can be read; None if the text is blank.

    Raises:
        ValueError: the text cannot be read. The message shows no key.
    """
    if value is not None and not value.get_secret_value().strip():
        return None
    if value is not None:
        _read(value)
    return value


def encryption_keys(settings: SettingsFields) -> list[bytes]:
    """Return the keys, the encrypting key first; an empty list if encryption is off."""
    return [] if settings.encryption_key is None else _read(settings.encryption_key)


def _read(value: SecretStr) -> list[bytes]:
    found = [_bytes(text) for text in value.get_secret_value().replace(",", " ").split()]
    if None in found or len(set(found)) < len(found):
        raise ValueError(_HOW if None in found else "names a key twice")
    return [key for key in found if key is not None]


def _bytes(text: str) -> bytes | None:
    try:
        # Accept both alphabets, because keys of Fernet use the URL-safe alphabet.
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        return None
    return key if len(key) == _BYTES else None
