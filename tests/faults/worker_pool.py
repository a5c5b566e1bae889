"""The lab's supervisor. A fixed number of workers stays at work, because each dead worker is started again."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_ROOT = Path(__file__).parents[2]
#: A worker that ends sooner than this many seconds is restarted after the delay: something is broken.
_MIN_LIFETIME, _RESTART_DELAY = 0.3, 1.0


@dataclass
class WorkerSlot:
    """A slot for one worker process at a time."""

    number: int
    pool: str
    concurrency: int
    pid: int = 0
    began: float = 0.0
    generation: int = 0
    retired: bool = False


@dataclass
class WorkerPool:
    """Workers that one fork server forks. An entry of `pools` has a form like `threads:4`."""

    folder: Path
    environment: Mapping[str, str]
    pools: Iterable[str]
    slots: list[WorkerSlot] = field(default_factory=list)
    worker_starts: int = 0

    def start(self) -> None:
        """Start every worker and wait until it is ready."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "fork_server.log").open("ab") as log:
            self._fork_server = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.fork_server"],
                cwd=_ROOT,
                env={**os.environ, **self.environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
        self._text, self._waiting = b"", []
        line = self._fork_server.stdout.readline()
        if not line:
            raise RuntimeError(f"the fork server did not start: {(self.folder / 'fork_server.log').read_text()}")
        os.set_blocking(self._fork_server.stdout.fileno(), False)
        for entry in self.pools:
            pool, _, size = entry.partition(":")
            self.slots.append(WorkerSlot(len(self.slots), pool, int(size)))
            self._spawn(self.slots[-1])
        self._wait_ready(30.0)

    def _spawn(self, slot: WorkerSlot) -> None:
        slot.generation += 1
        self.worker_starts += 1
        argv = ["worker", "-P", slot.pool, "-c", str(slot.concurrency), "-l", "INFO"]
        argv += ["--without-gossip", "--without-mingle", "-n", f"w{slot.number}@lab"]
        slot.pid, slot.began = 0, time.monotonic()
        command = {"slot": slot.number, "argv": argv, "log": str(self.log(slot))}
        self._fork_server.stdin.write(json.dumps(command).encode() + b"\n")
        self._fork_server.stdin.flush()

    def log(self, slot: WorkerSlot) -> Path:
        """Return the log file of a slot's workers."""
        return self.folder / f"worker-{slot.number}.log"

    def restart_ended(self) -> list[int]:
        """Restart ended workers. Return the exit codes since the last call."""
        codes = []
        for told in self._read_messages():
            if "began" in told:
                self.slots[told["began"]].pid = told["pid"]
            elif slot := next((slot for slot in self.slots if slot.pid == told.get("ended")), None):
                codes.append(told["code"])
                slot.pid = 0
                early = time.monotonic() - slot.began < _MIN_LIFETIME
                self._waiting.append((time.monotonic() + (_RESTART_DELAY if early else 0.0), slot))
        due = [entry for entry in self._waiting if entry[0] <= time.monotonic()]
        for entry in due:
            self._waiting.remove(entry)
            if not entry[1].retired:
                self._spawn(entry[1])
        return codes

    def _read_messages(self) -> list[dict[str, Any]]:
        if more := self._fork_server.stdout.read():
            self._text += more
        *lines, self._text = self._text.split(b"\n")
        if (code := self._fork_server.poll()) is not None:
            raise RuntimeError(f"the fork server ended with {code}: {(self.folder / 'fork_server.log').read_text()}")
        return [json.loads(line) for line in lines]

    def _wait_ready(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        for slot in self.slots:
            while not self.log(slot).exists() or b" ready." not in self.log(slot).read_bytes():
                self.restart_ended()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"worker {slot.number} is not ready: {self.log(slot).read_text()}")
                time.sleep(0.02)

    def stop(self) -> None:
        """End all workers at once, and leave nothing behind."""
        if not hasattr(self, "_fork_server"):
            return
        self._fork_server.stdin.close()
        try:
            self._fork_server.wait(10)
        except subprocess.TimeoutExpired:
            self._fork_server.kill()
            self._fork_server.wait(10)
        self._fork_server.stdout.close()
