"""Read a run in a separate process: `python -m benchmarks.reader result|iter RUN` prints the figures."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from statistics import median
from typing import TYPE_CHECKING

import psutil

from benchmarks.measure import peak_rss
from scrape_do_celery import RunHandle

if TYPE_CHECKING:
    from benchmarks.ours import Ours

_READS = 3


def read(ours: Ours, run_id: str, way: str) -> dict[str, float]:
    """Return `seconds`, `bytes` of content, `tasks`, and the `growth` of the process's memory since its start."""
    command = [sys.executable, "-m", "benchmarks.reader", way, run_id]
    environment = {**os.environ, **ours.environment}
    answer = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if answer.returncode:
        raise RuntimeError(f"reading failed: {answer.stderr[-2_000:]}")
    found: dict[str, float] = json.loads(answer.stdout)
    return found


def _result(handle: RunHandle) -> tuple[int, int]:
    """Read all tasks at once; return the number of tasks and bytes."""
    result = handle.result(timeout=60)
    return len(result.tasks), sum(len(task.content or "") for task in result.tasks)


def _iter(handle: RunHandle) -> tuple[int, int]:
    """Read the tasks one by one; return the number of tasks and bytes."""
    tasks = length = 0
    for task in handle.iter_tasks():
        tasks += 1
        length += len(task.content or "")
    return tasks, length


def _main(way: str, run_id: str) -> None:
    handle = RunHandle(run_id)
    handle.progress  # noqa: B018 (connects, so that only reading is measured)
    start_rss = psutil.Process().memory_info().rss
    reads = {"result": _result, "iter": _iter}[way]
    times, tasks, length = [], 0, 0
    for _ in range(_READS if way == "result" else 1):
        start = time.perf_counter()
        tasks, length = reads(handle)
        times.append(time.perf_counter() - start)
    growth = peak_rss(os.getpid()) - start_rss
    json.dump({"seconds": median(times), "bytes": length, "tasks": tasks, "growth": growth}, sys.stdout)


if __name__ == "__main__":
    _main(*sys.argv[1:])
