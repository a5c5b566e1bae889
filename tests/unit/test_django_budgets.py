"""Test pages of Django's admin: budgets with their rights and changes, the list of runs, lineages and downloads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def seen():
    """Return what the pages said. Django is set up once for a process, so the visits are in another one."""
    script = ROOT / "tests" / "support" / "django_budget_pages.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_page_is_linked_and_shows_that_nothing_is_limited(seen):
    assert (seen["link"], seen["empty"]) == (True, True)


def test_change_needs_a_confirmation_and_the_token_of_the_form(seen):
    assert seen["question"]
    assert seen["before the confirmation"] == []
    assert seen["without a token"] == 403


def test_change_and_page_need_rights(seen):
    assert seen["by a viewer"] == [200, False]
    assert seen["forced by a viewer"] == 403
    assert seen["by a stranger"] == [403, 403]
    assert seen["by nobody"] == [302, 302]
    assert seen["after the refusals"] == []


def test_limits_are_set_and_removed_and_purchases_stopped_and_resumed(seen):
    assert (seen["done"], seen["again"]) == (True, True)
    assert seen["after the changes"] == [["account", None, None], ["tag:shop:7", "day", 5000.0]]
    assert seen["shown"] == [True, True, True]
    assert seen["at the end"] == []


def test_wrong_fields_are_told_and_nothing_is_written(seen):
    wrong = {name: is_told for name, is_told in seen.items() if name.startswith("wrong ")}
    assert len(wrong) == 5
    assert all(wrong.values()), wrong
    assert seen["after wrong fields"] == []


def test_costs_are_shown_and_downloaded(seen):
    assert seen["costs"]
    assert seen["file"] == ['attachment; filename="spend.csv"', True]


def test_pages_and_tables_of_runs_are_downloaded(seen):
    assert seen["table"] == [[["absent", "", "RunNotFoundError:"], ["r", "https://a.example/", ""]], False]
    assert seen["pages"] == [["r", "https://a.example/", "=1", {"sku": 1}]]
    assert seen["pages by a stranger"] == 403


def test_run_has_links_to_the_runs_of_its_lineage(seen):
    assert seen["lineage"]
    assert seen["lineage away"] == 200


def test_store_that_is_away_is_told_on_the_page(seen):
    assert seen["away"] == [True, False, False], "a page without figures claims nothing"


def test_list_is_filtered_by_label_and_by_tag(seen):
    found = {name.removeprefix("list "): ids for name, ids in seen.items() if name.startswith("list ")}
    assert found == {
        "all": ["a1", "b2", "c3", "d4"],
        "label": ["a1", "b2"],
        "tag": ["a1", "b2"],
        "other tag": ["b2"],
        "both": ["b2"],
        "none": [],
        "search": ["a1", "b2"],
    }
    assert seen["offered"] == [True, True, True, False]
    assert seen["shown of a run"] == [True, True]
