"""Encrypt private values at rest, with the keys of `SCRAPE_DO_ENCRYPTION_KEY`.

An encrypted value is a version byte, the name of the key, a nonce, and the output of AES-256-GCM. The plain value is
compressed before. The Redis key and the field are authenticated as its context: a moved value cannot be decrypted.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import ConfigurationError, EncryptionKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: The first byte of each encrypted value. No other value begins with it: frames have other version bytes, and all other
#: values are text.
ENCRYPTED_PREFIX: Final = b"\x02"
_ID, _NONCE, _TAG = 4, 12, 16
_HEAD: Final = len(ENCRYPTED_PREFIX) + _ID + _NONCE
_VARIABLE: Final = "SCRAPE_DO_ENCRYPTION_KEY"


class Encryptor:
    """The ciphers of a process: the first key encrypts, any of the keys decrypts.

    The repr shows no key.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
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

    def __repr__(self) -> str:
        return f"Encryptor({', '.join(self.key_names)})"

    @property
    def key_names(self) -> list[str]:
        """The names of the keys, first the key that encrypts. A name does not reveal its key."""
        return [one.hex() for one in self._ciphers]

    def encrypt(self, value: bytes, context: str) -> bytes:
        """Encrypt a value for this context."""
        nonce = os.urandom(_NONCE)
        return (
            ENCRYPTED_PREFIX + self._first + nonce + self._ciphers[self._first].encrypt(nonce, value, context.encode())
        )

    def decrypt(self, value: bytes, context: str) -> bytes:
        """Decrypt a value that was encrypted for this context.

        Raises:
            EncryptionKeyError: If this process lacks the key, or the value was changed or moved.
        """
        name, nonce = value[1 : 1 + _ID], value[1 + _ID : _HEAD]
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise missing_key_error(name.hex(), self.key_names)
        try:
            return cipher.decrypt(nonce, value[_HEAD:], context.encode())
        except (self._invalid, ValueError):
            raise EncryptionKeyError(
                f"a value of the store does not match its encryption with key {name.hex()}: the value was changed or "
                "moved"
            ) from None


class PrivateValues:
    """The private values of a store, as a process encrypts and decrypts them. Without an encryptor they stay plain."""

    __slots__ = ()

    @property
    def encryptor(self) -> Encryptor | None:
        """The ciphers of this process; None without a key."""
        return None

    @property
    def key_names(self) -> list[str]:
        """The names of the encryption keys of this process, first the key that encrypts."""
        return [] if self.encryptor is None else self.encryptor.key_names

    def encrypt(self, key: str, name: str, value: bytes) -> bytes:
        """Return a private value in the form that is stored in the field `name` of `key`."""
        return value if self.encryptor is None else self.encryptor.encrypt(value, f"{key} {name}")

    def encrypt_text(self, key: str, name: str, text: str) -> bytes | str:
        """Encrypt a text like `encrypt`. An empty text stays empty, because scripts test for it."""
        return self.encrypt(key, name, text.encode()) if text and self.encryptor is not None else text

    def decrypt(self, key: str, name: str, value: bytes) -> bytes:
        """Return the plain form of a value of the field `name` of `key`, encrypted or not.

        Raises:
            EncryptionKeyError: If the value is encrypted, and this process cannot decrypt it.
        """
        if value[:1] != ENCRYPTED_PREFIX:
            return value
        if self.encryptor is None:
            raise missing_key_error(key_name_of(value))
        return self.encryptor.decrypt(value, f"{key} {name}")


def encryption_key_name(keys: PrivateValues) -> str:
    """Return the name of the key that encrypts; empty if this process has no key."""
    return keys.key_names[0] if keys.key_names else ""


def key_name_of(value: bytes) -> str:
    """Return the name of the key that a value was encrypted with."""
    return value[1 : 1 + _ID].hex()


def missing_key_error(name: str, key_names: Sequence[str] = ()) -> EncryptionKeyError:
    """Return the error of a process that lacks the key `name`. `key_names` are the keys that it has."""
    has = f"has {', '.join(key_names)}" if key_names else "is not set"
    return EncryptionKeyError(
        f"a value of the store is encrypted with key {name}; {_VARIABLE} of this process {has}. Add that key after "
        "the first key; no data is lost"
    )


def _key_id(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=_ID, person=b"scrape-do-key-id").digest()
