"""This package as a contender: its servers, its workers, and a caller that waits."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Self

import scrape_do_celery
from benchmarks import measure
from benchmarks.servers import RedisServer
from benchmarks.workers import Workers
from scrape_do_celery import RunHandle, Settings, enqueue
from scrape_do_celery.runs import AppContext

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.workers import Pool

_TIMEOUT = 3_600.0
_KEY = "benchmark"
#: `enqueue_many`, where this version of the package has it.
ENQUEUE_MANY = getattr(scrape_do_celery, "enqueue_many", None)


class Ours(AbstractContextManager["Ours"]):
    """The package with its documented settings and its store on disk at every write; workers start with `working`.

    Broker and results are databases 1 and 2 of the store's server, as documented; `apart`, servers of their own, so
    that what they are sent can be told.
    """

    def __init__(self, api_url: str, pool: Pool, folder: Path, *, apart: bool = False) -> None:
        self._api_url, self._pool, self._folder, self._apart = api_url, pool, folder, apart
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = stack.enter_context(RedisServer(self._folder / "store"))
            self.broker = self.results = self.server
            if self._apart:
                self.broker = stack.enter_context(RedisServer(self._folder / "broker"))
                self.results = stack.enter_context(RedisServer(self._folder / "results"))
            self.values = {
                "redis_url": self.server.url(),
                "broker_url": self.broker.url(1),
                "result_backend": self.results.url(2),
                "api_url": self._api_url,
                "api_key": _KEY,
            }
            self.settings = Settings(**self.values)
            self.app_context = AppContext.for_app(settings=self.settings)
            stack.callback(self.app_context.store.close)
            stack.callback(self.app_context.app.close)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def environment(self) -> dict[str, str]:
        """The settings as variables, for other processes."""
        return {f"SCRAPE_DO_{name.upper()}": value for name, value in self.values.items()}

    def working(self) -> Workers:
        """Its workers, at work while that context lasts."""
        self._workers = Workers(
            "scrape_do_celery.worker", self.broker.url(1), self._pool, self.environment, self._folder
        )
        return self._workers

    def enqueue_all(self, batches: Sequence[list[str]]) -> list[RunHandle]:
        """A run for each list of targets, in the way that is documented for many."""
        if ENQUEUE_MANY is not None:
            return list(ENQUEUE_MANY(batches, settings=self.settings))
        return [enqueue(targets, settings=self.settings) for targets in batches]

    def run(self, batches: Sequence[list[str]]) -> float:
        """Seconds until the result of each run can be read."""
        return self.timed(batches)[0]

    def timed(self, batches: Sequence[list[str]]) -> tuple[float, list[RunHandle]]:
        """Seconds until the result of each run can be read, and the runs."""
        start = time.perf_counter()
        handles = self.enqueue_all(batches)
        self.wait(handles)
        return time.perf_counter() - start, handles

    def wait(self, handles: Sequence[RunHandle], timeout: float = _TIMEOUT) -> None:
        """Returns when all runs have ended."""
        measure.until_all([handle.run_id for handle in handles], self._ended, timeout, "runs")

    def _ended(self, run_ids: Sequence[str]) -> list[bool]:
        # Waiting for runs that nobody carries out would end in an hour.
        self._workers.check()
        store = self.app_context.store
        with store.client.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.hget(store.keys.run(run_id), "outcome")
            outcomes = pipe.execute()
        if failed := [outcome for outcome in outcomes if outcome not in {None, b"succeeded"}]:
            raise RuntimeError(f"a run ended as {failed[0].decode()}")
        return [outcome is not None for outcome in outcomes]
