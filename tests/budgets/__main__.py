"""Soak budgets at full scale: `python -m tests.budgets --processes 50 --reservations 10000 --seed 1`."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.budgets.soak import Soak


def main() -> int:
    """Return 0 if the soak found no problem."""
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="budgets-", ignore_cleanup_errors=True) as folder:
        soak = Soak(Path(folder), options.processes, options.reservations, options.seed)
        soak.run()
    for name, value in sorted(soak.facts.items()):
        sys.stdout.write(f"{name:70} {value:>12,}\n")
    for problem in soak.problems[:40]:
        sys.stdout.write(f"PROBLEM {problem}\n")
    sys.stdout.write(f"{len(soak.problems)} problems\n")
    return 1 if soak.problems else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.budgets", description=__doc__)
    parser.add_argument("--processes", type=int, default=50)
    parser.add_argument("--reservations", type=int, default=10_000)
    parser.add_argument("--seed", default="1")
    return parser


if __name__ == "__main__":
    sys.exit(main())
