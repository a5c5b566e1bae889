"""Test that a run which a budget or its own cap cannot cover is refused before it is written, or ends with data."""

from __future__ import annotations

import pytest

from scrape_do_celery import enqueue, enqueue_many
from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.errors import BudgetExceededError
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.runs import new_runs
from scrape_do_celery.runs.price_checks import PricedRun, find_refusals
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartState, RunSpec
from scrape_do_celery.store.commands.budgets import SetBudget
from scrape_do_celery.store.commands.creation import CreateRun

URLS = ["https://shop.example/1", "https://shop.example/2"]


def limit(step_harness, credits_, period="day", tag=None):
    scope = account_scope(step_harness.account) if tag is None else tag_scope(tag)
    step_harness.run(SetBudget(scope, period, int(credits_ * MC_PER_CREDIT)))


def test_run_that_is_expected_to_cost_more_than_its_cap_is_not_written(step_harness, start_run):
    with pytest.raises(BudgetExceededError, match="the run was not started") as caught:
        start_run(URLS, super=True, max_credits=19.5)
    assert (caught.value.budget, caught.value.limit, caught.value.needed) == ("run", 19.5, 20.0)
    assert step_harness.run_ids() == set()
    assert start_run(URLS, super=True, max_credits=20).run_id in step_harness.run_ids()


@pytest.mark.parametrize(("tag", "period"), [(None, "day"), (None, "month"), ("shop:7", "day")])
def test_run_with_a_part_larger_than_a_whole_budget_is_not_written(step_harness, start_run, tag, period):
    limit(step_harness, 9, period, tag)
    with pytest.raises(BudgetExceededError) as caught:
        start_run(URLS, super=True, tags=["shop:7", "b"])
    error = caught.value
    assert (error.budget, error.limit, error.needed) == (f"{(tag and f'tag:{tag}') or 'account'} {period}", 9.0, 20.0)
    assert step_harness.run_ids() == set()
    start_run(URLS, tags=["shop:7"])


def test_budget_of_another_tag_refuses_nothing(step_harness, start_run):
    limit(step_harness, 1, tag="other")
    assert start_run(URLS, tags=["shop:7"]).run_id in step_harness.run_ids()


def test_call_that_is_repeated_finds_its_run_although_prices_have_risen(step_harness, start_run):
    handle = start_run(URLS, idempotency_key="k", max_credits=2)
    limit(step_harness, 1)
    assert start_run(URLS, idempotency_key="k", max_credits=2).run_id == handle.run_id
    assert start_run(URLS, run_id=handle.run_id, idempotency_key="k", max_credits=2).run_id == handle.run_id


def test_no_run_of_many_is_written_if_one_is_too_large(step_harness, start_run):
    limit(step_harness, 2)
    with pytest.raises(BudgetExceededError):
        enqueue_many([URLS[:1]] * 250 + [[*URLS, "https://shop.example/3"]])
    assert step_harness.run_ids() == set()
    assert len(enqueue_many([URLS[:1]] * 3)) == 3


def test_run_whose_largest_part_cannot_be_bought_under_the_cap_is_not_written(step_harness, start_run):
    # The mean is 2.8 credits; a purchase reserves 10 for each page.
    step_harness.redis.hset(step_harness.keys.prices(step_harness.account), "shop.example", "20786 1000=8 10000=2")
    with pytest.raises(BudgetExceededError, match="max_credits of the run is 6") as caught:
        start_run(URLS, max_credits=6)
    assert (caught.value.budget, caught.value.limit, caught.value.needed) == ("run", 6.0, 20.0)
    assert step_harness.run_ids() == set()


def test_plan_tells_the_refusal_of_enqueue(step_harness, start_run):
    assert enqueue(URLS, super=True, max_credits=20, dry_run=True).refusal is None
    capped = enqueue(URLS, super=True, max_credits=19, dry_run=True)
    assert "max_credits of the run is 19" in (capped.refusal or "")
    limit(step_harness, 9, tag="shop:7")
    plans = enqueue_many([URLS, URLS[:1] * 2], super=True, tags=["a", "shop:7"], dry_run=True)
    with pytest.raises(BudgetExceededError) as caught:
        start_run(URLS, super=True, tags=["a", "shop:7"])
    assert [plan.refusal for plan in plans] == [str(caught.value)] * 2
    assert str(plans[0]).endswith(f"; enqueue would refuse: {caught.value}")
    assert plans[0].to_json()["refusal"] == str(caught.value)
    assert step_harness.run_ids() == set()


