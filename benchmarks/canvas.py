"""The canvas as a contender: its server, its workers, and a caller that waits."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Self

from celery import Celery, chain, signature
from celery.exceptions import CeleryError

from benchmarks import measure
from benchmarks.servers import RedisServer
from benchmarks.workers import Pool, Workers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from celery.canvas import Signature

#: The pool that its authors would choose, because fetches wait for the network.
POOL = Pool("threads", 8)
_TIMEOUT = 900.0
_STATES = {b'{"status": "SUCCESS"': True, b'{"status": "FAILURE"': False}
_HEAD = len(b'{"status": "SUCCESS"')


class Canvas(AbstractContextManager["Canvas"]):
    """The obvious canvas, with workers that run while the context lasts."""

    def __init__(self, api_url: str, folder: Path) -> None:
        self._api_url, self._folder = api_url, folder
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self.server = stack.enter_context(RedisServer(self._folder / "canvas", "everysec"))
            environment = {
                "CANVAS_BROKER": self.server.url(1),
                "CANVAS_RESULTS": self.server.url(2),
                "CANVAS_API_URL": self._api_url,
                "CANVAS_API_KEY": "benchmark",
            }
            self.workers = stack.enter_context(
                Workers("benchmarks.canvas_app", self.server.url(1), POOL, environment, self._folder)
            )
            self._results = stack.enter_context(self.server.open(2))
            self._caller = stack.enter_context(
                Celery("caller", broker=self.server.url(1), backend=self.server.url(2), set_as_current=False)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self, batches: Sequence[list[str]]) -> float:
        """Return the seconds until the result of each job is in Celery's backend."""
        first, second = (signature(f"canvas.{name}", app=self._caller) for name in ("submit", "poll"))
        return self._timed([chain(first.clone([targets]), second, app=self._caller) for targets in batches], _TIMEOUT)

    def run_blocking(self, batches: Sequence[list[str]], timeout: float) -> float | None:
        """Do the same with one blocking step per job; return None after `timeout` seconds.

        After a timeout, the workers are killed.
        """
        step = signature("canvas.blocking", app=self._caller)
        try:
            return self._timed([step.clone([targets]) for targets in batches], timeout)
        except measure.TookTooLongError:
            self.workers.stop(at_once=True)
            return None

    def _timed(self, signatures: Sequence[Signature], timeout: float) -> float:
        start = time.perf_counter()
        ids = [signature.apply_async().id for signature in signatures]
        measure.until_all(ids, self._ended, timeout, "results of the canvas")
        return time.perf_counter() - start

    def _ended(self, ids: Sequence[str]) -> list[bool]:
        # The head of a result tells its state. Reading a whole result is too slow: a result of B has about 200 MB.
        self.workers.check()
        with self._results.pipeline(transaction=False) as pipe:
            for task_id in ids:
                pipe.getrange(f"celery-task-meta-{task_id}", 0, _HEAD - 1)
            states = [_STATES.get(head) for head in pipe.execute()]
        if False in states:
            raise CeleryError(f"a step of the canvas failed:\n{self.workers.last_words()}")
        return [state is True for state in states]
