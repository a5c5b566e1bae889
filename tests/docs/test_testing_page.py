"""Check docs/how-to/testing.md against the code. `python tests/docs/test_testing_page.py` writes generated parts."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import scrape_do_pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "testing.md"
_TABLE = re.compile(r"(<!-- faults: .*? -->\n).*?(<!-- end of faults -->)", re.DOTALL)


def faults_markdown():
    from scrape_do_celery.testing import FAULTS

    rows = [
        f"| `{name}` | {fault.description} | {'once' if fault.is_once else 'always'} |"
        for name, fault in FAULTS.items()
    ]
    return "\n".join(["| fault | what happens | how often, without `times` |", "|---|---|---|", *rows, ""])


def page():
    return _TABLE.sub(lambda found: found[1] + faults_markdown() + found[2], PAGE.read_text())


def test_the_table_of_faults_is_that_of_the_code():
    assert page() == PAGE.read_text(), "run: python tests/docs/test_testing_page.py"


def test_every_option_of_a_fault_is_told():
    from scrape_do_celery.testing import FAULTS

    for name, fault in FAULTS.items():
        assert [option for option in fault.options if f"`{option}`" not in fault.description] == [], name


def test_every_fixture_is_told():
    names = [name for name, _ in inspect.getmembers(scrape_do_pytest) if name.startswith("scrape_do_")]
    assert len(names) > 5
    assert [name for name in names if f"| `{name}` |" not in PAGE.read_text()] == []


if __name__ == "__main__":
    PAGE.write_text(page())
