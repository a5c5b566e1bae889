"""Clear the local variables of frames that an error leaves behind, because error trackers record them by default.

The variables hold the headers, cookies and bodies of requests, in this package and in the libraries below it. Each
public function that takes a request clears them if it raises. The frames keep their names and lines.
"""

from __future__ import annotations

import traceback
from functools import wraps
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


def clear_locals(error: BaseException) -> None:
    """Clear the local variables of all frames of an error and of its causes. Frames that still run keep theirs."""
    waiting, seen = [error], set[int]()
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        traceback.clear_frames(one.__traceback__)
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        waiting += one.exceptions if isinstance(one, BaseExceptionGroup) else ()


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
