"""Count API requests, step latencies and pages in a process. The rate limiter sends the counts to the store."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIAuthError,
    AsyncAPIGoneError,
    AsyncAPINotFoundError,
    AsyncAPIRateLimitError,
    AsyncAPIResponseError,
    AsyncAPIServerError,
    ScrapeDoError,
    SubmitInDoubtError,
)
from scrape_do_celery.store.commands.prices import TASK_SECONDS, TIMED_TASKS
from scrape_do_celery.store.commands.stats import LATENCY_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

#: Seconds. The API ends a task long before.
_LONGEST_TASK = 3600.0

_OUTCOMES: tuple[tuple[type[ScrapeDoError], str], ...] = (
    (AsyncAPIRateLimitError, "rate_limited"),
    (AsyncAPIAuthError, "auth"),
    (AsyncAPINotFoundError, "not_found"),
    (AsyncAPIGoneError, "gone"),
    (AsyncAPIServerError, "server_error"),
    (AsyncAPIResponseError, "refused"),
    (APIConnectionError, "no_answer"),
)


def request_status(error: BaseException) -> str | None:
    """Return the class of a request that ended with this error; None if the error does not come from a request."""
    if isinstance(error, asyncio.CancelledError):
        return "abandoned"
    if isinstance(error, SubmitInDoubtError) and error.__cause__ is not None:
        return request_status(error.__cause__)
    found = next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "unreadable")
    return found if isinstance(error, ScrapeDoError) else None


class Counters:
    """The counts of a process, by their names in the store. Use it from one event loop."""

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}

    def add(self, name: str, amount: float = 1) -> None:
        """Add an amount to a counter."""
        self._counts[name] = self._counts.get(name, 0) + amount

    @contextmanager
    def request(self, call: str) -> Iterator[None]:
        """Count a request, and the time that it takes."""
        began = time.monotonic()
        outcome: str | None = "ok"
        try:
            yield
        except BaseException as error:
            outcome = request_status(error)
            raise
        finally:
            if outcome is not None:
                self.add(f"requests:{call}:{outcome}")
                self.add(f"seconds:{call}", round(time.monotonic() - began, 6))

    def step_latency(self, step: str, seconds: float) -> None:
        """Count a step that began `seconds` after its part was due."""
        bucket = next((bound for bound in LATENCY_BUCKETS if seconds <= bound), "inf")
        self.add(f"late:{step}:{bucket}")
        self.add(f"late:{step}:sum", round(seconds, 3))

    def page(self, size: int, until: float) -> None:
        """Count a page of `size` bytes, which expires at about the time `until` of the store's clock."""
        self.add("bytes", size)
        self.add(f"stored:{int(until // 3600)}", size)

    def task(self, duration: timedelta | None) -> None:
        """Count a task that took this time at the API. An implausible time does not count."""
        seconds = 0.0 if duration is None else duration.total_seconds()
        if 0 < seconds <= _LONGEST_TASK:
            self.add(TIMED_TASKS)
            self.add(TASK_SECONDS, round(seconds, 3))

    def drain(self) -> Mapping[str, float]:
        """Return all counts since the last call, and reset them."""
        counts, self._counts = self._counts, {}
        return counts

    def restore(self, counts: Mapping[str, float]) -> None:
        """Add counts again that `drain` returned and that did not reach the store."""
        for name, amount in counts.items():
            self.add(name, amount)
