"""The base of all commands of the store: values that encode themselves for Redis and decode the reply."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys

T = TypeVar("T")
Value = bytes | str | float | int


def make_nonce() -> str:
    """Return a nonce for a command, by which its script recognizes the command if it is sent twice."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Encoded:
    """A command as Redis takes it: arguments, and the keys of a script. A plain command has its keys in `args`."""

    args: Sequence[Value]
    keys: Sequence[str] = ()

    @property
    def size(self) -> int:
        """The bytes of the binary arguments, such as pages."""
        return sum(len(arg) for arg in self.args if isinstance(arg, bytes))

    def __repr__(self) -> str:
        return f"Encoded({len(self.args)} arguments with {self.size} bytes, keys={list(self.keys)})"


class Command(ABC, Generic[T]):
    """A command of one round trip. Each subclass is a frozen dataclass whose fields are the command's arguments.

    A command does no I/O: `Store.run` and `AsyncStore.run` pass their keys and carry it out. A command may be sent
    twice without harm.
    """

    __slots__ = ()
    #: The script that carries the command out. If empty, `args` is a plain command of Redis.
    script: ClassVar[str] = ""

    @abstractmethod
    def encode(self, keys: Keys) -> Encoded:
        """Return the arguments of the command, under these keys."""

    @abstractmethod
    def decode(self, keys: Keys, reply: Any) -> T:
        """Return the result of the command from the reply of Redis."""
