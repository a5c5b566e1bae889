"""Test `scrape-do schedules` with an in-memory store."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from scrape_do_celery.cli import main
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.runs import AppContext, scheduled_run
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.runs import RecordOutcome
from tests.support.json_shapes import check_json

URLS = ["https://shop.example/1"]
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "beat.md").read_text()


@pytest.fixture
def scrape_do(step_harness, monkeypatch):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)
    monkeypatch.setenv("LOGNAME", "ann")

    def call(*arguments, code=0):
        answer = CliRunner().invoke(main, ["schedules", *arguments])
        assert answer.exit_code == code, answer.output
        return answer

    return call


@pytest.fixture
def declared(step_harness):
    entries = [scheduled_run("prices", 300, URLS), scheduled_run("stock", 60, URLS, if_running="queue")]
    step_harness.app.conf.beat_schedule = {one["kwargs"]["name"]: one for one in entries}


def test_schedules_are_listed_as_a_table_and_as_json(step_harness, scrape_do, declared):
    run_id = scrape_do("run", "prices").stdout.strip()
    scrape_do("pause", "stock", "--note", "shop is closed")
    header, _, prices, stock = scrape_do("list").stdout.splitlines()
    assert header.split() == ["schedule", "rule", "next", "tick", "last", "tick", "decision", "last", "run", "paused"]
    assert re.fullmatch(rf"prices  +every 300 s  [\d-]+T[\d:]+Z  -  +-  +{run_id}  -", prices)
    assert re.fullmatch(r"stock  +every 60 s  +\S+Z  -  +-  +-  +\S+Z by ann: shop is closed", stock)
    first, second = json.loads(scrape_do("list", "--json").stdout)["schedules"]
    assert first == {
        "name": "prices",
        "rule": "every 300 s",
        "if_running": "skip",
        "is_declared": True,
        "last_tick": None,
        "last_decision": None,
        "decided_at": None,
        "last_run": run_id,
        "live_run": run_id,
        "pause": None,
        "next_tick": first["next_tick"],
    }
    assert (second["pause"]["by"], second["pause"]["note"]) == ("ann", "shop is closed")
    assert re.fullmatch(r"[\d-]+T[\d:]+Z", second["pause"]["at"])


def test_no_schedule_is_told(scrape_do):
    assert scrape_do("list").stdout == "no schedules: none has ticked in the last 91 days, and this app declares none\n"


def test_schedule_is_paused_and_resumed(step_harness, scrape_do, declared):
    assert scrape_do("pause", "stock", "--by", "bob").output == "stock is paused\n"
    assert re.fullmatch(r"stock was paused before: \S+Z by bob\n", scrape_do("pause", "stock").output)
    assert scrape_do("resume", "stock").output == "stock goes on\n"
    assert scrape_do("resume", "stock").output == "stock was not paused\n"
    run_id = scrape_do("run", "stock").stdout.strip()
    assert scrape_do("pause", "stock").stderr == f"its run {run_id} goes on; to stop it: scrape-do cancel {run_id}\n"


def test_json_tells_what_the_commands_have_changed(step_harness, scrape_do, declared):
    def load(*arguments):
        answer = scrape_do(*arguments, "--json")
        check_json(["schedules", *arguments, "--json"], answer)
        return json.loads(answer.stdout)

    assert load("pause", "stock") == {"name": "stock", "paused": True, "changed": True}
    assert load("pause", "stock")["changed"] is False
    assert load("resume", "stock") == {"name": "stock", "paused": False, "changed": True}
    assert load("list")["schedules"][1]["pause"] is None
    started = load("run", "stock")
    assert started == {"run_id": load("list")["schedules"][1]["live_run"], "decision": "started"}


def test_unknown_name_needs_force(scrape_do, declared):
    for command in ("pause", "resume", "run"):
        assert "did you mean prices?" in scrape_do(command, "price", code=2).stderr
    assert "--force" in scrape_do("pause", "price", code=2).stderr
    assert "--force" not in scrape_do("resume", "price", code=2).stderr
    assert scrape_do("pause", "price", "--force").output == "price is paused\n"
    assert "did you mean" not in scrape_do("resume", "price").output


def test_run_is_started_once_for_a_key(step_harness, scrape_do, declared):
    key = ("--idempotency-key", "k")
    run_id = scrape_do("run", "prices", *key).stdout.strip()
    assert scrape_do("run", "prices", *key).stdout.strip() == run_id
    assert step_harness.run_ids() == {run_id}
    why = scrape_do("run", "prices", "--idempotency-key", "l", code=1).stderr
    assert why == f"Error: no run of prices was started: run {run_id} goes on\n"
    step_harness.finish_part(run_id)
    step_harness.run(RecordOutcome(run_id, "succeeded", {}))
    assert "was skipped before" in scrape_do("run", "prices", "--idempotency-key", "l", code=1).stderr
    scrape_do("run", "stock")
    assert "waits for the end of an earlier run" in scrape_do("run", "stock").stderr


def test_lost_answer_says_how_to_repeat_the_command(step_harness, scrape_do, declared, monkeypatch):
    store, run = step_harness.app_context.store, step_harness.app_context.store.run

    def losing(command):
        reply = run(command)
        if isinstance(command, CreateRun):
            raise StoreUnavailableError("away")
        return reply

    with monkeypatch.context() as patch:
        patch.setattr(store, "run", losing)
        told = scrape_do("run", "prices", code=1).stderr
    key = re.search(r"to repeat the command without a second run, add --idempotency-key (\S+)$", told.strip())[1]
    assert {scrape_do("run", "prices", "--idempotency-key", key).stdout.strip()} == step_harness.run_ids()


def test_user_without_a_name_pauses_too(scrape_do, declared, monkeypatch):
    def fail():
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", fail)
    scrape_do("pause", "stock")
    assert json.loads(scrape_do("list", "--json").stdout)["schedules"][1]["pause"]["by"] is None


def test_commands_of_the_page_work(scrape_do, declared):
    commands = re.findall(r"^\$ celery -A yourapp scrape-do schedules (.*)$", PAGE, re.MULTILINE)
    assert [shlex.split(one)[0] for one in commands] == ["list", "pause", "resume", "run"]
    for one in commands:
        assert scrape_do(*shlex.split(one)).stdout


def test_python_of_the_page_works(scrape_do, declared, capsys):
    (code,) = [one for one in re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE) if "pause_" in one]
    exec(code, {})
    prices, stock, started = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"prices every 300 s \S+ \S+ None None SchedulePause\(.*by='ann', note='the shop is closed'\)", prices
    )
    assert re.fullmatch(r"stock every 60 s .* None None None", stock)
    assert re.fullmatch(r"started [0-9a-f-]{36}", started)
