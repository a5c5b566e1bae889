"""Run the lab for long, and print its table: `python -m tests.faults`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults import discover_points, parallel
from tests.faults.receivers import TRUSTS
from tests.faults.sessions import Session

if TYPE_CHECKING:
    from tests.faults.report import Report


def main() -> int:
    """Return 0 if the lab found no failure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    options = _parser().parse_args()
    if options.quiet:
        parallel.end_with_parent()
    if options.discover:
        leads, _, problems = discover_points.discover(webhooks=options.webhooks)
        sys.stdout.write(discover_points.catalogue_source(leads, options.webhooks))
        sys.stderr.write("\n".join(problems))
        return 0
    report = (
        parallel.run_parallel(options.labs, options.trials, options.seed, _shared_arguments(options))
        if options.labs > 1
        else _run_session(options)
    )
    command = f"python -m tests.faults --trials {options.trials} --seed {options.seed} --window {options.window}"
    if options.webhooks:
        command += f" --webhooks {options.webhooks}"
    if options.labs > 1:
        command += f" --labs {options.labs}"
    if options.resume:
        command += f", then --resume {options.resume.name}"
    if not options.quiet:
        sys.stdout.write(f"{report.text()}\n\n{command}\n")
    if options.json:
        options.json.write_text(json.dumps(report.data(), indent=1, default=str))
    if options.markdown:
        options.markdown.write_text(report.markdown(command))
    return 0 if report.passed else 1


def _run_session(options: argparse.Namespace) -> Report:
    session = Session(
        options.seed, options.window, options.keep, only=options.only, webhooks=options.webhooks, log=_say
    )
    if options.workers:
        session.pools = tuple(options.workers)
    if options.resume:
        session.resume(json.loads(options.resume.read_text()))
    else:
        session.run_all(options.trials)
    return session.report


def _shared_arguments(options: argparse.Namespace) -> list[str]:
    """Return the arguments that each of several labs gets as well."""
    given = ["--window", str(options.window)]
    given += ["--webhooks", options.webhooks] if options.webhooks else []
    for name in ("workers", "only"):
        if values := getattr(options, name):
            given += [f"--{name}", *values]
    return [*given, "--keep", str(options.keep)] if options.keep else given


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.faults", description=__doc__)
    parser.add_argument("--trials", type=int, default=50, help="how many are to count")
    parser.add_argument("--seed", default="1")
    parser.add_argument("--labs", type=int, default=1, help="labs side by side, each with servers of its own")
    parser.add_argument("--window", type=int, default=25, help="trials in flight at a time")
    parser.add_argument("--workers", nargs="+", help="such as threads:4 prefork:3")
    parser.add_argument("--only", nargs="+", help="kinds of trial")
    parser.add_argument(
        "--webhooks", choices=TRUSTS, default="", help="buy runs with webhooks, and use deliveries in this way"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the logs of workers in rounds that failed")
    parser.add_argument("--quiet", action="store_true", help="no table")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--resume", type=Path, help="figures (--json) of a run that still owes kills at some points")
    parser.add_argument("--discover", action="store_true", help="print the catalogue anew")
    return parser


if __name__ == "__main__":
    sys.exit(main())
