"""The slots and the credits of an account: when a task may begin, and what has been charged."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrape_do_sandbox.jobs import Task
    from scrape_do_sandbox.options import SandboxOptions


class SlotPool:
    """The account's concurrency, as a heap of the times at which busy slots become free."""

    def __init__(self, options: SandboxOptions) -> None:
        self._options = options
        self._ends: list[float] = []

    def reserve_slot(self, ready: float, length: float) -> tuple[float, float]:
        """Reserve a slot from `ready` or later; return the start and end of the work.

        `ready` and the returned times are seconds since 1970. The work occupies its slot for `length` seconds.
        """
        start = ready
        while len(self._ends) >= self._options.concurrency:
            start = max(ready, heapq.heappop(self._ends))
        heapq.heappush(self._ends, start + length)
        return start, start + length

    def count_busy(self, now: float) -> int:
        """Return the number of slots in use at `now`."""
        return sum(end > now for end in self._ends)

    def free_slots(self, ends: set[float]) -> None:
        """Free the slots of canceled work; `ends` are its planned ends."""
        self._ends = [end for end in self._ends if end not in ends]
        heapq.heapify(self._ends)


class CreditLedger:
    """The credits of an account. Tasks are charged in the order of their ends, and only when the balance is read."""

    def __init__(self, options: SandboxOptions) -> None:
        self._options = options
        self._coming: list[tuple[float, int, Task]] = []
        self._count = 0
        self.spent = 0

    def expect_task(self, task: Task) -> None:
        """Remember `task`, which is charged when it ends in `success`."""
        self._count += 1
        heapq.heappush(self._coming, (task.end, self._count, task))

    def remaining(self, now: float) -> int:
        """Charge the tasks that have ended by `now`, and return the credits that are left."""
        while self._coming and self._coming[0][0] <= now:
            task = heapq.heappop(self._coming)[2]
            if task.status(now) == "success":
                self.spent += task.cost
            task.remaining = self._options.credits - self.spent
        return self._options.credits - self.spent
