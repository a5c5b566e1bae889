"""Test `--json` of the commands. The fixture `scrape_do` compares each output with the declared shape."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery.cli.json_output import shapes_of
from tests.support.json_shapes import iter_commands

A, B = "https://a.example/", "https://user:secret@b.example/?token=secret"
#: The commands that serve until they are stopped.
SERVERS = {("metrics",), ("redis",), ("sandbox",), ("webhook",), ("worker",)}


def load(answer):
    assert answer.exit_code == 0, answer.output
    assert answer.stdout.count("\n") == 1, "one line"
    return json.loads(answer.stdout)


def test_each_command_declares_its_json():
    found = {names: shapes_of(command) for names, command in iter_commands()}
    assert {names for names, shapes in found.items() if not shapes} == SERVERS
    for names, command in iter_commands():
        assert ("as_json" in {one.name for one in command.params}) is (names not in SERVERS)


@pytest.mark.parametrize("shape", dict.fromkeys(shape for _, one in iter_commands() for shape in shapes_of(one)))
def test_each_field_of_a_shape_is_described(shape):
    schema = shape.model_json_schema()
    for one in (schema, *schema.get("$defs", {}).values()):
        assert one["description"]
        assert all(field.get("description") for field in one["properties"].values())
        assert one["additionalProperties"] is False


def test_start_and_status(scrape_do, tmp_path):
    (tmp_path / "urls.jsonl").write_text(f'"{A}"\n"{A}"\n{{"url": "{B}", "super": true}}\n')
    started = load(scrape_do("enqueue", tmp_path / "urls.jsonl", "--dedupe", "--json"))["runs"]
    assert [one["targets"] for one in started] == [1, 1]
    run_id = started[0]["run_id"]
    found = load(scrape_do("status", run_id, "--json"))
    assert (found["run_id"], found["state"], found["total"]) == (run_id, "queued", 1)
    assert found["waiting_for"]["kind"] == "no_worker"
    watched = scrape_do("watch", run_id, "--wait", 0, "--json")
    assert (watched.exit_code, json.loads(watched.stdout)["runs"]) == (3, [found])
    assert load(scrape_do("plan", A, "--json"))["runs"] == 1
    assert load(scrape_do("cancel", run_id, "--json"))["canceling"] is True


def test_results(scrape_do, at_sleep, end, tmp_path):
    at_sleep.append(end)
    lines = json.dumps({"url": A, "meta": {"id": 1}}) + "\n" + json.dumps(B)
    found = load(scrape_do("run", "-", "--format", "jsonl", "--out", tmp_path, "--json", input=lines))
    (one,) = found["runs"]
    assert one["run"]["state"] == "succeeded"
    assert one["tasks"][0] == {
        "number": 1,
        "url": A,
        "status": "success",
        "status_code": 200,
        "bytes": 6,
        "credits": None,
        "meta": {"id": 1},
        "error": None,
        "file": str(tmp_path / "0001-a-example.txt"),
    }
    assert one["tasks"][1]["url"] == "https://***@b.example/?token=***"
    assert load(scrape_do("result", one["run"]["run_id"], "--json"))["run"] == one["run"]
    assert load(scrape_do("cancel", one["run"]["run_id"], "--json"))["canceling"] is False


def test_failed_run_prints_its_json_and_its_exit_code(scrape_do, at_sleep, end):
    at_sleep.append(lambda: end("failed"))
    answer = scrape_do("run", A, "--json")
    assert (answer.exit_code, json.loads(answer.stdout)["runs"][0]["run"]["state"]) == (1, "failed")


def test_error_prints_no_json(scrape_do):
    for command in (("status", "nope"), ("enqueue", "x"), ("result", "nope")):
        answer = scrape_do(*command, "--json")
        assert answer.stdout == ""
        assert answer.stderr.startswith("Error: ")


def test_changes_of_budgets(scrape_do):
    words = {
        ("set", "tag:shop", "day", "5"): {"period": "day", "limit": 5, "stopped": None, "changed": True},
        ("remove", "tag:shop", "month"): {"period": "month", "limit": None, "stopped": None, "changed": False},
        ("stop", "tag:shop"): {"period": None, "limit": None, "stopped": True, "changed": True},
    }
    for arguments, change in words.items():
        assert load(scrape_do("budgets", *arguments, "--json")) == {"scope": "tag:shop", **change}
    assert load(scrape_do("budgets", "list", "--json"))["budgets"][0]["stopped"] is True
    assert load(scrape_do("budgets", "resume", "tag:shop", "--json"))["stopped"] is False


def test_empty_ledger(scrape_do):
    assert load(scrape_do("ledger", "--json"))["purchases"] == []
