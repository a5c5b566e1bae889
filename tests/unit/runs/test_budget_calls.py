"""Test the budgets of producers: what they write, what they read, and that bad input writes nothing."""

from __future__ import annotations

import pytest

from scrape_do_celery import Budget, BudgetPeriod, list_budgets, resume_buying, set_budget, stop_buying
from scrape_do_celery.config import SettingsWarning
from scrape_do_celery.config.budget_limits import MC_PER_CREDIT as MC
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.store.commands.budgets import ReadBudgets
from scrape_do_celery.store.commands.purchases import WriteIntent


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


def written(step_harness):
    return {(row.use.scope, row.use.period, row.use.limit_mc) for row in step_harness.run(ReadBudgets())}


def test_limits_of_the_account_and_of_a_tag_are_set_changed_and_removed(step_harness):
    account = account_scope(step_harness.account)
    assert set_budget(5_000, "day")
    assert not set_budget(5_000, "day")
    assert set_budget(0.5, "month", tag="shop:7")
    assert written(step_harness) == {(account, "day", 5_000 * MC), (tag_scope("shop:7"), "month", 500)}
    assert set_budget(6_000, "day")
    assert set_budget(None, "month", tag="shop:7")
    assert not set_budget(None, "month", tag="shop:7")
    assert written(step_harness) == {(account, "day", 6_000 * MC)}


def test_purchases_are_stopped_and_resumed(step_harness):
    assert stop_buying(tag="shop:7")
    assert not stop_buying(tag="shop:7")
    (stop,) = list_budgets()
    assert stop == Budget(None, "shop:7", None, None, 0.0, 0.0, 0.0)
    assert (stop.is_stopped, stop.overrun) == (True, 0.0)
    assert resume_buying(tag="shop:7")
    assert not resume_buying(tag="shop:7")
    assert list_budgets() == []


def test_budgets_show_their_use(step_harness):
    set_budget(100, "day")
    step_harness.create_run()
    claim = step_harness.claim_part()
    verdict, _ = step_harness.run(
        WriteIntent(claim, "n", 30.0, account=step_harness.account, groups=[PriceGroup("x", 1, 0, 2500, None)])
    )
    assert verdict == "ok"
    (found,) = list_budgets()
    assert found == Budget(step_harness.account, None, BudgetPeriod.DAY, 100.0, 0.0, 2.5, 0.0)
    assert (found.is_stopped, found.overrun) == (False, 0.0)


def test_costs_above_the_limit_are_an_overrun():
    assert Budget("me", None, BudgetPeriod.DAY, 10.0, 12.5, 1.0, 0.0).overrun == 2.5


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: set_budget(0, "day"), "limit must be more than 0"),
        (lambda: set_budget(-1, "day"), "limit must be more than 0"),
        (lambda: set_budget(float("nan"), "day"), "limit must be more than 0"),
        (lambda: set_budget(float("inf"), "day"), "limit must be more than 0"),
        (lambda: set_budget(True, "day"), "limit must be a number of credits"),
        (lambda: set_budget("5", "day"), "limit must be a number of credits"),
        (lambda: set_budget(5, "week"), "period must be 'day' or 'month'"),
        (lambda: set_budget(5, None), "period must be 'day' or 'month'"),
        (lambda: set_budget(5, "day", tag=""), "a tag must have 1 to 64 bytes"),
        (lambda: set_budget(5, "day", tag="a b"), "a tag must have 1 to 64 bytes"),
        (lambda: set_budget(5, "day", tag="a", account="b"), "tag and account must not be given together"),
        (lambda: set_budget(5, "day", account="a b"), "the id of an account must have"),
        (lambda: stop_buying(account=7), "the id of an account must have"),
        (lambda: set_budget(5, "day", tag=7), "a tag must be a text"),
        (lambda: stop_buying(tag="a,b"), "a tag must have 1 to 64 bytes"),
        (lambda: resume_buying(tag="a\nb"), "a tag must have 1 to 64 bytes"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(step_harness, call, named):
    before = set(step_harness.redis.keys())
    with pytest.raises(ValueError, match=named):
        call()
    assert written(step_harness) == set()
    assert set(step_harness.redis.keys()) == before


def test_process_without_a_token_means_the_only_account_of_the_store(step_harness):
    settings = step_harness.settings.model_copy(update={"api_key": None})
    with pytest.raises(ConfigurationError, match="SCRAPE_DO_API_KEY is not set"):
        stop_buying(settings=settings)
    assert written(step_harness) == set()
    step_harness.redis.sadd(step_harness.keys.accounts, "first")
    assert stop_buying(settings=settings)
    assert written(step_harness) == {(account_scope("first"), "stop", 1)}
    step_harness.redis.sadd(step_harness.keys.accounts, "second")
    with pytest.raises(ConfigurationError, match="exactly one account"):
        set_budget(5, "day", settings=settings)
    with pytest.raises(ValueError, match="period must be"):
        set_budget(5, "week", settings=settings)
    assert set_budget(5, "day", tag="shop:7", settings=settings)
    assert resume_buying(account="first", settings=settings)
    assert set_budget(5, "day", account="second", settings=settings)


def test_account_that_the_store_does_not_know_gives_a_warning(step_harness):
    step_harness.redis.sadd(step_harness.keys.accounts, "other")
    with pytest.warns(SettingsWarning, match="no purchase of this store has the account"):
        assert stop_buying()
    assert resume_buying(), "the removal of a stop that was there needs no warning"
