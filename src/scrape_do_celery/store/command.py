"""A command of the store as a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
Value = bytes | str | float | int


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One round trip: a script, or without one the Redis command in `args`."""

    parse: Callable[[Any], T]
    args: Sequence[Value]
    keys: Sequence[str] = ()
    script: str | None = None
