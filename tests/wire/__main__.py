"""Play every mutation and pairs of them, print the tables, and exit 1 on a violation: `python -m tests.wire`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

from tests.wire.harness import generate_cases, run_cases, run_in_processes
from tests.wire.report import summary_table, violations


def main() -> int:
    """Return 0 if no rule was broken."""
    given = _parser().parse_args()
    share = tuple(int(one) for one in given.share.split("/"))
    options = {"seed": given.seed, "count": given.pairs, "only": given.only, "share": (share[0] % share[1], share[1])}
    options["webhooks"] = given.webhooks
    began, results = time.monotonic(), []
    wide = given.processes > 1 and not given.only
    for result in run_in_processes(options, given.processes) if wide else run_cases(generate_cases(**options)):
        results.append(result)
        if result.violations and given.loud:
            sys.stderr.write(f"{result.violations} {result.name}\n    {result.detail}\n")
        if len(results) % 500 == 0:
            bad = sum(bool(one.violations) for one in results)
            sys.stderr.write(f"{len(results)} played, {bad} with violations, {time.monotonic() - began:.0f} s\n")
    results.sort(key=lambda result: result.name)
    broken = [result for result in results if result.violations]
    if broken:
        sys.stdout.write(violations(broken, given.most) + "\n\n")
    if given.only:
        sys.stdout.writelines(f"{result.name}: {result.outcome}; {result.detail}\n" for result in results[:50])
    sys.stdout.write(
        f"{summary_table(results)}\n\nseed {given.seed}, {len(results)} runs, {len(broken)} with violations, "
    )
    sys.stdout.write(f"{time.monotonic() - began:.0f} s\n")
    if given.json:
        given.json.write_text(json.dumps([asdict(result) for result in results]))
    if given.markdown:
        from tests.wire.docs_page import render_page

        given.markdown.write_text(render_page(results, given.seed, given.pairs))
    return 1 if broken else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.wire", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=500, help="how many random pairs")
    parser.add_argument("--share", default="0/1", help="K/N: every N-th, beginning with the K-th")
    parser.add_argument("--only", default="", help="plays what has this in its name")
    parser.add_argument("--webhooks", action="store_true", help="mutate deliveries of webhooks in place of answers")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--most", type=int, default=3, help="names that are printed for each kind of violation")
    parser.add_argument("--loud", action="store_true", help="tell each violation when it is met")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    return parser


if __name__ == "__main__":
    sys.exit(main())
