"""Encrypt and decrypt the private values of records."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError
from scrape_do_celery.store.options import RunSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrape_do_celery.store.command import Value
    from scrape_do_celery.store.keys import Keys

#: Fields of records that are always encrypted, because they may quote a request or an answer.
_PRIVATE = frozenset({"result", "error", "submit_error", "api_error"})


def encrypted(keys: Keys, key: str, fields: Mapping[str, Value]) -> dict[str, Value]:
    """Return the fields of a record with the private fields encrypted."""
    return {name: _encrypt(keys, key, name, value) if name in _PRIVATE else value for name, value in fields.items()}


def _encrypt(keys: Keys, key: str, name: str, value: Value) -> Value:
    return keys.encrypt(key, name, value) if isinstance(value, bytes) else keys.encrypt_text(key, name, str(value))


def encryption_key_name(keys: Keys) -> str:
    """Return the name of the key that encrypts; empty if this process has no key."""
    return keys.key_names[0] if keys.key_names else ""


def decrypted_spec(keys: Keys, run_id: str, fields: Mapping[str, bytes]) -> RunSpec:
    """Return the spec of a record's fields `spec`, `targets:0`, `targets:1`, ...

    Raises:
        EncryptionKeyError: If this process cannot decrypt them.
        ValueError: If they are not a request that can be sent.
    """
    key = keys.run(run_id)
    options, *targets = (keys.decrypt(key, name, value) for name, value in fields.items())
    return RunSpec.unpacked(options, targets)


def decrypted_field(
    fields: Mapping[str, bytes], name: str, key: str, keys: Keys, read: Callable[[bytes], Any]
) -> tuple[Any, EncryptionKeyError | None]:
    """Return the value of a field and None, or None and the reason why this process cannot decrypt the value.

    If the field is missing or empty, return None twice.
    """
    if not fields.get(name):
        return None, None
    try:
        return read(keys.decrypt(key, name, fields[name])), None
    except EncryptionKeyError as error:
        return None, error


def decrypted_text(fields: Mapping[str, bytes], name: str, key: str, keys: Keys) -> str | None:
    """Return the text of a field; None if the field is missing, or this process cannot decrypt it."""
    found: str | None = decrypted_field(fields, name, key, keys, bytes.decode)[0]
    return found


def decrypted_message(fields: Mapping[str, bytes], name: str, key: str, keys: Keys) -> str | None:
    """Return the text of an error that a field holds; None if the field is missing or unreadable."""
    try:
        found, _ = decrypted_field(fields, name, key, keys, json.loads)
        return None if found is None else str(ScrapeDoError.from_json(found))
    except (ValueError, KeyError, TypeError):
        # The text only explains. A record must be readable without it.
        return None


def decrypted_error(fields: Mapping[str, bytes], key: str, keys: Keys) -> ScrapeDoError | None:
    """Return the error of a record. If this process cannot decrypt it, return the `EncryptionKeyError` instead."""
    found, unreadable = decrypted_field(fields, "error", key, keys, json.loads)
    return unreadable if found is None else ScrapeDoError.from_json(found)
