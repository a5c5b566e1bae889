"""Send deliveries to a receiver, from a process of its own, so that only the receiver's work counts as the receiver's.

`python -m benchmarks.deliverer` reads loads as JSON, sends their deliveries, and prints the figures.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from statistics import median
from typing import TYPE_CHECKING

import psutil

from benchmarks import measure
from benchmarks.pages import fill

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Connections, each of which sends one delivery after the other.
_CONNECTIONS = 8
_ACCEPTED = 200


@dataclass(frozen=True, slots=True)
class Load:
    """Deliveries for the tasks of one part, with pages of `size` bytes. The first `warm` ones are not measured."""

    port: int
    #: the main process of the receiver
    pid: int
    run_id: str
    path: str
    headers: dict[str, str]
    job_id: str
    #: the id and the URL of each task
    tasks: list[tuple[str, str]]
    size: int
    warm: int


def send_loads(loads: Sequence[Load]) -> list[dict[str, float]]:
    """Send loads one after the other from a process of its own. Return the figures of each load."""
    command = [sys.executable, "-m", "benchmarks.deliverer"]
    text = json.dumps([asdict(load) for load in loads])
    answer = subprocess.run(command, input=text, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        raise RuntimeError(f"the deliveries failed: {answer.stderr[-2_000:]}")
    found: list[dict[str, float]] = json.loads(answer.stdout)
    return found


class _Deliverer:
    def __init__(self, load: Load) -> None:
        self._load = load
        page = fill(b"<!doctype html><html><body>", load.size).decode()
        # One page for all tasks: the receiver reads and compresses each one anew.
        self._rest = f', "Content": {json.dumps(page)}}}'.encode()
        self._connections = [
            http.client.HTTPConnection("127.0.0.1", load.port, timeout=60) for _ in range(_CONNECTIONS)
        ]
        self._threads = ThreadPoolExecutor(_CONNECTIONS)

    def measure(self) -> dict[str, float]:
        """Send all deliveries, and return the figures of those after the first ones."""
        tasks, warm = self._load.tasks, self._load.warm
        self._send_all(tasks[:warm])
        server, own = measure.family([self._load.pid]), [psutil.Process(os.getpid())]
        spent, own_spent, start = measure.cpu_seconds(server), measure.cpu_seconds(own), time.perf_counter()
        times = self._send_all(tasks[warm:])
        return {
            "seconds": time.perf_counter() - start,
            "number": len(times),
            "cpu": measure.cpu_seconds(server) - spent,
            "sender_cpu": measure.cpu_seconds(own) - own_spent,
            "answer_ms": 1000 * median(times),
        }

    def _send_all(self, tasks: Iterable[tuple[str, str]]) -> list[float]:
        """Send deliveries; return the seconds until each answer."""
        left: SimpleQueue[tuple[str, str]] = SimpleQueue()
        for task in tasks:
            left.put(task)
        found = self._threads.map(lambda connection: self._send_from(connection, left), self._connections)
        return [seconds for part in found for seconds in part]

    def _send_from(self, connection: http.client.HTTPConnection, left: SimpleQueue[tuple[str, str]]) -> list[float]:
        found: list[float] = []
        while True:
            try:
                task_id, url = left.get_nowait()
            except Empty:
                return found
            body = self._make_body(task_id, url)
            start = time.perf_counter()
            connection.request("POST", self._load.path, body, self._load.headers)
            answer = connection.getresponse()
            text = answer.read()
            found.append(time.perf_counter() - start)
            if answer.status != _ACCEPTED:
                raise RuntimeError(f"the receiver answered {answer.status}: {text[:200]!r}")

    def _make_body(self, task_id: str, url: str) -> bytes:
        task = {
            "TaskID": task_id,
            "JobID": self._load.job_id,
            "URL": url,
            "Status": "success",
            "StatusCode": 200,
            "Base64EncodedContent": False,
            "ResponseHeaders": {"Content-Type": "text/html; charset=utf-8"},
            "Scrape.do": {"Request-Cost": "1", "Remaining-Credits": "1000000"},
            "ErrorMessage": "",
        }
        return json.dumps(task)[:-1].encode() + self._rest


if __name__ == "__main__":
    json.dump([_Deliverer(Load(**load)).measure() for load in json.load(sys.stdin)], sys.stdout)
