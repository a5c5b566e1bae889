"""Private values of records, on their way into the store and out of it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.options import RunSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from scrape_do_celery.store.command import Value
    from scrape_do_celery.store.keys import Keys

#: Fields of records that are encrypted whenever they are written: they may quote a request, or an answer to it.
_PRIVATE = frozenset({"result", "error", "submit_error", "api_error"})


def encrypted(keys: Keys, key: str, fields: Mapping[str, Value]) -> dict[str, Value]:
    """Return the fields of a record as they are stored: the private ones encrypted."""
    return {name: _encrypt(keys, key, name, value) if name in _PRIVATE else value for name, value in fields.items()}


def _encrypt(keys: Keys, key: str, name: str, value: Value) -> Value:
    return keys.encrypt(key, name, value) if isinstance(value, bytes) else keys.encrypt_text(key, name, str(value))


def encryption_key_name(keys: Keys) -> str:
    """Return the name of the key that encrypts; empty without a key."""
    return keys.key_names[0] if keys.key_names else ""


def decrypted_spec(keys: Keys, run_id: str, fields: Mapping[str, bytes]) -> RunSpec:
    """The spec of a record's fields `spec`, `targets:0`, `targets:1`, ...

    Raises:
        EncryptionKeyError: they cannot be read here.
        ValueError: they are not what can be sent.
    """
    key = keys.run(run_id)
    options, *targets = (keys.decrypt(key, name, value) for name, value in fields.items())
    return RunSpec.unpacked(options, targets)


def decrypted_field(
    fields: Mapping[str, bytes], name: str, key: str, keys: Keys, read: Callable[[bytes], Any]
) -> tuple[Any, EncryptionKeyError | None]:
    """What a field holds, or why that cannot be read here; twice None where there is none."""
    if not fields.get(name):
        return None, None
    try:
        return read(keys.decrypt(key, name, fields[name])), None
    except EncryptionKeyError as error:
        return None, error


def decrypted_text(fields: Mapping[str, bytes], name: str, key: str, keys: Keys) -> str | None:
    """The text of a field; None where there is none, or it cannot be read here."""
    found: str | None = decrypted_field(fields, name, key, keys, bytes.decode)[0]
    return found


def decrypted_message(fields: Mapping[str, bytes], name: str, key: str, keys: Keys) -> str | None:
    """Return the text of an error that a field holds; None if the field is missing, or cannot be read here."""
    try:
        found, _ = decrypted_field(fields, name, key, keys, json.loads)
        return None if found is None else str(ScrapeDoError.from_json(found))
    except (ValueError, KeyError, TypeError):
        # The text only explains: a record must be readable without it.
        return None


def decrypted_error(fields: Mapping[str, bytes], key: str, keys: Keys) -> ScrapeDoError | None:
    """The error of a record; where it cannot be read, the one that says so."""
    found, unreadable = decrypted_field(fields, "error", key, keys, json.loads)
    return unreadable if found is None else ScrapeDoError.from_json(found)


def read_encryption_keys(keys: Keys) -> Command[dict[str, float]]:
    """The names of the encryption keys that were used, and when each was last."""
    return Command(_encryption_keys, ("ZRANGE", keys.encryption_keys, 0, -1, "WITHSCORES"))


def _encryption_keys(reply: Sequence[Any]) -> dict[str, float]:
    # Pairs by the newer protocol, one after the other by the older.
    pairs = reply if reply and isinstance(reply[0], list | tuple) else zip(reply[::2], reply[1::2], strict=True)
    return {name.decode(): float(at) for name, at in pairs}
