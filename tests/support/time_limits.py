"""Limit the time of a call in a test. A loaded machine may be the reason, so `make` plays such a test again."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


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


@contextmanager
def limit_time(limit: float, hint: str = "") -> Iterator[None]:
    """Raise as `check_time` does, unless the block ends within `limit` seconds."""
    began = time.monotonic()
    yield
    check_time(time.monotonic() - began, limit, hint)
