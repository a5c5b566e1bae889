from __future__ import annotations

import asyncio
import heapq
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_sandbox.clock import Clock

_LONGEST = 60.0


class Timers:
    """Actions and the times of the sandbox's clock at which they run. A single coroutine sleeps for all of them."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = count()
        self._wakeup = asyncio.Event()

    def call_at(self, when: float, action: Callable[[], None]) -> None:
        """Schedule `action` for the time `when`."""
        heapq.heappush(self._heap, (when, next(self._ticket), action))
        if self._heap[0][0] == when:
            self._wakeup.set()

    def wake(self) -> None:
        """Read the clock again after it was moved."""
        self._wakeup.set()

    def clear(self) -> None:
        """Drop all scheduled actions."""
        self._heap.clear()

    async def run(self) -> None:
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
