"""Start, query and stop worker processes of Celery. The processes are stopped after any error."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from celery import Celery

from benchmarks import measure

if TYPE_CHECKING:
    from collections.abc import Mapping

_ROOT = Path(__file__).parents[1]
_READY, _STOP = 90.0, 40.0


@dataclass(frozen=True, slots=True)
class Pool:
    """A pool of Celery and its size."""

    kind: str
    size: int

    def __str__(self) -> str:
        return f"{self.kind}:{self.size}"

    @classmethod
    def parse(cls, text: str) -> Pool:
        """Parse a text such as `threads:4`, or `threads` with its usual size."""
        kind, _, size = text.partition(":")
        return cls(kind, int(size or _USUAL[kind]))


_USUAL = {"prefork": 2, "threads": 4, "gevent": 20, "solo": 1}
#: The pool that this package documents as its default.
DEFAULT_POOL = Pool("threads", 4)
#: Worker processes of each contender.
WORKERS = 2


class WorkerDiedError(Exception):
    """A worker ended or did not get ready. The message has the end of its log."""


class Workers(AbstractContextManager["Workers"]):
    """The worker processes of one application, ready while the context lasts."""

    def __init__(self, app: str, broker: str, pool: Pool, environment: Mapping[str, str], folder: Path) -> None:
        self._app, self._broker, self._pool = app, broker, pool
        self._environment, self._folder = environment, folder
        self._processes: list[subprocess.Popen[bytes]] = []
        self._log = folder / f"{app}.log"

    def __enter__(self) -> Self:
        names = [f"{self._app}-{number}@bench" for number in range(WORKERS)]
        try:
            for name in names:
                self._start(name)
            self._until_ready(names)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pids(self) -> list[int]:
        """The id of each worker's main process."""
        return [process.pid for process in self._processes]

    def rss(self) -> dict[int, int]:
        """Return the resident bytes of each process; children are separate entries."""
        return measure.rss(measure.family(self.pids))

    def peaks(self) -> dict[int, int]:
        """Return the peak of each process's resident bytes since its start; children are separate entries."""
        return {process.pid: measure.peak_rss(process.pid) for process in measure.family(self.pids)}

    def cpu(self) -> float:
        """Return the CPU seconds of all processes since their start."""
        return measure.cpu_seconds(measure.family(self.pids))

    def check(self) -> None:
        """Raise WorkerDiedError if a worker has ended."""
        for process in self._processes:
            if process.poll() is not None:
                raise WorkerDiedError(f"{self._app} ended with {process.returncode}:\n{self.last_words()}")

    def last_words(self) -> str:
        """Return the end of the workers' log."""
        return self._log.read_text(errors="replace")[-3_000:] if self._log.exists() else ""

    def stop(self, *, at_once: bool = False) -> None:
        """Stop all workers; with `at_once`, do not wait for running tasks."""
        for process in self._processes if not at_once else ():
            process.terminate()
        deadline = time.monotonic() + (0 if at_once else _STOP)
        for process in self._processes:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            # Kill the whole session, because children of a dead main process must not remain.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._processes.clear()

    def _start(self, name: str) -> None:
        pool = ["-P", self._pool.kind, "-c", str(self._pool.size)]
        command = [sys.executable, "-m", "celery", "-A", self._app, "worker", *pool, "-n", name]
        paths = filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])
        environment = {**os.environ, **self._environment, "PYTHONPATH": os.pathsep.join(paths)}
        with self._log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603
                command, env=environment, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        self._processes.append(process)

    def _until_ready(self, names: list[str]) -> None:
        """Wait until each worker answers."""
        with Celery(set_as_current=False, broker=self._broker) as asker:

            def ready() -> bool:
                self.check()
                found = asker.control.ping(destination=names, timeout=1.0, limit=len(names))
                return {name for answer in found for name in answer} == set(names)

            try:
                measure.until(ready, _READY, f"{self._app} to be ready")
            except measure.TookTooLongError as error:
                raise WorkerDiedError(f"{error}:\n{self.last_words()}") from None
