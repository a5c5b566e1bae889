"""Limit the time of calls and waits in tests. A loaded machine may be the reason, so `make` plays such a test again."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")


def check_time(seconds: float, limit: float, hint: str = "") -> None:
    """Raise unless something took less than its limit.

    Args:
        seconds: Measured time.
        limit: Most seconds that are right.
        hint: Call that was measured, or the reason of the limit.

    Raises:
        TimeoutError: The time is not below the limit. `make` plays a test with this error once more.
    """
    if seconds >= limit:
        raise TimeoutError(f"took {seconds:.2f} s, and not less than {limit} s. {hint}".rstrip())


def wait_for_answer(look: Callable[[], T], good: Callable[[T], Any], seconds: float = 15.0) -> T:
    """Return the first answer of `look` that `good` accepts.

    Raises:
        TimeoutError: No answer was good within `seconds`. The error shows the last answer.
    """
    deadline = time.monotonic() + seconds
    while not good(found := look()):
        if time.monotonic() > deadline:
            raise TimeoutError(found)
        time.sleep(0.01)
    return found


@contextmanager
def limit_time(limit: float, hint: str = "") -> Iterator[None]:
    """Raise as `check_time` does, unless the block ends within `limit` seconds."""
    began = time.monotonic()
    yield
    check_time(time.monotonic() - began, limit, hint)
