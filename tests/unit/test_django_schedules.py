"""Test the page of schedules in Django's admin: rights, tokens of forms, confirmation, pauses, runs and the table."""

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
    script = ROOT / "tests" / "support" / "django_schedule_pages.py"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SCRAPE_DO_")}
    command = [sys.executable, script, "django_celery_beat"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_page_is_linked_and_lists_the_schedules_of_the_project(seen):
    assert seen["link"]
    assert seen["declared"] == [True, True, True, True]


def test_command_needs_a_confirmation_and_the_token_of_the_form(seen):
    assert seen["question"] == [True, True]
    assert seen["without a token"] == 403
    assert seen["by GET"] == 200


def test_command_and_page_need_rights(seen):
    assert seen["by a viewer"] == [200, False]
    assert seen["forced by a viewer"] == 403
    assert (seen["by a stranger"], seen["by nobody"]) == (403, 302)
    assert seen["after the refusals"] == [["a <b>", "0 * * * * (UTC)", True, False]]


def test_schedule_is_paused_and_resumed(seen):
    assert seen["paused"] == [True, True, True]
    assert (seen["paused again"], seen["resumed"], seen["resumed again"]) == (True, True, True)
    assert seen["after the pause"] == [["a <b>", "0 * * * * (UTC)", True, True]]


def test_form_that_is_sent_twice_starts_one_run(seen):
    assert seen["run"] == [True, True, 1]
    assert seen["skipped"] == [True, True]


def test_wrong_fields_are_told(seen):
    wrong = {name: is_told for name, is_told in seen.items() if name.startswith("wrong ")}
    assert len(wrong) == 4
    assert all(wrong.values()), wrong


def test_schedules_of_django_celery_beat_are_listed_and_run(seen):
    assert seen["stored"] == [
        ["a <b>", "0 * * * * (UTC)", True, False],
        ["disabled", "every 300 s", False, False],
        ["stored", "every 300 s", True, False],
    ]
    assert seen["run of the table"]
    assert seen["without the table"] == ["a <b>", "stored"], "the settings and the store know them"


def test_store_that_is_away_is_told_on_the_page(seen):
    assert seen["away"] == [True, False]
