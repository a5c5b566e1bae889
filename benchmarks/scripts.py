"""`python -m benchmarks.scripts 500 8000`: the time of each of the store's scripts in Redis, per job of case A."""

from __future__ import annotations

import argparse
import hashlib
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import sizes
from benchmarks.__main__ import prepare_environment
from benchmarks.bench import Bench
from benchmarks.pages import WARM, batches
from benchmarks.report import table
from benchmarks.stand_in import StandIn
from benchmarks.workers import DEFAULT_POOL, Pool
from scrape_do_celery.store.scripts import load_scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.ours import Ours

#: Calls shorter than `_SHORTEST` microseconds are not logged, because they would fill the server's log.
_SHORTEST, _KEEP, _TOP = 15, 3_000_000, 8


def main(argv: Sequence[str] | None = None) -> int:
    """Play the case with each number of jobs, and print a table for it."""
    options = _parser().parse_args(argv)
    prepare_environment()
    size = sizes.NORMAL
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, StandIn(size.job_seconds) as stand_in:
        bench = Bench(size, options.pool, 1, Path(folder), stand_in)
        for jobs in options.jobs:
            stand_in.reset()
            with bench.ours() as ours, ours.working():
                ours.run(batches(WARM, 1, size.a_bytes))
                _play(ours, batches(jobs, size.a_targets, size.a_bytes))
    return 0


def _play(ours: Ours, work: list[list[str]]) -> None:
    client, jobs = ours.server.client, len(work)
    client.config_set("slowlog-max-len", _KEEP)
    client.slowlog_reset()
    client.config_set("slowlog-log-slower-than", _SHORTEST)
    before = ours.server.script_seconds
    seconds = ours.run(work)
    spent = ours.server.script_seconds - before
    client.config_set("slowlog-log-slower-than", -1)
    sys.stdout.write(f"\n{jobs} jobs: {seconds:.1f} s; in scripts {1e6 * spent / jobs:.0f} us a job\n")
    took, calls = _by_script(ours)
    lines = [
        (name, f"{us / jobs:.0f} us", f"{calls[name] / jobs:.2f}", f"{us / calls[name]:.0f} us")
        for name, us in took.most_common(_TOP)
    ]
    sys.stdout.write(f"{table(('script', 'a job', 'calls a job', 'each'), lines)}\n")


def _by_script(ours: Ours) -> tuple[Counter[str], Counter[str]]:
    """Return the microseconds and the calls of each script, by its name."""
    names = {hashlib.sha1(text.encode()).hexdigest(): name for name, text in load_scripts().items()}  # noqa: S324 (Redis's own)
    took: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    for entry in ours.server.client.slowlog_get(_KEEP):
        command = entry["command"].split()
        if command[0].upper() == b"EVALSHA":
            name = names.get(command[1].decode(), "another")
            took[name] += entry["duration"]
            calls[name] += 1
    return took, calls


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks.scripts", description=__doc__)
    parser.add_argument("jobs", nargs="+", type=int)
    parser.add_argument(
        "--pool", type=Pool.parse, default=DEFAULT_POOL, help="run workers in this pool, such as threads:4"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
