"""Play the examples of docs/how-to/find-runs.md in the store of the unit tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main
from scrape_do_celery.rules.run_filters import STATE_WORDS
from scrape_do_celery.store.commands.runs import RecordOutcome

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "find-runs.md").read_text()
URLS = ["https://shop.example/1", "https://shop.example/2"]


@pytest.fixture
def blocks(monkeypatch, step_harness):
    """Return the blocks of Python. The app of the harness is that of this process."""
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    return re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def test_failed_runs_of_a_label_are_printed(blocks, start_run, step_harness, capsys):
    failed = start_run(URLS, label="prices")
    for handle, outcome in ((failed, "failed"), (start_run(URLS, label="other"), "failed")):
        step_harness.finish_part(handle.run_id, outcome=outcome)
        step_harness.run(RecordOutcome(handle.run_id, outcome, {}))
    start_run(URLS, label="prices")
    exec(compile(blocks[0], "find-runs.md", "exec"), {})
    assert capsys.readouterr().out == f"{failed.run_id} shop.example 0 of 2 None\n"


def test_credits_of_all_pages_are_added(blocks, start_run, step_harness, capsys):
    for number in range(3):
        run_id = start_run([f"https://shop.example/{number}"], tags=["shop:7"]).run_id
        step_harness.set_fields(run_id, credits=1.5)
    start_run(URLS, tags=["other"])
    small = blocks[1].replace("list_runs(tag", "list_runs(limit=1, tag")
    assert small != blocks[1]
    exec(compile(small, "find-runs.md", "exec"), {})
    assert capsys.readouterr().out == "4.5\n"


def test_plan_of_many_runs_is_carried_out(blocks, start_run, step_harness, capsys):
    handle, live = start_run(URLS, tags=["shop:7"]), start_run(URLS, tags=["shop:7"])
    for outcome, run_id in (("failed", handle.run_id), ("in_doubt", live.run_id)):
        step_harness.finish_part(run_id, outcome=outcome)
        step_harness.run(RecordOutcome(run_id, outcome, {}))
    names = {}
    exec(compile(blocks[2], "find-runs.md", "exec"), names)
    counted, group = capsys.readouterr().out.splitlines()
    assert counted.startswith("1 runs, 2 tasks: 2 credits expected")
    assert group.startswith("1 in_doubt: a job may have been bought")
    assert (names["report"].runs, len(handle.lineage)) == (1, 2)


def test_states_of_the_table_are_filters():
    named = set(re.findall(r'"(\w+)"', " ".join(line for line in PAGE.splitlines() if line.startswith("| `state"))))
    assert len(named) == 6
    assert named < set(STATE_WORDS)


def test_commands_of_the_page_are_understood(start_run):
    commands = re.findall(r"^\$ scrape-do (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 5
    for command in commands:
        dry = [] if command.startswith("list") else ["--dry-run"]
        assert CliRunner().invoke(main, [*command.split(), *dry]).exit_code == 0
