from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ZERO_TIME = "0001-01-01T00:00:00Z"


class Clock:
    """A clock in seconds since 1970 that can be advanced by hand."""

    def __init__(self, source: Callable[[], float] = time.time) -> None:
        self._source = source
        self.offset = 0.0

    def now(self) -> float:
        """Return the sandbox's present time."""
        return self._source() + self.offset

    def advance(self, seconds: float) -> None:
        """Move the clock forward; tasks, expiry and late jobs follow it."""
        self.offset += seconds


def stamp(moment: float) -> str:
    """Format a time as RFC 3339 in UTC with milliseconds."""
    whole = int(moment)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(whole))}.{int((moment - whole) * 1000):03d}Z"


def moment(text: str) -> float:
    """Parse an RFC 3339 text into seconds since 1970; a text without a zone is UTC.

    Raises:
        ValueError: If the text is not a time.
    """
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
