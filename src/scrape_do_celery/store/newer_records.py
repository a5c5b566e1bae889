"""Carry out commands of many runs, some of whose records a newer version of this package may have written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from scrape_do_celery.errors import NewerRecordError
from scrape_do_celery.store.command import Command

if TYPE_CHECKING:
    from scrape_do_celery.store.command import Encoded
    from scrape_do_celery.store.keys import Keys

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class UnlessNewer(Command[T | NewerRecordError]):
    """Carry out a command, unless a newer version wrote the record of its run. Then the result is the error.

    So one such run does not keep the other commands of a batch from their results.
    """

    command: Command[T]

    @property
    def script(self) -> str:  # type: ignore[override]
        """The script of the command."""
        return self.command.script

    def encode(self, keys: Keys) -> Encoded:
        """Return the arguments of the command."""
        return self.command.encode(keys)

    def decode(self, keys: Keys, reply: Any) -> T | NewerRecordError:
        """Return the result of the command, or the error."""
        try:
            return self.command.decode(keys, reply)
        except NewerRecordError as error:
            return error
