"""Test that one worker warns of a budget once, by its log and by a signal whose receivers may stop purchases."""

from __future__ import annotations

import logging

import pytest
from log_records import own_records
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import list_budgets, set_budget, stop_buying
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.signals import budget_warning
from scrape_do_celery.store.commands.budgets import ReadBudgets
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.worker.budget_watch import BudgetWatch
from scrape_do_celery.worker.notifier import ChangeNotifier


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


@pytest.fixture
def told(step_harness):
    """Return the list of the budgets that a receiver hears. The receiver stops their purchases."""
    found = []

    def hear(sender, budget, **_):
        assert sender is step_harness.app
        found.append(budget)
        stop_buying(tag=budget.tag)

    budget_warning.connect(hear)
    yield found
    budget_warning.disconnect(hear)


def reserve(step_harness, run_id, amount):
    step_harness.create_run(run_id, each=[f"https://{run_id}.example/"], tags=["shop:7"])
    told = WriteIntent(
        step_harness.claim_part(run_id),
        run_id,
        30.0,
        account="me",
        groups=[PriceGroup("x", 1, 0, int(amount * 1000), None)],
    )
    verdict, _ = step_harness.run(told)
    assert verdict == "ok"


class Ticks:
    now = 0.0

    def __call__(self):
        return self.now


def test_budget_that_passes_its_threshold_is_told_once_by_one_worker(step_harness, told, caplog):
    ticks = Ticks()
    watches = [BudgetWatch(step_harness.app_context, ticks) for _ in range(2)]

    def look():
        ticks.now += 10
        step_harness.redis.delete(step_harness.keys.budget_check)
        for watch in watches:
            watch.check()

    look()
    set_budget(100, "day", tag="shop:7")
    reserve(step_harness, "a", 79)
    look()
    assert told == []
    reserve(step_harness, "b", 1)
    look()
    look()
    (budget,) = told
    assert (budget.tag, budget.period, budget.limit, budget.reserved) == ("shop:7", "day", 100, 80)
    (record,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert record.event == "budget_warning"
    assert "the limit of the tag shop:7 for a day is 100; 0 credits are spent and 80 reserved" in record.getMessage()
    assert [one.tag for one in list_budgets() if one.is_stopped] == ["shop:7"]
    set_budget(90, "day", tag="shop:7")
    look()
    assert len(told) == 2, "a new limit warns anew"


def test_store_is_asked_only_every_few_seconds(step_harness, monkeypatch):
    ticks, asked = Ticks(), []
    watch = BudgetWatch(step_harness.app_context, ticks)
    monkeypatch.setattr(type(step_harness.app_context.store), "run", lambda _, command: asked.append(command) or [])
    for _ in range(100):
        ticks.now += 0.1
        watch.check()
    assert len(asked) == 2


def test_limits_are_read_by_one_worker_for_all(step_harness, monkeypatch):
    store, read = step_harness.app_context.store, []
    run = type(store).run

    def note(self, command):
        read.extend([command] if isinstance(command, ReadBudgets) else [])
        return run(self, command)

    monkeypatch.setattr(type(store), "run", note)
    for watch in [BudgetWatch(step_harness.app_context) for _ in range(5)]:
        watch.check()
    assert len(read) == 1


def test_receiver_that_raises_is_logged_and_the_others_are_called(step_harness, told, caplog):
    def fail(**_):
        raise ValueError("the receiver's own fault")

    budget_warning.connect(fail)
    try:
        set_budget(10, "month")
        set_budget(10, "day", tag="shop:7")
        reserve(step_harness, "a", 9)
        ChangeNotifier(step_harness.app_context).do_pass()
    finally:
        budget_warning.disconnect(fail)
    assert [one.tag for one in told] == ["shop:7"]
    assert "the receiver's own fault" in caplog.text


def test_store_that_is_away_ends_no_pass(step_harness, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    notifier = ChangeNotifier(step_harness.app_context)

    def fail(*_):
        raise RedisConnectionError("away")

    monkeypatch.setattr(type(step_harness.app_context.store), "run", fail)
    assert notifier.do_pass() == notifier.interval
    assert "budgets_not_read" in [one.event for one in own_records(caplog)]
