"""`python -m benchmarks`: play the cases, print their tables, write figures and charts."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import report, sizes
from benchmarks.bench import Bench
from benchmarks.stand_in import StandIn
from benchmarks.workers import DEFAULT_POOL, Pool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.report import Outcome, Row

CASES = ("A", "B", "C", "D", "E", "read", "export", "enqueue", "list", "scale", "fair", "webhook")
_ROOT = Path(__file__).parents[1]


def main(argv: Sequence[str] | None = None) -> int:
    """Return 0 if every limit is kept, 1 if a limit is not."""
    options = _parser().parse_args(argv)
    whole = options.case == list(CASES) and not options.tiny
    out = options.out or _ROOT / ("benchmarks/results" if whole else ".bench")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    prepare_environment()
    size = sizes.TINY if options.tiny else sizes.FULL if options.full else sizes.NORMAL
    given = {"case": options.case, "size": size.name, "pool": str(options.pool), "repeat": options.repeat}
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="benchmarks-") as folder, StandIn(size.job_seconds) as stand_in:
        bench = Bench(size, options.pool, options.repeat, Path(folder), stand_in)
        for case in [case for case in CASES if case in options.case]:
            bench.say(f"case {case}")
            outcome = _played(bench, case)
            rows += outcome.rows
            bench.figures[case] = outcome.figures
            # Write after each case, so that a failing case does not lose the figures of the others.
            file = report.write(out, given, rows, bench.figures)
    if not options.no_charts:
        # Draw last, because the library is optional: if it is missing, no figure is lost.
        import_module("benchmarks.charts").draw(out, bench.figures)
    if size is sizes.TINY:
        sys.stdout.write("At this size, the run only shows that the benchmark works. The figures mean nothing.\n\n")
    sys.stdout.write(f"{report.ratios_table(bench.figures)}\n\n{report.rows_table(rows)}\n\n{file}\n")
    return 1 if size is not sizes.TINY and any(row.met is False for row in rows) else 0


def prepare_environment() -> None:
    """Let child processes find this package, and remove all settings that are not the benchmark's."""
    for name in [name for name in os.environ if name.startswith("SCRAPE_DO_")]:
        del os.environ[name]
    paths = filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")])
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)


def _played(bench: Bench, case: str) -> Outcome:
    bench.stand_in.reset()
    outcome: Outcome = import_module(f"benchmarks.case_{case.lower()}").play(bench)
    return outcome


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--case", nargs="+", choices=CASES, default=list(CASES), help="play these cases; if omitted, all cases"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--tiny", action="store_true", help="check only that the benchmark works")
    size.add_argument("--full", action="store_true", help="hold the jobs of case C for 30 minutes instead of 5")
    parser.add_argument("--repeat", type=int, default=3, help="play this number of rounds of cases A and B")
    parser.add_argument(
        "--pool",
        type=Pool.parse,
        default=DEFAULT_POOL,
        help="run workers in this pool, such as prefork:2, threads:4, gevent:20",
    )
    help_out = "write figures to this folder; default: benchmarks/results for all cases, else .bench"
    parser.add_argument("--out", type=Path, help=help_out)
    parser.add_argument("--no-charts", action="store_true", help="draw no charts")
    return parser


if __name__ == "__main__":
    sys.exit(main())
