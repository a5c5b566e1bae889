"""The package as a contender: its servers, its workers, and a caller that waits."""

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
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from benchmarks.workers import Pool

_TIMEOUT = 3_600.0
_KEY = "benchmark"
#: `enqueue_many`, if this version of the package has the function.
ENQUEUE_MANY = getattr(scrape_do_celery, "enqueue_many", None)


class Ours(AbstractContextManager["Ours"]):
    """The package with its documented settings and a store that writes every change to disk; `working` starts workers.

    Broker and results are databases 1 and 2 of the store's server, as documented. With `apart`, they have servers of
    their own, so that their traffic can be measured.
    """

    def __init__(
        self,
        api_url: str,
        pool: Pool,
        folder: Path,
        *,
        apart: bool,
        settings: Mapping[str, str],
    ) -> None:
        self._api_url, self._pool, self._folder, self._apart = api_url, pool, folder, apart
        self._given = settings
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
                **self._given,
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
        """The settings as variables for other processes."""
        return {f"SCRAPE_DO_{name.upper()}": value for name, value in self.values.items()}

    def working(self) -> Workers:
        """Return the workers, which run while their context lasts."""
        self._workers = Workers(
            "scrape_do_celery.worker", self.broker.url(1), self._pool, self.environment, self._folder
        )
        return self._workers

    def enqueue_all(self, batches: Sequence[list[str]]) -> list[RunHandle]:
        """Enqueue a run for each list of targets, in the way that is documented for many runs."""
        if ENQUEUE_MANY is not None:
            return list(ENQUEUE_MANY(batches, settings=self.settings))
        return [enqueue(targets, settings=self.settings) for targets in batches]

    def run(self, batches: Sequence[list[str]]) -> float:
        """Return the seconds until the result of each run can be read."""
        return self.timed(batches)[0]

    def timed(self, batches: Sequence[list[str]]) -> tuple[float, list[RunHandle]]:
        """Return the seconds until the result of each run can be read, and the runs."""
        start = time.perf_counter()
        handles = self.enqueue_all(batches)
        self.wait(handles)
        return time.perf_counter() - start, handles

    def wait(self, handles: Sequence[RunHandle], timeout: float = _TIMEOUT) -> None:
        """Wait until all runs have ended."""
        measure.until_all([handle.run_id for handle in handles], self._ended, timeout, "runs")

    def _ended(self, run_ids: Sequence[str]) -> list[bool]:
        # If the workers have died, waiting would only end after an hour.
        self._workers.check()
        store = self.app_context.store
        with store.client.pipeline(transaction=False) as pipe:
            for run_id in run_ids:
                pipe.hget(store.keys.run(run_id), "outcome")
            outcomes = pipe.execute()
        if failed := [outcome for outcome in outcomes if outcome not in {None, b"succeeded"}]:
            raise RuntimeError(f"a run ended as {failed[0].decode()}")
        return [outcome is not None for outcome in outcomes]
