"""The shape of an operation on the store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
Value = bytes | str | float | int


@dataclass(frozen=True, slots=True)
class Op(Generic[T]):
    """One round trip. Without a script, `args` is the command."""

    parse: Callable[[Any], T]
    args: Sequence[Value]
    keys: Sequence[str] = ()
    script: str | None = None
