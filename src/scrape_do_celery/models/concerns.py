"""Warnings about requests that may be wrong: each is said once per call, at the caller's line."""

from __future__ import annotations

import sys
import warnings
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from .sendable import caller_level

if TYPE_CHECKING:
    from collections.abc import Iterable

    #: The concerns of the outermost call, as keys in the order in which they came up.
    Concerns = dict[str, None]


class RequestWarning(UserWarning):
    """A request may be wrong, by a rule that nothing proves on the server. It is sent as it is."""


class CallerLine(NamedTuple):
    """The line of a caller, and the registry in which Python notes the warnings of this line."""

    filename: str
    number: int
    module: str
    registry: Any

    @classmethod
    def find(cls) -> Self:
        """Find the first line outside this package, pydantic and Celery."""
        frame = sys._getframe(caller_level() - 1)  # noqa: SLF001 (no public way before Python 3.12)
        found = frame.f_globals
        registry = found.setdefault("__warningregistry__", {})
        return cls(frame.f_code.co_filename, frame.f_lineno, found.get("__name__", ""), registry)


_gathered: Final[ContextVar[Concerns | None]] = ContextVar("_gathered", default=None)
_line: Final[ContextVar[CallerLine | None]] = ContextVar("_line", default=None)


class GatheredConcerns:
    """A block whose concerns are said at its end, each once, and not at all if the block raises.

    Inner blocks hand their concerns to the outermost block: a call that checks a thousand requests says a concern once.
    """

    __slots__ = ("_found", "_token")

    def __enter__(self) -> None:
        self._found: Concerns = {}
        self._token = _gathered.set(self._found) if _gathered.get() is None else None

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._token is None:
            return
        _gathered.reset(self._token)
        for text in self._found if kind is None else ():
            _say_concern(text)


class KnownLine:
    """A block that may run in another thread than its caller, and says its concerns at the line of the caller."""

    __slots__ = ("_token", "line")

    def __init__(self, line: CallerLine) -> None:
        self.line = line

    def __enter__(self) -> None:
        self._token = _line.set(self.line)

    def __exit__(self, *_: object) -> None:
        _line.reset(self._token)


def note_concerns(texts: Iterable[str]) -> None:
    """Note concerns about a request. They are said at the end of the outermost block of `GatheredConcerns`."""
    found = _gathered.get()
    for text in texts:
        if found is None:
            _say_concern(text)
        else:
            found[text] = None


def _say_concern(text: str) -> None:
    if (line := _line.get()) is None:
        warnings.warn(text, RequestWarning, stacklevel=caller_level())
    else:
        warnings.warn_explicit(text, RequestWarning, line.filename, line.number, line.module, line.registry)
