"""`python -m benchmarks.profile A|B`: the time of the workers by function, measured with py-spy."""

from __future__ import annotations

import argparse
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections import Counter
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psutil

from benchmarks import measure, sizes
from benchmarks.__main__ import prepare_environment
from benchmarks.bench import Bench
from benchmarks.pages import WARM, batches
from benchmarks.report import table
from benchmarks.stand_in import StandIn
from benchmarks.workers import DEFAULT_POOL, Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

_RATE, _TOP, _GRACE = 100, 5, 20.0
#: Functions in which threads wait for work, an answer or each other. py-spy shows them as busy, but they cost no CPU.
_WAITS = (
    "_worker (concurrent/futures/thread.py",
    "Condition.wait (threading.py",
    "EpollSelector.select (selectors.py",
    "_epoll.poll (kombu/utils/eventio.py",
    "_HiredisParser.read_from_socket (redis/_parsers/hiredis.py",
    "SocketBuffer._read_from_socket (redis/_parsers/socket.py",
)


class Profiler(AbstractContextManager["Profiler"]):
    """A profiler that samples processes from outside while the context lasts.

    Each sample stops its process for a moment, so a profiled run must not be used for timing.
    """

    def __init__(self, processes: Sequence[psutil.Process], folder: Path, rate: int = _RATE) -> None:
        self._files = {process.pid: folder / f"{process.pid}.raw" for process in processes}
        self._rate = rate
        self._running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Self:
        spy = shutil.which("py-spy") or str(Path(sysconfig.get_path("scripts")) / "py-spy")
        options = ["--format", "raw", "--rate", str(self._rate), "--function", "--duration", "3600"]
        for pid, file in self._files.items():
            command = [spy, "record", "--pid", str(pid), "--output", str(file), *options]
            self._running.append(
                subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)  # noqa: S603
            )
        for process in self._running:
            said = ""
            while "Sampling" not in said and process.stdout:
                line = process.stdout.readline()
                if not line:
                    self.__exit__()
                    raise RuntimeError(f"py-spy ended: {said}")
                said += line
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._running:
            process.send_signal(signal.SIGINT)
        for process in self._running:
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=_GRACE)
            process.kill()
            process.communicate()

    def top(self, pid: int, number: int) -> tuple[int, list[tuple[str, int]]]:
        """Return a process's number of samples, without waiting, and the functions that were on top most often."""
        own: Counter[str] = Counter()
        file = self._files[pid]
        for line in file.read_text().splitlines() if file.exists() else ():
            stack, _, count = line.rpartition(" ")
            function = stack.rpartition(";")[2]
            if not function.startswith(_WAITS):
                own[function] += int(count)
        return sum(own.values()), own.most_common(number)


def main(argv: Sequence[str] | None = None) -> int:
    """Play the case once, and print a table for each process."""
    options = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    prepare_environment()
    size = sizes.TINY if options.tiny else sizes.NORMAL
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, StandIn(size.job_seconds) as stand_in:
        bench = Bench(size, options.pool, 1, Path(folder), stand_in)
        with bench.ours() as ours, ours.working() as workers:
            ours.run(batches(WARM, 1, size.a_bytes))
            processes = [*measure.family(workers.pids), psutil.Process(stand_in.pid)]
            names = [_name(process, workers.pids, stand_in.pid) for process in processes]
            work = _work(options.case, size, options.times)
            before = [measure.cpu_seconds([process]) for process in processes]
            with Profiler(processes, bench.new_folder(), options.rate) as profiler:
                seconds = ours.run(work)
                after = [measure.cpu_seconds([process]) for process in processes]
            tops = [profiler.top(process.pid, options.top) for process in processes]
    sys.stdout.write(f"Case {options.case}, {options.times} x, {options.pool}: {seconds:.2f} s\n")
    for name, early, late, (samples, found) in zip(names, before, after, tops, strict=True):
        lines = [(function, f"{100 * count / samples:.1f} %") for function, count in found]
        sys.stdout.write(f"\n{name}: {late - early:.2f} s of CPU\n{table(('function', 'own time'), lines)}\n")
    return 0


def _work(case: str, size: sizes.Sizes, times: int) -> list[list[str]]:
    """Return the targets of a case, `times` times."""
    if case == "A":
        return batches(size.a_jobs * times, size.a_targets, size.a_bytes)
    return batches(times, size.b_targets, size.b_bytes)


def _name(process: psutil.Process, workers: list[int], stand_in: int) -> str:
    if process.pid == stand_in:
        return "stand-in"
    if process.pid in workers:
        return f"worker {workers.index(process.pid)}, main process"
    children = [child.pid for child in process.parent().children()]  # type: ignore[union-attr]
    return f"worker {workers.index(process.ppid())}, child {children.index(process.pid)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.profile", description=__doc__)
    parser.add_argument("case", choices=("A", "B"))
    parser.add_argument("--tiny", action="store_true", help="check only that the profile works")
    parser.add_argument(
        "--times", type=int, default=4, help="multiply the size of the case by this number, for more samples"
    )
    parser.add_argument("--top", type=int, default=_TOP, help="show this number of functions of each process")
    parser.add_argument("--rate", type=int, default=_RATE, help="take this number of samples per second")
    parser.add_argument("--pool", type=Pool.parse, default=DEFAULT_POOL)
    return parser


if __name__ == "__main__":
    sys.exit(main())
