"""Check docs/explanation/urls.md against the code. `python -m tests.docs.test_urls_page` writes the generated parts."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

from scrape_do_celery.models.urls_refused import TargetRefusal, find_refusal
from tests.support.wpt_cases import cases

PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "urls.md"
_TABLE = re.compile(r"(<!-- refusals: .*? -->\n).*?(<!-- end of refusals -->)", re.DOTALL)


def refusals_markdown():
    read = cases()
    counts = Counter((find_refusal(url), form is None) for each in read.values() for url, form in each)
    rows = [
        _row(f"`{rule.name}`", f"the URL {rule.value}", counts[rule, True], counts[rule, False])
        for rule in TargetRefusal
    ]
    refused = [sum(counts[rule, bad] for rule in TargetRefusal) for bad in (True, False)]
    return "\n".join(
        [
            _row("rule", "why", "refused by the parser, too", "taken by the parser"),
            "|---|---|---|---|",
            *rows,
            _row("refused", "", *refused),
            _row("taken", "", counts[None, True], counts[None, False]),
            _row(
                "all", ", ".join(f"{len(each)} of `{name}`" for name, each in read.items()), *map(sum, _sides(counts))
            ),
            "",
        ]
    )


def _sides(counts):
    return [[number for (_, bad), number in counts.items() if bad is side] for side in (True, False)]


def _row(*cells):
    return f"| {' | '.join(map(str, cells))} |"


def page():
    return _TABLE.sub(lambda found: found[1] + refusals_markdown() + found[2], PAGE.read_text())


def test_the_table_of_refusals_is_that_of_the_code():
    assert page() == PAGE.read_text(), "run: python -m tests.docs.test_urls_page"


if __name__ == "__main__":
    PAGE.write_text(page())