def test_refusal_tells_what_is_spent_of_the_budget(step_harness, start_run, make):
    limit(step_harness, 5)
    run_id = start_run(URLS[:1]).run_id
    step_harness.api.script(create_job=make.created("job", 1))
    step_harness.clock.forward(1)
    step_harness.run_step(submit_part, step_harness.claim_part(run_id))
    with pytest.raises(BudgetExceededError, match="0 credits are spent and 1 reserved") as caught:
        start_run(URLS, super=True)
    assert (caught.value.limit, caught.value.reserved) == (5.0, 1.0)


def test_limits_of_many_scopes_are_read(step_harness, start_run):
    tags = [f"t{n}" for n in range(700)]
    limit(step_harness, 1, tag="t699")
    store = step_harness.app_context.store
    runs = [PricedRun.of(store, "", RunSpec.from_arguments(URLS, tags=[tag])) for tag in tags]
    refusals = find_refusals(store, step_harness.account, {}, runs)
    assert [number for number, refusal in enumerate(refusals) if refusal] == [699]


@pytest.mark.parametrize("first", [2, 1])
def test_budget_that_is_set_between_two_writes_of_a_call_does_not_refuse_the_rest(
    step_harness, start_run, monkeypatch, first
):
    """With 2, the first batch is written; with 1, only the first run of it."""
    store, sent = step_harness.app_context.store, []
    run_all = type(store).run_all

    def run_and_limit(self, commands):
        if sent or not isinstance(commands[0], CreateRun):
            return run_all(self, commands)
        sent.append(commands)
        results = run_all(self, commands[:first])
        limit(step_harness, 1)
        return results + (run_all(self, commands[first:]) if commands[first:] else [])

    monkeypatch.setattr(new_runs, "_BATCH_SIZE", 2)
    monkeypatch.setattr(type(store), "run_all", run_and_limit)
    handles = enqueue_many([URLS] * 5)
    assert len(sent) == 1
    assert step_harness.run_ids() == {handle.run_id for handle in handles}
    assert len(handles) == 5
    assert len({name for _, names in step_harness.step_messages() for name in names}) == 5
    with pytest.raises(BudgetExceededError):
        enqueue_many([URLS] * 5)


@pytest.mark.parametrize("tags", ["shop", [1], ["a b"], ["a,b"], [""], ["ä" * 40], [str(n) for n in range(9)]])
def test_wrong_tags_are_refused(step_harness, start_run, tags):
    with pytest.raises(ValueError, match="tag"):
        start_run(URLS, tags=tags)
    assert step_harness.run_ids() == set()


@pytest.mark.parametrize("cap", [0, -1, True, "5", float("nan"), float("inf"), 1e13])
def test_wrong_caps_are_refused(step_harness, start_run, cap):
    with pytest.raises(ValueError, match="max_credits"):
        start_run(URLS, max_credits=cap)
    assert step_harness.run_ids() == set()


def test_tags_are_part_of_the_equality_of_a_key(step_harness, start_run):
    start_run(URLS, idempotency_key="k", tags=["a"])
    with pytest.raises(ValueError, match="tags"):
        start_run(URLS, idempotency_key="k", tags=["b"])


def test_part_that_no_wait_can_help_ends_with_the_figures_of_the_budget(step_harness, start_run):
    run_id = start_run(URLS).run_id
    limit(step_harness, 1.5)
    step_harness.clock.forward(1)
    step_harness.run_step(submit_part, step_harness.claim_part(run_id))
    part = step_harness.part(run_id)
    assert (part.state, part.outcome, step_harness.api.posts) == (PartState.DONE, "budget_exceeded", 0)
    error = part.error
    assert isinstance(error, BudgetExceededError)
    assert (error.run_id, error.budget, error.limit, error.needed) == (run_id, "account day", 1.5, 2.0)


def test_part_that_waits_counts_no_attempt_and_sends_nothing(step_harness, start_run, make):
    first, second = start_run(URLS[:1]).run_id, start_run(URLS[1:]).run_id
    limit(step_harness, 1.5)
    step_harness.api.script(create_job=make.created("job", 1))
    for _ in range(10):
        for run_id in (first, second):
            step_harness.clock.forward(1)
            step_harness.set_fields(run_id, due_at=0)
            if step_harness.part(run_id).state is PartState.QUEUED:
                step_harness.run_step(submit_part, step_harness.claim_part(run_id))
    assert step_harness.api.posts == 1
    assert step_harness.part(first).state is PartState.RUNNING
    waiting = step_harness.part(second)
    assert (waiting.state, waiting.attempts, waiting.purchases) == (PartState.QUEUED, 0, 0)
