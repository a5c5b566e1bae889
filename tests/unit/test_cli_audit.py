"""Test `scrape-do audit` with an in-memory store and a scripted balance."""

from __future__ import annotations

import csv
import io
import json
import re

import pytest
from click.testing import CliRunner
from redis.exceptions import ResponseError

from scrape_do_celery import APIConnectionError, UserInformation
from scrape_do_celery.cli import main
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.runs import AppContext
from scrape_do_celery.runs.spend import SpendRow, csv_lines, name_day
from scrape_do_celery.store import PartId
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.prices import NoteAccountFigures, ReadBalance
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.retention import SECONDS_PER_DAY
from tests.support.json_shapes import check_json

HEADER = ["day", "tag", "purchases", "targets", "estimated", "reported", "assumed", "in_doubt"]


@pytest.fixture
def scrape_do(step_harness, monkeypatch, credits_left):
    monkeypatch.setattr(AppContext, "for_app", lambda *_, **__: step_harness.app_context)

    def call(*arguments, code=0):
        answer = CliRunner().invoke(main, [str(a) for a in arguments])
        assert answer.exit_code == code, answer.output
        check_json(arguments, answer)
        return answer.output

    return call


def buy(step_harness, run_id, *, price, costs=None, tags=()):
    """Buy a job of one target for each cost. Without costs, nobody knows whether there is a job."""
    account, count = step_harness.account, len(costs or [0])
    each = [f"https://{run_id}.example/{n}" for n in range(count)]
    step_harness.create_run(run_id, each=each, tags=list(tags))
    claim = step_harness.claim_part(run_id, account=account)
    verdict, _ = step_harness.run(
        WriteIntent(claim, run_id, 30.0, account=account, groups=[PriceGroup("x", 1, 0, int(price * 1000), None)])
    )
    assert verdict == "ok"
    if costs is None:
        return
    step_harness.set_fields(run_id, lease=0)
    claim = step_harness.claim_part(run_id, account=account)
    fields = {"job": run_id, "tasks": pack([str(n) for n in range(count)]), "purchase_status": "confirmed"}
    assert step_harness.run(UpdatePart(claim, fields, to="running", after=0.0, owner=run_id)) == "ok"
    for n, cost in enumerate(costs):
        metadata = {} if cost is None else {"Request-Cost": str(cost)}
        task = make_task(n, each[n], metadata)
        step_harness.run(StoreContent(PartId(run_id, 0), n, task, f"{run_id}.example"))
    step_harness.set_fields(run_id, lease=0)
    assert step_harness.run(FinishPart(step_harness.claim_part(run_id, account=account), "succeeded")) is not None


def make_task(position, url, metadata):
    from tests.unit.conftest import task

    return task(position, url=url, scrape_do_metadata=metadata)


def note_balance(step_harness, credits_):
    user = UserInformation(available_credits=credits_)
    step_harness.run(NoteAccountFigures.of(step_harness.account, user, step_harness.clock.time()))


