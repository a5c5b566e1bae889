"""Encryption at rest: what of the store tells of requests and pages, sealed with a key of the settings.

A sealed value is a version byte, the first bytes of the key's name, a nonce, and what AES-256-GCM made of the value,
which was compressed before. Its place in the store is part of the seal: a value that was moved cannot be opened.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import ConfigurationError, EncryptionKeyError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: No value that is not sealed begins with it: frames have other version bytes, all else is text.
SEALED: Final = b"\x02"
_ID, _NONCE, _TAG = 4, 12, 16
_HEAD: Final = len(SEALED) + _ID + _NONCE
_VARIABLE: Final = "SCRAPE_DO_ENCRYPTION_KEY"


class Vault:
    """Seals with the first key, opens with any of them. Its repr shows no key."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise ConfigurationError(
                f"{_VARIABLE} is set, and the package that encrypts is not installed: "
                "pip install 'scrape-do-celery[encryption]'"
            ) from None
        self._invalid = InvalidTag
        self._ciphers = {_id_of(key): AESGCM(key) for key in keys}
        self._first = next(iter(self._ciphers))

    def __repr__(self) -> str:
        return f"Vault({', '.join(self.ids)})"

    @property
    def ids(self) -> list[str]:
        """The names of its keys, the one that seals ahead. A name does not tell its key."""
        return [one.hex() for one in self._ciphers]

    def seal(self, value: bytes, place: str) -> bytes:
        """The value, sealed for this place."""
        nonce = os.urandom(_NONCE)
        return SEALED + self._first + nonce + self._ciphers[self._first].encrypt(nonce, value, place.encode())

    def open(self, value: bytes, place: str) -> bytes:
        """What was sealed for this place.

        Raises:
            EncryptionKeyError: its key is not here; or it was changed, or moved.
        """
        name, nonce = value[1 : 1 + _ID], value[1 + _ID : _HEAD]
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise unreadable(name.hex(), self.ids)
        try:
            return cipher.decrypt(nonce, value[_HEAD:], place.encode())
        except (self._invalid, ValueError):
            raise EncryptionKeyError(
                f"a value of the store is not what was sealed there with key {name.hex()}: it was changed, or moved"
            ) from None


def key_of(value: bytes) -> str:
    """The name of the key that a value was sealed with."""
    return value[1 : 1 + _ID].hex()


def unreadable(name: str, held: Sequence[str] = ()) -> EncryptionKeyError:
    """The error of whoever lacks a key."""
    has = f"has {', '.join(held)}" if held else "is not set"
    return EncryptionKeyError(
        f"a value of the store is encrypted with key {name}; {_VARIABLE} of this process {has}. Add that key, behind "
        "the first one: nothing is lost"
    )


def _id_of(key: bytes) -> bytes:
    return hashlib.blake2b(key, digest_size=_ID, person=b"scrape-do-key-id").digest()
