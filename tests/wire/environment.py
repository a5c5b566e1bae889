"""The environment of all plays of one process: a store with a movable clock, one loop, the lab's API, a Celery app."""

from __future__ import annotations

import itertools
import logging
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import redis

import scrape_do_celery.tasks  # noqa: F401 (registers the steps)
from scrape_do_celery import embedded
from scrape_do_celery.config import Settings
from scrape_do_celery.runs import AppContext, make_app
from scrape_do_celery.runs.timing import ProcessTiming
from scrape_do_celery.steps import context
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.loop import LoopThread
from scrape_do_celery.store.commands import polling
from scrape_do_celery.testing.clock_offset import ClockOffset
from scrape_do_celery.worker.dispatcher import Dispatcher
from tests.wire.server import Server

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from celery import Celery

TOKEN = "token-that-must-not-be-seen"
#: The key prefix of each run.
_PREFIX = "w"
#: Long intervals: a wait of three days is some eighty polls.
LAB_SETTINGS: dict[str, Any] = {
    "broker_url": "memory://",
    "result_backend": "cache+memory://",
    "poll_initial_interval": 5.0,
    "poll_multiplier": 6.0,
    "poll_max_interval": 3600.0,
    "poll_jitter": False,
    "submit_deadline": 20.0,
    "submit_visibility_grace": 1200.0,
    "request_timeout": 20.0,
    "max_page_bytes": 1_000_000,
}
#: Make every key that expires older by ARGV[1] milliseconds.
_AGE_KEYS = """
for _, key in ipairs(redis.call('KEYS', '*')) do
  local left = redis.call('PTTL', key)
  if left >= 0 and key ~= ARGV[2] then
    if left <= tonumber(ARGV[1]) then redis.call('DEL', key) else redis.call('PEXPIRE', key, left - ARGV[1]) end
  end
end
"""


def _backoff(_: WorkerContext, tries: int) -> float:
    """Slow the search for a job in doubt down, so that three days of it are played soon."""
    return min(1200.0, 4.0**tries)


class _SharedLoop:
    """A stand-in for a worker context's own loop: all contexts of the lab, and the API, share one loop."""

    thread: LoopThread

    def __init__(self, _: object) -> None:
        pass

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.thread.run(work)

    def close(self) -> None:
        """Leave the loop open for the next context."""


class ErrorLog(logging.Handler):
    """The log of a play: errors that escaped a step, and texts that hold the token."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.escaped_errors: list[str] = []
        self.token_leaks: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.levelno >= logging.ERROR and record.exc_info[1] is not None:
            error = record.exc_info[1]
            self.escaped_errors.append(f"{type(error).__name__}: {error}"[:200])
        if TOKEN in record.getMessage():
            self.token_leaks.append(record.getMessage()[:200])


class _QuietDispatcher(Dispatcher):
    """A dispatcher that asks no result backend."""

    def _ask_celery(self, *_: Any) -> None:
        pass


class RunEnvironment:
    """The objects of one run: settings, an app context with caught messages, a worker context, the dispatcher."""

    def __init__(self, environment: LabEnvironment, settings: Settings) -> None:
        self.environment, self.settings = environment, settings
        clock = environment.clock
        self.app_context = AppContext(environment.app, settings, ProcessTiming(clock.key, clock.loop_time))
        self.messages: list[tuple[str, list[str]]] = []
        self.app_context.publish = self._publish  # type: ignore[method-assign]
        environment.app.__dict__["scrape_do_app_context"] = self.app_context
        self.context = environment.app.__dict__["scrape_do_worker_context"] = WorkerContext.open(self.app_context)
        self.dispatcher = _QuietDispatcher(self.app_context)

    def _publish(self, step: str, names: Any, **_: Any) -> bool:
        self.messages.append((step, [str(name) for name in names]))
        return True

    def close(self) -> None:
        """Close connections."""
        del (
            self.environment.app.__dict__["scrape_do_worker_context"],
            self.environment.app.__dict__["scrape_do_app_context"],
        )
        self.context.asking.join() if self.context.asking.ident else None
        self.context.close()
        self.app_context.store.close()


class LabEnvironment:
    """The shared objects. Use `lab_environment()` to make them."""

    def __init__(self, redis_url: str, clock: ClockOffset, server: Server, app: Celery) -> None:
        self.redis_url, self.clock, self.server, self.app = redis_url, clock, server, app
        self.client = redis.Redis.from_url(redis_url)
        self._age_keys = self.client.register_script(_AGE_KEYS)
        self._numbers = itertools.count(1)
        self.errors = ErrorLog()

    def now(self) -> float:
        """Return the virtual time in epoch seconds."""
        return time.time() + self.clock.ahead

    def advance_clock(self, seconds: float) -> None:
        """Advance the store, the loop and the API."""
        ms = int(seconds * 1000) + 1
        self._age_keys(args=[ms, self.clock.key])
        self.clock.advance_watched(_PREFIX, seconds)
        self.clock.set(self.clock.ahead + seconds)
        _SharedLoop.thread.wake()

    @contextmanager
    def prepare_run(self, *, by_list: bool = False, **given: Any) -> Iterator[RunEnvironment]:
        """Provide an empty store and the objects of one run. With `by_list` even a single job is polled by the list."""
        self.client.flushdb()
        self.clock.set(0.0)
        self.errors.escaped_errors.clear()
        self.errors.token_leaks.clear()
        values = {
            **LAB_SETTINGS,
            "redis_url": self.redis_url,
            "api_url": self.server.url,
            "api_key": TOKEN,
            "key_prefix": _PREFIX,
            **given,
        }
        with ExitStack() as stack:
            if by_list:
                stack.enter_context(patch.object(polling, "ONE_BY_ONE", 0))
                stack.enter_context(patch.object(polling, "ODD_PAGES", -5))
            one = RunEnvironment(self, Settings(**values))
            stack.callback(one.close)
            yield one


@contextmanager
def lab_environment() -> Iterator[LabEnvironment]:
    """Provide the environment of this process until the end of the block."""
    memory = Path("/dev/shm")
    server = Server()
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None))
        store = stack.enter_context(embedded.ensure(Path(folder), tie_to_parent=True))
        clock = ClockOffset(store.url)
        stack.callback(clock.close)
        loop = _SharedLoop.thread = LoopThread(clock.loop_time)
        stack.callback(loop.close)
        stack.enter_context(patch.object(context, "LoopThread", _SharedLoop))
        stack.enter_context(patch.object(WorkerContext, "backoff", _backoff))
        loop.run(server.start())
        app = make_app(Settings(**LAB_SETTINGS, redis_url=store.url, api_key=TOKEN, api_url=server.url), "wire")
        app.finalize()
        environment = LabEnvironment(store.url, clock, server, app)
        log = logging.getLogger("scrape_do_celery")
        level, spreads = log.level, log.propagate
        log.addHandler(environment.errors)
        log.setLevel(logging.INFO)
        log.propagate = False
        try:
            yield environment
        finally:
            log.removeHandler(environment.errors)
            log.setLevel(level)
            log.propagate = spreads
            loop.run(server.stop())
            environment.client.close()
            app.close()
