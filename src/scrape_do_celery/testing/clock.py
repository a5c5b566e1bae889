"""A clock for waits: hours of the sandbox, the store and the worker in a moment of the test."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from scrape_do_celery.runs import AppContext
from scrape_do_celery.runtime import WorkerContext
from scrape_do_celery.testing.upcoming import UpcomingEvents

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import Callable, Iterator

    from scrape_do_celery.testing.environment import SandboxEnvironment
    from scrape_do_celery.testing.worker import Worker

#: Seconds that the worker may take to do what is due.
_TIMEOUT = 30.0
#: Seconds between two looks whether it has.
_CHECK_INTERVAL = 0.005
#: Halts of one way that are made at every moment at which something is due. Behind them, what is due within one part in
#: so many of the way is done together, but for deadlines and the ends of jobs.
_EACH, _PARTS = 30, 100


class Clock:
    """The time of the sandbox, of the store and of the worker, which goes by itself and can be moved on.

    It is not the time of `time.time()`, nor that of the API's client: a request takes as long as it takes.
    """

    def __init__(self, environment: SandboxEnvironment) -> None:
        self._environment = environment
        self._upcoming = UpcomingEvents(AppContext.for_app(environment.app).store, environment.servers.sandbox)

    def now(self) -> datetime:
        """The present time of the store, in UTC."""
        return datetime.fromtimestamp(self._environment.servers.clock.now(), UTC)

    def forward(self, by: float | timedelta) -> None:
        """Moves the time on, by seconds or a `timedelta`. When it returns, all that was due by then is done.

        It halts where something is due on the way, and lets the worker do it: a run whose `max_wait` is over before
        its job has ended is timed out, as it would be. Looks at running jobs are left out while nothing changes at
        Scrape.do. Pages of jobs that have ended by then are collected: the clock goes on to the next look for that,
        which may take it `poll_max_interval` further than was said.

        Raises:
            ValueError: the time would go back, or never end.
            TimeoutError: the worker did not get done with what is due, within 30 seconds of the test's time.
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
        """Waits until the worker has done what is due by now. Without a worker, nothing is done.

        Raises:
            TimeoutError: it did not, within 30 seconds of the test's time.
        """
        if self._environment.worker is not None:
            with self._idle(self._environment.worker):
                pass

    @contextmanager
    def _idle(self, worker: Worker) -> Iterator[None]:
        """When nothing is left to be done; in here, nothing begins by itself."""
        deadline = time.monotonic() + _TIMEOUT
        while True:
            with worker.check_lock:
                if worker.is_quiet():
                    yield
                    return
            if time.monotonic() > deadline:
                names = ", ".join(worker.messages.names) or "no message, but work that is due at once again and again"
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
        servers.clock.age(settings.key_prefix, seconds)
        servers.clock.set(servers.clock.ahead + seconds)
        for app in list(WorkerContext.apps()):
            _move_loop(WorkerContext.for_app(app)._loop._loop, seconds)  # noqa: SLF001 (nobody else moves a loop's time)


def _seconds(by: float | timedelta) -> float:
    seconds = by.total_seconds() if isinstance(by, timedelta) else float(by)
    if not 0 <= seconds < math.inf:
        raise ValueError(f"the time goes forward by a finite number of seconds, or not at all: {by!r}")
    return seconds


class _Ahead:
    """The time of a loop, so many seconds ahead."""

    def __init__(self, plain: Callable[[], float]) -> None:
        self._plain, self.seconds = plain, 0.0

    def __call__(self) -> float:
        return self._plain() + self.seconds


def _move_loop(loop: AbstractEventLoop, seconds: float) -> None:
    """Lets all that waits in a loop wait so much less, and all that it remembers be so much older."""
    if not isinstance(loop.time, _Ahead):
        loop.time = _Ahead(loop.time)  # type: ignore[method-assign]
    loop.time.seconds += seconds
    # It may sleep, as long as it would have had to.
    loop.call_soon_threadsafe(_nothing)


def _nothing() -> None:
    """Wakes a loop."""
