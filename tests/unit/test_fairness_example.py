"""Play the worked example of docs/how-to/limits.md in a store, and compare the jobs that run with those of the page."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from tests.support.slot_market import Market

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "limits.md"
_EVENT = r"`(\w+)` starts with (\d+) jobs?|(?:a|the) job of `(\w+)` ends"
_ROW = re.compile(rf"^\| (?:{_EVENT}) \| ([\w, ]+) \|", re.MULTILINE)


def test_worked_example_runs_the_jobs_of_the_page(store):
    rows = _ROW.findall(PAGE.read_text())
    market = Market(store, limit=3)
    for started, count, ended, running in rows:
        if started:
            market.enqueue(started, int(count), price=50, fairness_key=started)
        else:
            market.end(*next(part for part in market.held() if part[0] == ended))
        assert Counter(run_id for run_id, _ in market.held()) == Counter(running.split(", "))
    assert len(rows) == 7
