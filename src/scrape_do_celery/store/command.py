"""The value that describes a command of the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
Value = bytes | str | float | int


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """A command of one round trip: the script, or the Redis command in `args` if there is no script."""

    parse: Callable[[Any], T]
    args: Sequence[Value]
    keys: Sequence[str] = ()
    script: str | None = None
