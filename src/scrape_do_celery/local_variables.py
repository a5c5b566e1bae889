"""Clear the local variables of frames that an error leaves behind, because error trackers record them by default.

The variables hold the headers, cookies and bodies of requests, in this package and in the libraries below it. Each
public function that takes a request clears them if it raises. The frames keep their names and lines.
"""

from __future__ import annotations

import dis
import traceback
from contextlib import suppress
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Final, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

P = ParamSpec("P")
T = TypeVar("T")

_YIELD: Final = dis.opmap["YIELD_VALUE"]


def clear_locals(error: BaseException) -> None:
    """Clear the local variables of all frames of an error and of its causes. Frames that still run keep theirs."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        _clear_frames(one.__traceback__)
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


def _clear_frames(found: TracebackType | None) -> None:
    for frame, _ in traceback.walk_tb(found):
        if not _is_suspended(frame):
            with suppress(RuntimeError):  # the frame still runs
                frame.clear()


def _is_suspended(frame: FrameType) -> bool:
    """Return whether a coroutine or generator waits in a frame. Before Python 3.13, to clear the frame would end it.

    Two tasks may get one error, such as of a future that both await. One of them may wait in its `except` block.
    """
    return frame.f_lasti >= 0 and frame.f_code.co_code[frame.f_lasti] == _YIELD


def without_locals(function: Callable[P, T]) -> Callable[P, T]:
    """Return the function. If it raises, it leaves no local variables behind, and not its arguments either."""
    if iscoroutinefunction(function):

        @wraps(function)
        async def call_async(*args: Any, **kwargs: Any) -> Any:
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                del args, kwargs
                clear_locals(error)
                raise

        return cast("Callable[P, T]", call_async)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except BaseException as error:
            del args, kwargs
            clear_locals(error)
            raise

    return call
