"""What a process counts by itself: requests to the API, and how late steps began. The store gets it with the budget."""

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
from scrape_do_celery.store.counting import LATENCY_BUCKETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

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
    """The class of a request that ended with this error; None where none was made, as far as it tells."""
    if isinstance(error, asyncio.CancelledError):
        return "abandoned"
    if isinstance(error, SubmitInDoubtError) and error.__cause__ is not None:
        return request_status(error.__cause__)
    found = next((name for kind, name in _OUTCOMES if isinstance(error, kind)), "unreadable")
    return found if isinstance(error, ScrapeDoError) else None


class Counters:
    """Counts, by the names that they have in the store. For one event loop."""

    def __init__(self) -> None:
        self._counts: dict[str, float] = {}

    def add(self, name: str, amount: float = 1) -> None:
        """Counts so much more of something."""
        self._counts[name] = self._counts.get(name, 0) + amount

    @contextmanager
    def request(self, call: str) -> Iterator[None]:
        """Counts a request, and the time that it takes."""
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
        """Counts a step, by how long after it was due it began."""
        bucket = next((bound for bound in LATENCY_BUCKETS if seconds <= bound), "inf")
        self.add(f"late:{step}:{bucket}")
        self.add(f"late:{step}:sum", round(seconds, 3))

    def page(self, size: int, until: float) -> None:
        """Counts a page of so many bytes, which is kept for about so long."""
        self.add("bytes", size)
        self.add(f"stored:{int(until // 3600)}", size)

    def drain(self) -> Mapping[str, float]:
        """All that was counted since the last time."""
        counts, self._counts = self._counts, {}
        return counts

    def restore(self, counts: Mapping[str, float]) -> None:
        """What was taken, and did not arrive."""
        for name, amount in counts.items():
            self.add(name, amount)
