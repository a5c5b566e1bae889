"""Encrypt private values at rest, with the keys of `SCRAPE_DO_ENCRYPTION_KEY`.

An encrypted value is a version byte, the name of the key, a nonce, and the output of AES-256-GCM. The plain value is
compressed before. The Redis key and the field are authenticated as its context: a moved value cannot be decrypted. A
process with a key refuses plain values, because anybody who can write to Redis could have written them.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final, NamedTuple

from scrape_do_celery.errors import ConfigurationError, EncryptionKeyError, RefusedValueError
from scrape_do_celery.log_fields import get_logger, log_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = get_logger(__name__)

#: The first byte of each encrypted value. No other value begins with it: frames have other version bytes, and all other
#: values are text.
ENCRYPTED_PREFIX: Final = b"\x02"
_ID, _NONCE, _TAG = 4, 12, 16
_HEAD: Final = len(ENCRYPTED_PREFIX) + _ID + _NONCE
_VARIABLE: Final = "SCRAPE_DO_ENCRYPTION_KEY"
_ALLOW: Final = "SCRAPE_DO_ALLOW_PLAIN"


class ValuePlace(NamedTuple):
    """The place of a private value, for errors and logs. Empty: the place is not known."""

    run_id: str = ""
    field: str = ""
    part: int | None = None

    def __str__(self) -> str:
        if not self.run_id:
            return "a value of the store"
        return f"run {self.run_id}{'' if self.part is None else f', part {self.part}'}: the field {self.field}"

    def refused_error(self, why: str) -> RefusedValueError:
        """Return the error of the value at this place."""
        return RefusedValueError(f"{self} {why}", self.run_id, self.field, self.part)


_UNKNOWN: Final = ValuePlace()


class Encryptor:
    """The ciphers of a process: the first key encrypts, any of the keys decrypts.

    With `allow_plain`, plain values are accepted as well, while a store is migrated. The repr shows no key.
    """

    def __init__(self, keys: Sequence[bytes], *, allow_plain: bool = False) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ConfigurationError(
                f"{_VARIABLE} is set, but the encryption package is not installed; run: pip install "
                "'scrape-do-celery[encryption]'"
            ) from None
        self._invalid = InvalidTag
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._first = next(iter(self._ciphers))
        self._digest_key = hashlib.blake2b(keys[0], digest_size=32, person=b"scrape-do-digest").digest()
        self._allow_plain, self._has_warned = allow_plain, False

    def __repr__(self) -> str:
        return f"Encryptor({', '.join(self.key_names)})"

    @property
    def key_names(self) -> list[str]:
        """The names of the keys, first the key that encrypts. A name does not reveal its key."""
        return [one.hex() for one in self._ciphers]

    def digest(self, name: str) -> str:
        """Return a digest that is equal for equal names. Without the first key, nobody can test a guess of the name."""
        return hashlib.blake2b(name.encode(), digest_size=16, key=self._digest_key).hexdigest()

    def encrypt(self, value: bytes, context: str) -> bytes:
        """Encrypt a value for this context."""
        nonce = os.urandom(_NONCE)
        return (
            ENCRYPTED_PREFIX + self._first + nonce + self._ciphers[self._first].encrypt(nonce, value, context.encode())
        )

    def decrypt(self, value: bytes, context: str, place: ValuePlace = _UNKNOWN) -> bytes:
        """Decrypt a value that was encrypted for this context.

        Raises:
            EncryptionKeyError: If this process lacks the key.
            RefusedValueError: If the value was changed or moved.
        """
        name, nonce = value[1 : 1 + _ID], value[1 + _ID : _HEAD]
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise missing_key_error(name.hex(), self.key_names)
        try:
            return cipher.decrypt(nonce, value[_HEAD:], context.encode())
        except (self._invalid, ValueError):
            raise place.refused_error(
                f"does not match its encryption with key {name.hex()}: the value was changed or moved; it stays as it "
                "is, and the run waits until the right value is back, or is freed after a cancel"
            ) from None

    def accept_plain(self, value: bytes, place: ValuePlace) -> bytes:
        """Return a plain value if plain values are allowed. Warn of the first one in the process.

        Raises:
            RefusedValueError: If only encrypted values are allowed.
        """
        if not self._allow_plain:
            raise place.refused_error(
                f"is not encrypted although {_VARIABLE} is set, so it is refused: somebody has replaced the value, or "
                f"it is older than the key; only if you have just turned encryption on, set {_ALLOW}=true until "
                "`scrape-do doctor` finds no plain values; the value stays as it is, and the run waits until the right "
                "value is back, or is freed after a cancel"
            )
        if not self._has_warned:
            self._has_warned = True
            log.warning(
                "%s is not encrypted and is accepted, because %s is set; `scrape-do doctor` says when to remove the "
                "variable; later plain values are accepted without a line",
                place,
                _ALLOW,
                extra=log_fields("plain_value_accepted"),
            )
        return value


class PrivateValues:
    """The private values of a store, as a process encrypts and decrypts them. Without an encryptor they stay plain."""

    __slots__ = ()

    @property
    def encryptor(self) -> Encryptor | None:
        """The ciphers of this process; None without a key."""
        return None

    def locate_value(self, key: str, name: str) -> ValuePlace:  # noqa: ARG002 (a subclass knows the names of keys)
        """Return the place of the field `name` of `key`."""
        return _UNKNOWN

    @property
    def key_names(self) -> list[str]:
        """The names of the encryption keys of this process, first the key that encrypts."""
        return [] if self.encryptor is None else self.encryptor.key_names

    @property
    def mask(self) -> Callable[[str], str] | None:
        """The function that makes a name unreadable; None without a key."""
        return None if self.encryptor is None else self.encryptor.digest

    def encrypt(self, key: str, name: str, value: bytes) -> bytes:
        """Return a private value in the form that is stored in the field `name` of `key`."""
        return value if self.encryptor is None else self.encryptor.encrypt(value, _make_context(key, name))

    def encrypt_text(self, key: str, name: str, text: str) -> bytes | str:
        """Encrypt a text like `encrypt`. An empty text stays empty, because scripts test for it."""
        return self.encrypt(key, name, text.encode()) if text and self.encryptor is not None else text

    def decrypt(self, key: str, name: str, value: bytes) -> bytes:
        """Return the plain form of a value of the field `name` of `key`. An empty value stands for none.

        Raises:
            EncryptionKeyError: If the value is encrypted, and this process lacks its key.
            RefusedValueError: If the value was changed or moved, or is plain although this process has a key.
        """
        is_plain = value[:1] != ENCRYPTED_PREFIX
        if self.encryptor is None:
            if is_plain:
                return value
            raise missing_key_error(key_name_of(value))
        if not value:
            return value
        place = self.locate_value(key, name)
        if is_plain:
            return self.encryptor.accept_plain(value, place)
        return self.encryptor.decrypt(value, _make_context(key, name), place)


def _make_context(key: str, name: str) -> str:
    """Return the text that binds a value to its field. No two fields share a text, not even with spaces in names."""
    context = f"{key} {name}"
    return f"{len(key)} {context}" if context.count(" ") > 1 else context


def encryption_key_name(keys: PrivateValues) -> str:
    """Return the name of the key that encrypts; empty if this process has no key."""
    return keys.key_names[0] if keys.key_names else ""


def key_name_of(value: bytes) -> str:
    """Return the name of the key that a value was encrypted with."""
    return value[1 : 1 + _ID].hex()


def missing_key_error(name: str, key_names: Sequence[str] = ()) -> EncryptionKeyError:
    """Return the error of a process that lacks the key `name`. `key_names` are the keys that it has."""
    names = ", ".join(key_names)
    state = f"has {names}. Add that key after the first key" if key_names else "is not set. Set it to that key"
    return EncryptionKeyError(
        f"a value of the store is encrypted with key {name}; {_VARIABLE} of this process {state}; no data is lost"
    )


def _key_id(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=_ID, person=b"scrape-do-key-id").digest()