def today(step_harness):
    return name_day(int(step_harness.clock.time() // SECONDS_PER_DAY))


@pytest.fixture
def bought(step_harness):
    """Make three purchases, an hour after the first reading of the balance."""
    step_harness.clock.stopped_at = 500_000 * 3600 + 10.0
    note_balance(step_harness, 1000)
    step_harness.clock.forward(2 * 3600)
    buy(step_harness, "a", price=10, costs=(1, 5.5), tags=("shop:7", "eu"))
    buy(step_harness, "b", price=4, costs=(3, None), tags=("eu",))
    buy(step_harness, "c", price=2)
    return today(step_harness)


def test_purchases_are_shown_by_day_and_tag_beside_reported_costs(scrape_do, bought, credits_left):
    credits_left[:] = [990]
    lines = scrape_do("audit").splitlines()
    assert lines[0].split() == HEADER
    assert [line.split() for line in lines[2:5]] == [
        [bought, "-", "3", "5", "16", "9.5", "2", "1"],
        [bought, "eu", "2", "4", "14", "9.5", "2", "0"],
        [bought, "shop:7", "1", "2", "10", "6.5", "0", "0"],
    ]
    assert "9.5 credits, for purchases that were made in this time" in lines[7]
    assert "10 credits, by all programs" in lines[8]
    assert "warning" not in "".join(lines)


def test_tag_selects_its_purchases(scrape_do, bought):
    found = json.loads(scrape_do("audit", "--tag", "shop:7", "--json", code=1))["rows"]
    assert [(one["tag"], one["purchases"], one["reported"]) for one in found] == [("shop:7", 1, 6.5)]
    assert "a tag must have" in scrape_do("audit", "--tag", "a b", code=2)


def test_more_reported_than_the_balance_fell_is_a_finding(step_harness, scrape_do, bought, credits_left):
    credits_left[:] = [995]
    answer = json.loads(scrape_do("audit", "--json", code=1))
    assert answer["balance"]["excess"] == 4.5
    assert (answer["balance"]["reported"], answer["balance"]["decrease"]) == (9.5, 5)
    assert "warning: tasks reported 4.5 credits more than the balance fell" in scrape_do("audit", code=1)
    credits_left[:] = [5000]
    assert "4,000 credits: top-ups, or a new month" in scrape_do("audit")


def test_each_audit_keeps_a_reading(step_harness, scrape_do, bought, monkeypatch):
    scrape_do("audit", code=1)
    assert [one for _, one in step_harness.run(ReadBalance(step_harness.account))] == [1000, 1000]
    store = step_harness.app_context.store
    run = store.run

    def refuse(command):
        if isinstance(command, NoteAccountFigures):
            raise ResponseError("OOM")
        return run(command)

    monkeypatch.setattr(store, "run", refuse)
    assert "the reading of the balance is not kept: OOM" in scrape_do("audit", code=1)


def test_without_two_readings_the_balance_is_not_compared(step_harness, scrape_do):
    assert scrape_do("audit", "--days", "1").splitlines() == [
        "no purchase in 1 day(s)",
        "the balance was not compared: the first reading of the balance is less than an hour old; try again later",
    ]
    assert "less than an hour old" in json.loads(scrape_do("audit", "--json"))["not_compared"]


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (lambda harness, left: left.__setitem__(slice(None), [APIConnectionError()]), "did not tell .*no_answer"),
        (lambda harness, left: harness.redis.sadd(harness.keys.accounts, "x"), "purchases of 1 other account"),
        (
            lambda harness, left: setattr(
                harness.app_context, "settings", harness.settings.model_copy(update={"api_key": None})
            ),
            "SCRAPE_DO_API_KEY is not set",
        ),
    ],
)
def test_why_the_balance_is_not_compared(step_harness, scrape_do, bought, credits_left, prepare, why):
    prepare(step_harness, credits_left)
    assert re.search(f"the balance was not compared: .*{why}", scrape_do("audit"))


def test_csv_has_the_costs_of_tags_hosts_and_the_account(step_harness, scrape_do, bought):
    found = list(csv.DictReader(io.StringIO(scrape_do("audit", "--csv"))))
    assert [(one["day"], one["by"], one["name"], one["spent"], one["reserved"], one["assumed"]) for one in found] == [
        (bought, "account", step_harness.account, "11.5", "2.0", "2.0"),
        (bought, "host", "a.example", "6.5", "0.0", "0.0"),
        (bought, "host", "b.example", "3.0", "0.0", "0.0"),
        (bought, "tag", "eu", "11.5", "0.0", "2.0"),
        (bought, "tag", "shop:7", "6.5", "0.0", "0.0"),
    ]
    only = list(csv.DictReader(io.StringIO(scrape_do("audit", "--csv", "--tag", "eu"))))
    assert [one["name"] for one in only] == ["eu"]
    assert "not both" in scrape_do("audit", "--csv", "--json", code=2)


def test_csv_has_no_formula():
    text = "".join(csv_lines([SpendRow("2026-11-29", "tag", "=HYPERLINK(1)", 1.0, 0.0, 0.0)]))
    assert "'=HYPERLINK(1)" in text
    assert ",=" not in text
