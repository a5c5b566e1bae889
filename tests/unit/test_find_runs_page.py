"""Play the examples of docs/how-to/find-runs.md in the store of the unit tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from scrape_do_celery import RunHandle
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


def test_all_live_runs_of_a_tag_are_canceled(blocks, start_run):
    canceled = [start_run([f"https://shop.example/{n}"], tags=["shop:7"]).run_id for n in range(3)]
    start_run(URLS, tags=["other"])
    small = blocks[1].replace("list_runs(tag", "list_runs(limit=1, tag")
    assert small != blocks[1]
    exec(compile(small, "find-runs.md", "exec"), {})
    assert [RunHandle(run_id).cancel() for run_id in canceled] == [True] * 3
    assert all(RunHandle(run_id)._read_record().stop_reason == "cancel" for run_id in canceled)


def test_states_of_the_table_are_filters():
    named = set(re.findall(r'"(\w+)"', " ".join(line for line in PAGE.splitlines() if line.startswith("| `state"))))
    assert len(named) == 6
    assert named < set(STATE_WORDS)


def test_commands_of_the_page_are_understood(start_run):
    commands = re.findall(r"^\$ scrape-do (.*)$", PAGE, re.MULTILINE)
    assert len(commands) == 2
    for command in commands:
        assert CliRunner().invoke(main, command.split()).exit_code == 0
