"""Measure times, memory and CPU of processes, and wait for many things."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import quantiles
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

T = TypeVar("T")
_CHECK_INTERVAL = 0.02
#: The number of waiting things that one check covers. A larger check would slow down the measured work.
_WINDOW = 50


class TookTooLongError(Exception):
    """A condition was not met in time."""


def until(condition: Callable[[], bool], timeout: float, what: str, pause: float = _CHECK_INTERVAL) -> float:
    """Wait until the condition holds, and return the seconds that this took.

    Raises:
        TookTooLongError: If it does not hold within `timeout` seconds; the message names `what`.
    """
    start = time.perf_counter()
    while not condition():
        if time.perf_counter() - start > timeout:
            raise TookTooLongError(f"{what}: did not happen within {timeout:g} s")
        time.sleep(pause)
    return time.perf_counter() - start


def until_all(things: Iterable[T], ended: Callable[[Sequence[T]], Sequence[bool]], timeout: float, what: str) -> None:
    """Wait until all things have ended. Each check covers a few things, in their order."""
    waiting = list(things)

    def none_left() -> bool:
        while waiting:
            window = waiting[:_WINDOW]
            left = [thing for thing, over in zip(window, ended(window), strict=True) if not over]
            waiting[: len(window)] = left
            if left:
                return False
        return True

    until(none_left, timeout, f"{what}, {len(waiting)} in all")


def family(roots: Iterable[int]) -> list[psutil.Process]:
    """Return these processes and their children."""
    found: list[psutil.Process] = []
    for pid in roots:
        root = psutil.Process(pid)
        found += [root, *root.children(recursive=True)]
    return found


def rss(processes: Iterable[psutil.Process]) -> dict[int, int]:
    """Return the resident bytes of each living process, by its id."""
    found = {}
    for process in processes:
        try:
            found[process.pid] = int(process.memory_info().rss)
        except psutil.NoSuchProcess:
            continue
    return found


def peak_rss(pid: int) -> int:
    """Return the peak of a process's resident bytes, or the present bytes if the system does not report a peak."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        return int(psutil.Process(pid).memory_info().rss)


def cpu_seconds(processes: Iterable[psutil.Process]) -> float:
    """Return the CPU time that living processes have used, in user and system mode."""
    used = 0.0
    for process in processes:
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        used += times.user + times.system
    return used


def an_interval(moments: Iterable[float], seconds: float) -> list[int]:
    """Count the moments, which are in order, in intervals of `seconds`; the first begins at the first moment."""
    found: list[int] = []
    start = None
    for moment in moments:
        start = moment if start is None else start
        number = int((moment - start) // seconds)
        found += [0] * (number + 1 - len(found))
        found[number] += 1
    return found


def percentile(values: Sequence[float], percent: int) -> float:
    """Return the value that `percent` percent of the values do not exceed."""
    if len(values) == 1:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]
