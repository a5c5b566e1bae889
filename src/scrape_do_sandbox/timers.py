"""The clock of the sandbox, its time format, and the actions that wait for it."""

from __future__ import annotations

import asyncio
import heapq
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST = 60.0
ZERO_TIME = "0001-01-01T00:00:00Z"


class SandboxClock:
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


def format_time(moment: float) -> str:
    """Format a time as RFC 3339 in UTC with milliseconds."""
    whole = int(moment)
    return f"{_format_second(whole)}.{int((moment - whole) * 1000):03d}Z"


@lru_cache(maxsize=10_000)
def _format_second(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def parse_time(text: str) -> float:
    """Parse an RFC 3339 text into seconds since 1970; a text without a zone is UTC.

    Raises:
        ValueError: If the text is not a time.
    """
    parsed = datetime.fromisoformat(text)
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()


class Timers:
    """Actions and the times of the sandbox's clock at which they run. A single coroutine sleeps for all of them."""

    def __init__(self, clock: SandboxClock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = count()
        self._wakeup = asyncio.Event()

    def call_at(self, when: float, action: Callable[[], None]) -> None:
        """Schedule `action` for the time `when`."""
        heapq.heappush(self._heap, (when, next(self._ticket), action))
        if self._heap[0][0] == when:
            self._wakeup.set()

    def wake_up(self) -> None:
        """Read the clock again after it was moved."""
        self._wakeup.set()

    def clear(self) -> None:
        """Drop all scheduled actions."""
        self._heap.clear()

    async def run_forever(self) -> None:
        """Run due actions forever."""
        while True:
            self._wakeup.clear()
            pause = self.do_due()
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._wakeup.wait()

    def do_due(self) -> float:
        """Run all due actions; return the seconds until the next, at most 60."""
        while self._heap and self._heap[0][0] <= self._clock.now():
            heapq.heappop(self._heap)[2]()
        return min(_LONGEST, max(0.0, self._heap[0][0] - self._clock.now())) if self._heap else _LONGEST
