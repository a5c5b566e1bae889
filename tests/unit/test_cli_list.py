"""Test `scrape-do list`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import partial

import pytest
from click.testing import CliRunner

from scrape_do_celery import list_runs
from scrape_do_celery.cli import main
from scrape_do_celery.store.commands.listing import ListRuns
from scrape_do_celery.store.commands.runs import RecordOutcome

URLS = ["https://shop.example/1", "https://b.example/2"]


@pytest.fixture
def scrape_do(start_run):
    def call(*arguments):
        return CliRunner().invoke(main, ["list", *map(str, arguments)])

    return call


def test_table_has_a_line_for_each_run(scrape_do, start_run, step_harness):
    first = start_run(URLS, label="prices of shop 7", tags=["shop:7", "eu"])
    second = start_run(URLS[:1])
    step_harness.finish_part(second.run_id, outcome="failed")
    step_harness.run(RecordOutcome(second.run_id, "failed", {}))
    answer = scrape_do()
    header, _, newest, oldest = answer.stdout.splitlines()
    assert header.split() == ["run", "label", "tags", "hosts", "state", "created", "done", "failed", "tasks", "credits"]
    created = f"{second.status.created:%Y-%m-%dT%H:%M:%SZ}"
    assert newest.split() == [second.run_id, "-", "-", "shop.example", "failed", created, "0", "0", "1", "0"]
    assert f"{first.run_id}  prices of shop 7  shop:7, eu  shop.example, ...  queued" in oldest
    assert (answer.exit_code, answer.stderr) == (0, "")


def test_filters_are_those_of_the_list(scrape_do, start_run):
    wanted = start_run(URLS, label="a", tags=["x"])
    start_run(URLS, label="a")
    start_run(URLS, tags=["x"])
    answer = scrape_do("--label", "a", "--tag", "x", "--state", "queued", "--since", "2h", "--json")
    assert [one["run_id"] for one in json.loads(answer.output)["runs"]] == [wanted.run_id]
    assert json.loads(scrape_do("--until", "1h", "--json").output) == {"runs": [], "newer": [], "cursor": None}


def test_json_has_the_statuses_and_the_cursor(scrape_do, start_run):
    first, second = start_run(URLS, label="a"), start_run(URLS)
    page = json.loads(scrape_do("--json", "--limit", 1).output)
    assert [one["run_id"] for one in page["runs"]] == [second.run_id]
    page = json.loads(scrape_do("--json", "--limit", 1, "--cursor", page["cursor"]).output)
    expected = first.status.to_json()
    del expected["waiting_for"]
    assert page == {"runs": [expected], "newer": [], "cursor": None}


def test_short_pages_of_the_store_are_joined(scrape_do, start_run, monkeypatch):
    wanted = [start_run(URLS[:1], label="a", tags=["x"] if n % 3 == 0 else []).run_id for n in range(9)][::3]
    for _ in range(9):
        start_run(URLS[:1], tags=["x"])
    monkeypatch.setattr("scrape_do_celery.runs.listing.ListRuns", partial(ListRuns, max_reads=2))
    assert len(list_runs(label="a", tag="x").runs) < 3
    page = json.loads(scrape_do("--label", "a", "--tag", "x", "--json", "--limit", 2).output)
    assert [one["run_id"] for one in page["runs"]] == wanted[:0:-1]


def test_empty_list_says_so_and_prints_no_line(scrape_do, start_run):
    answer = scrape_do()
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "the store has no run\n")
    start_run(URLS)
    answer = scrape_do("--label", "other")
    assert (answer.exit_code, answer.stdout, answer.stderr) == (0, "", "no run has these properties\n")


@pytest.mark.parametrize("text", ["2026-11-30T12:00", "2026-11-30 12:00:00+00:00", "2026-11-30T13:00+01:00"])
def test_time_without_a_zone_is_in_utc(scrape_do, monkeypatch, text):
    seen = []
    monkeypatch.setattr(
        "scrape_do_celery.cli.listing.list_runs", lambda **filters: seen.append(filters["since"]) or list_runs()
    )
    assert scrape_do("--since", text).exit_code == 0
    assert seen == [datetime(2026, 11, 30, 12, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--since", "yesterday"), "'yesterday' should be a time"),
        (("--since", "9999999999999d"), "or how long ago"),
        (("--state", "endedd"), "'endedd' is not one of"),
        (("--tag", "a b"), "a tag must have"),
        (("--label", " "), "label must have"),
        (("--cursor", "?"), "cursor must be the cursor"),
        (("--limit", "0"), "0 is not in the range"),
    ],
)
def test_wrong_option_is_named(scrape_do, arguments, named):
    answer = scrape_do(*arguments)
    assert answer.exit_code in {1, 2}
    assert named in answer.stderr


def test_runs_of_a_newer_version_are_told_beside_the_list(scrape_do, start_run, step_harness):
    newer, readable = start_run(URLS), start_run(URLS)
    step_harness.redis.hset(step_harness.keys.run(newer.run_id), "v", 2)
    answer = scrape_do("--json")
    page = json.loads(answer.stdout)
    assert ([one["run_id"] for one in page["runs"]], page["newer"]) == ([readable.run_id], [newer.run_id])
    assert answer.stderr.startswith(f"1 run(s) of a newer version of scrape-do-celery are left out ({newer.run_id})")
