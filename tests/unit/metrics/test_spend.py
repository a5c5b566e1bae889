"""Test the metrics of budgets and of costs: their figures and their bounds."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from redis.exceptions import ResponseError

from scrape_do_celery import UserInformation
from scrape_do_celery.metrics.collector import StoreCollector
from scrape_do_celery.metrics.spend import read_spend_samples
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.store.commands.budgets import SetBudget, StopBuying
from scrape_do_celery.store.commands.prices import NoteAccountFigures, ReadBalance
from scrape_do_celery.store.retention import HOUR, LEDGER_TTL, SECONDS_PER_DAY, SPEND_TTL


@pytest.fixture
def samples(store):
    def read():
        found = read_spend_samples(store.sync_store, store.clock.time())
        return {name.removeprefix("scrape_do_"): values for name, values in found.items()}

    return read


def spend(store, **amounts):
    """Write what today has cost by scope, in thousandths, past the rules of the store."""
    key = store.keys.spend(f"{datetime.fromtimestamp(store.clock.time(), UTC):%Y-%m-%d}")
    store.redis.hset(key, mapping={f"{scope} {kind}": amount for scope, (kind, amount) in amounts.items()})
    store.redis.expire(key, SPEND_TTL)


def test_budgets_show_limit_use_overrun_and_stop(store, samples):
    account, tag = account_scope("me"), tag_scope("shop:7")
    store.run(SetBudget(account, "day", 5_000))
    store.run(SetBudget(tag, "day", 1_000))
    store.run(StopBuying(tag, is_stopped=True))
    store.run(StopBuying(tag_scope("b"), is_stopped=True))
    spend(store, **{account: ("reserved", 4_500), tag: ("spent", 1_500)})
    found = samples()
    assert found["budget_limit"] == {(account, "day"): 5.0, (tag, "day"): 1.0}
    assert found["budget_spent"] == {(account, "day"): 0.0, (tag, "day"): 1.5}
    assert found["budget_reserved"] == {(account, "day"): 4.5, (tag, "day"): 0.0}
    assert found["budget_overrun"] == {(account, "day"): 0.0, (tag, "day"): 0.5}
    assert found["buying_stopped"] == {(account,): 0.0, (tag,): 1.0, (tag_scope("b"),): 1.0}
    assert found["tag_credits_today"] == {("shop:7",): 1.5}


def test_labels_of_budgets_tags_and_hosts_are_bounded(store, samples):
    for n in range(120):
        store.run(SetBudget(tag_scope(f"t{n}"), "day", 1_000_000))
        store.run(StopBuying(tag_scope(f"s{n}"), is_stopped=True))
    spend(store, **{tag_scope(f"t{n}"): ("spent", 1_000 + n) for n in range(120)})
    day = int(store.clock.time() // SECONDS_PER_DAY)
    store.redis.hset(store.keys.host_spend(day), mapping={f"{n}.example": n for n in range(80)} | {"(other)": 70})
    store.redis.expire(store.keys.host_spend(day), LEDGER_TTL)
    found = samples()
    assert len(found["budget_limit"]) == len(found["budget_overrun"]) == 100
    assert (tag_scope("t119"), "day") in found["budget_spent"]
    assert (tag_scope("t0"), "day") not in found["budget_spent"], "the budget with most left is not served"
    assert len(found["buying_stopped"]) <= 200
    assert len(found["tag_credits_today"]) == 51
    assert sum(found["tag_credits_today"].values()) == pytest.approx(sum(1_000 + n for n in range(120)) / 1000)
    assert len(found["host_credits_today"]) == 50
    assert sum(found["host_credits_today"].values()) == pytest.approx((sum(range(80)) + 70) / 1000)
    assert found["host_credits_today"]["(other)",] == pytest.approx((70 + sum(range(31))) / 1000)


def test_balance_has_the_first_reading_of_each_hour_and_is_bounded(store):
    def note(left):
        user = UserInformation(available_credits=left, total_concurrency=5)
        store.run(NoteAccountFigures.of("me", user, store.clock.time()))

    hour = store.clock.time() // HOUR
    store.clock.stopped_at = hour * HOUR
    for left in (100, 90):
        note(left)
    store.clock.forward(HOUR)
    note(80)
    assert store.run(ReadBalance("me")) == [(hour, 100.0), (hour + 1, 80.0)]
    assert store.redis.ttl(store.keys.balance("me")) == LEDGER_TTL
    store.clock.forward(LEDGER_TTL - HOUR)
    note(70)
    assert [left for _, left in store.run(ReadBalance("me"))] == [80.0, 70.0]


@pytest.fixture
def collector(step_harness, monkeypatch, credits_left):
    credits_left[:] = [12]
    monkeypatch.setattr(step_harness.app_context.store.client, "info", lambda *_: {})
    return StoreCollector(step_harness.app_context.store, step_harness.settings)


def test_scrape_notes_the_balance_of_the_account(step_harness, collector):
    list(collector.collect())
    assert [left for _, left in step_harness.run(ReadBalance(step_harness.account))] == [12.0]


def test_store_that_takes_no_balance_serves_all_metrics(step_harness, collector, monkeypatch):
    store = step_harness.app_context.store
    run = store.run

    def refuse(command):
        if isinstance(command, NoteAccountFigures):
            raise ResponseError("OOM")
        return run(command)

    monkeypatch.setattr(store, "run", refuse)
    assert {family.name for family in collector.collect() if family.samples} >= {"scrape_do_credits_left"}
    assert step_harness.run(ReadBalance(step_harness.account)) == []
