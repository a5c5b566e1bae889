"""A clock for waits: hours of the sandbox, the store and the worker pass in a moment of the test."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from scrape_do_celery.runs import AppContext
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.testing.upcoming import UpcomingEvents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.testing.environment import SandboxEnvironment
    from scrape_do_celery.testing.worker import Worker

#: Seconds of the test's time that the worker may take to finish all due work.
_TIMEOUT = 30.0
#: Seconds between two checks whether the worker has finished.
_CHECK_INTERVAL = 0.005
#: A move halts at each of the first `_EACH` due times. After these, work that is due within a `_PARTS`-th of the move
#: is done together, except for deadlines and ends of jobs.
_EACH, _PARTS = 30, 100


class Clock:
    """The time of the sandbox, the store and the worker. The clock runs by itself and can be moved forward.

    `time.time()` does not follow this clock, nor does the API's client: a request takes its real time.
    """

    def __init__(self, environment: SandboxEnvironment) -> None:
        self._environment = environment
        self._upcoming = UpcomingEvents(AppContext.for_app(environment.app).store, environment.servers.sandbox)

    def now(self) -> datetime:
        """Return the store's present time, in UTC."""
        return datetime.fromtimestamp(self._environment.servers.clock.store_time(), UTC)

    def forward(self, by: float | timedelta) -> None:
        """Move the time forward, and return when all work that is due by then is done.

        The clock halts at each due time on the way and lets the worker do the work. A run whose `max_wait` ends before
        its job is therefore timed out, as in production. Polls of running jobs are skipped while nothing changes at
        Scrape.do.

        The pages of jobs that have ended by then are fetched. For this, the clock goes on to the next poll, up to
        `poll_max_interval` seconds further than requested.

        Args:
            by: Seconds, or a `timedelta`; finite and not negative.

        Raises:
            ValueError: If `by` is negative or not finite.
            TimeoutError: If the worker does not finish the due work within 30 seconds of the test's time.
        """
        way, halts = _seconds(by), 0
        if self._environment.worker is None:
            self._move(way)
            return
        left = way
        while left > 0:
            halts += 1
            with self._idle(self._environment.worker):
                step = min(left, self._upcoming.next(least=way / _PARTS if halts > _EACH else 0.0))
                self._move(step)
            left -= step
        self._collect(self._environment.worker)

    def wait_until_idle(self) -> None:
        """Wait until the worker has done all work that is due now. Without a worker, return at once.

        Raises:
            TimeoutError: If the worker does not finish within 30 seconds of the test's time.
        """
        if self._environment.worker is not None:
            with self._idle(self._environment.worker):
                pass

    @contextmanager
    def _idle(self, worker: Worker) -> Iterator[None]:
        """Wait until no work is left; in this context, the worker starts no new work."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            with worker.paused():
                if worker.is_quiet():
                    yield
                    return
            if time.monotonic() > deadline:
                names = ", ".join(worker.messages.names) or "no message, but a part that is due again and again"
                raise TimeoutError(f"still at work after {_TIMEOUT:g} s: {names}")
            time.sleep(_CHECK_INTERVAL)

    def _collect(self, worker: Worker) -> None:
        left, step = self._environment.settings.poll_max_interval, 0.0
        while step <= left:
            with self._idle(worker):
                step = self._upcoming.next_poll()
                if step <= left:
                    self._move(step)
            left -= step

    def _move(self, seconds: float) -> None:
        servers, settings = self._environment.servers, self._environment.settings
        servers.sandbox.advance(seconds)
        servers.clock.age_keys(settings.key_prefix, seconds)
        servers.clock.advance_watched(settings.key_prefix, seconds)
        servers.clock.set(servers.clock.ahead + seconds)
        for app in list(WorkerContext.apps()):
            WorkerContext.for_app(app).wake_loop()


def _seconds(by: float | timedelta) -> float:
    seconds = by.total_seconds() if isinstance(by, timedelta) else float(by)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"advance the time by a finite number of seconds from 0 on, not by {by!r}")
    return seconds
