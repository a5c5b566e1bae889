from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrape_do_celery.sandbox.jobs import Task
    from scrape_do_celery.sandbox.options import Options


class SlotPool:
    """The account's concurrency: when each busy slot will be free, as a heap."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._ends: list[float] = []

    def reserve(self, ready: float, length: float) -> tuple[float, float]:
        """Start and end of a piece of work that may start at ``ready`` and needs one slot."""
        start = ready
        while len(self._ends) >= self._options.concurrency:
            start = max(ready, heapq.heappop(self._ends))
        heapq.heappush(self._ends, start + length)
        return start, start + length

    def busy(self, now: float) -> int:
        """Slots in use."""
        return sum(end > now for end in self._ends)

    def release(self, ends: set[float]) -> None:
        """Frees the slots of work that was canceled."""
        self._ends = [end for end in self._ends if end not in ends]
        heapq.heapify(self._ends)


class Ledger:
    """Credits, charged in the order in which tasks end, and only when somebody looks."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._coming: list[tuple[float, int, Task]] = []
        self._count = 0
        self.spent = 0

    def expect(self, task: Task) -> None:
        """Will charge for ``task`` at its end, if that is a success."""
        self._count += 1
        heapq.heappush(self._coming, (task.end, self._count, task))

    def remaining(self, now: float) -> int:
        """Credits left at ``now``."""
        while self._coming and self._coming[0][0] <= now:
            task = heapq.heappop(self._coming)[2]
            if task.status(now) == "success":
                self.spent += task.cost
            task.remaining = self._options.credits - self.spent
        return self._options.credits - self.spent
