"""Test that a starting worker sets the limits of the settings, and that a difference to the store is told."""

from __future__ import annotations

import logging

import pytest
from log_records import own_records

from scrape_do_celery.budget_checks import check_budgets, set_missing_budgets
from scrape_do_celery.config.budget_limits import MC_PER_CREDIT as MC
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.store.commands.budgets import ReadBudgets, SetBudget, StopBuying
from scrape_do_celery.worker import lifecycle


@pytest.fixture
def limited(step_harness):
    return step_harness.settings.model_copy(update={"budgets": "account day 5000, tag:shop:7 month 20000.5"})


def limits(step_harness):
    return {(row.use.scope, row.use.period): row.use.limit_mc / MC for row in step_harness.run(ReadBudgets())}


def test_starting_worker_sets_the_limits_of_the_settings_once(step_harness, limited, caplog, monkeypatch):
    monkeypatch.setattr(lifecycle, "refuse_unfit_server", lambda self: None)
    caplog.set_level(logging.INFO)
    step_harness.app_context.settings = limited
    assert lifecycle.find_store_fault(step_harness.app_context) is None
    account = account_scope(limited.account_id)
    assert limits(step_harness) == {(account, "day"): 5000, (tag_scope("shop:7"), "month"): 20000.5}
    assert "the limit of the tag shop:7 for a month is 20,000.5 credits from now on" in caplog.text
    assert [one.event for one in own_records(caplog) if one.levelno == logging.INFO].count("budget_set") == 2
    step_harness.run(SetBudget(account, "day", 100 * MC))
    caplog.clear()
    assert lifecycle.find_store_fault(step_harness.app_context) is None
    assert limits(step_harness)[account, "day"] == 100
    (told,) = [one.getMessage() for one in caplog.records if "SCRAPE_DO_BUDGETS" in one.getMessage()]
    assert told.endswith(
        "the store has 100, which counts: run `scrape-do budgets set account day 5000`, or correct the setting"
    )


def test_limits_of_the_settings_that_differ_from_the_store_are_found(step_harness, limited):
    store = step_harness.sync_store
    assert [one.text.split(": ")[-1] for one in check_budgets(store, limited)] == [
        "the next worker that starts sets it"
    ] * 2
    set_missing_budgets(store, limited)
    assert list(check_budgets(store, limited)) == []
    assert list(check_budgets(store, step_harness.settings)) == []
    step_harness.run(SetBudget(tag_scope("shop:7"), "month", 1))
    (found,) = check_budgets(store, limited)
    assert found.level == "warning"
    assert "the store has 0.001, which counts: run `scrape-do budgets set tag:shop:7 month 20000.5`" in found.text


def test_process_without_a_token_compares_limits_of_tags_only(step_harness, limited):
    bare = limited.model_copy(update={"api_key": None})
    (found,) = check_budgets(step_harness.sync_store, bare)
    assert "the tag shop:7" in found.text


def test_stops_are_found(step_harness):
    step_harness.run(StopBuying(tag_scope("shop:7"), is_stopped=True))
    step_harness.run(StopBuying(account_scope(step_harness.account), is_stopped=True))
    told = [one.text for one in check_budgets(step_harness.sync_store, step_harness.settings)]
    account = step_harness.account
    assert told == [
        f"purchases of the account {account} are stopped; to go on: scrape-do budgets resume account:{account}",
        "purchases of the tag shop:7 are stopped; to go on: scrape-do budgets resume tag:shop:7",
    ]


def test_limits_and_stops_that_bind_only_another_account_are_found(step_harness):
    store, settings = step_harness.sync_store, step_harness.settings
    step_harness.run(SetBudget(account_scope("old"), "month", 5 * MC))
    step_harness.run(StopBuying(account_scope("old"), is_stopped=True))
    month, *_, stop = (one.text for one in check_budgets(store, settings) if "and none for" in one.text)
    assert month.startswith(
        f"the store has a limit for a month for the account old, and none for the account {settings.account_id}"
    )
    assert "`scrape-do budgets remove account:old month`" in month
    assert "`scrape-do budgets resume account:old`" in stop
    assert not [
        one for one in check_budgets(store, settings.model_copy(update={"api_key": None})) if "and none" in one.text
    ]
    step_harness.run(SetBudget(account_scope(step_harness.account), "month", 5 * MC))
    step_harness.run(StopBuying(account_scope(step_harness.account), is_stopped=True))
    assert not [one for one in check_budgets(store, settings) if "and none for" in one.text]
