"""Test budgets and caps with a real worker: what waits, what is refused, and sums that equal the sandbox's own log."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scrape_do_celery.client import ScrapeDoAsyncAPIClient
from scrape_do_celery.errors import BudgetExceededError
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.runs.budgets import list_budgets, resume_buying, set_budget, stop_buying
from scrape_do_celery.store.commands.budgets import ReadSpend

SHOP = "https://shop.example/"
PLAIN_PRICE, SUPER_PRICE = 1, 10


def read_spend(pipeline, scope):
    """Return the spent and the reserved credits of a scope in this month."""
    store = pipeline.app_context.store
    amounts = store.run(ReadSpend(f"{datetime.now(UTC):%Y-%m}")).get(scope, {})
    return amounts.get("spent", 0) / 1000, amounts.get("reserved", 0) / 1000


def read_balance(pipeline):
    """Return the credits that the account has left, by the sandbox's own log."""
    with ScrapeDoAsyncAPIClient(pipeline.values["api_key"], base_url=pipeline.sandbox.url) as client:
        return client.get_user_info().available_credits


def test_runs_wait_for_their_budget_and_the_sums_equal_what_was_charged(pipeline, eventually):
    set_budget(25, "month", settings=pipeline.settings)
    set_budget(15, "day", tag="slow", settings=pipeline.settings)
    before = read_balance(pipeline)
    pipeline.work()
    fits = pipeline.enqueue([f"{SHOP}1"], super=True, tags=["slow"])
    eventually(lambda: pipeline.posts() == 1)
    waits = pipeline.enqueue([f"{SHOP}2"], super=True, tags=["slow", "b"])
    plain = pipeline.enqueue([f"{SHOP}3", f"{SHOP}4?sandbox=error"], tags=["b"])
    assert all(task.is_success for task in fits.result(timeout=60).tasks)
    plain.result(timeout=60)
    wait = eventually(lambda: waits.status.waiting_for)
    assert (wait.kind, "slow" in str(wait)) == (WaitKind.BUDGET, True)
    assert pipeline.posts() == 2
    set_budget(20, "day", tag="slow", settings=pipeline.settings)
    waits.result(timeout=60)
    account = account_scope(pipeline.settings.account_id)
    assert read_spend(pipeline, account) == (2 * SUPER_PRICE + PLAIN_PRICE, 0)
    assert read_spend(pipeline, tag_scope("slow")) == (2 * SUPER_PRICE, 0)
    assert read_spend(pipeline, tag_scope("b")) == (SUPER_PRICE + PLAIN_PRICE, 0)
    assert before - read_balance(pipeline) == read_spend(pipeline, account)[0]
    assert [(one.tag, one.limit, one.spent, one.reserved) for one in list_budgets(settings=pipeline.settings)] == [
        (None, 25.0, 21.0, 0.0),
        ("slow", 20.0, 20.0, 0.0),
    ]


def test_a_stop_holds_purchases_back_until_they_are_resumed(pipeline, eventually):
    pipeline.work()
    stop_buying(settings=pipeline.settings)
    handle = pipeline.enqueue([f"{SHOP}1"])
    wait = eventually(lambda: handle.status.waiting_for)
    assert (wait.kind, "scrape-do budgets resume account" in str(wait)) == (WaitKind.BUDGET, True)
    assert pipeline.posts() == 0
    resume_buying(settings=pipeline.settings)
    handle.result(timeout=60)


def test_pages_that_a_capped_run_bought_are_readable(pipeline):
    """The second part costs more than the first one has left, because failed pages are free and the others are not."""
    targets = [f"{SHOP}{n}" for n in range(1000)] + [f"{SHOP}more"]
    pipeline.values["over_budget"] = "fail"
    pipeline.work()
    handle = pipeline.enqueue(targets, max_credits=1001)
    set_budget(1000, "day", settings=pipeline.settings)
    with pytest.raises(BudgetExceededError) as caught:
        handle.result(timeout=110)
    assert caught.value.run_id == handle.run_id
    assert handle.state.value == "budget_exceeded"
    assert sum(task.is_success for task in handle.iter_tasks()) == 1000
