"""Test the estimate and the plan of a run: they follow what the store knows, and buy and write nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from scrape_do_celery import Estimate, RunPlan, aenqueue, aenqueue_many, aestimate, estimate
from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.runs import enqueue, enqueue_many
from scrape_do_celery.runs.hooks import override_hooks
from scrape_do_celery.store import Keys
from scrape_do_celery.store.commands.prices import (
    TASK_SECONDS,
    TIMED_TASKS,
    AccountFigures,
    ClaimAccountReading,
    NoteAccountFigures,
    ReadAccountFigures,
)
from scrape_do_celery.store.encryption import Encryptor

URL = "https://shop.example/0"


@pytest.fixture
def planner(step_harness, start_run):
    """Return a store for whose account the plans of this process are made."""

    def learn(key, text, account=None):
        step_harness.redis.hset(step_harness.keys.prices(account or step_harness.account), key, text)

    step_harness.learn = learn
    return step_harness


def dump(step_harness):
    return {key: step_harness.redis.dump(key) for key in step_harness.redis.scan_iter()}


def test_unknown_host_is_estimated_by_its_options(planner, make):
    assert estimate(make.urls(3), render={}) == Estimate(15.0, 15.0, None)


def test_domains_and_plugins_with_a_price_are_bounded(planner):
    assert estimate(["https://www.linkedin.com/in/a"] * 2) == Estimate(60.0, 60.0, 60.0)
    assert estimate(["https://carsales.com.au/a"]) == Estimate(200.0, 25.0, 200.0)
    assert estimate(plugin={"key": "google/search", "params": [{"q": "a"}]}) == Estimate(10.0, 10.0, 10.0)


def test_estimate_follows_what_the_account_paid(planner, make):
    planner.learn("shop.example", "20786 1000=1 10000=3")
    planner.learn("shop.example|super", "20786 25000=9")
    planner.learn("shop.example", "20786 99000=9", account="another")
    assert estimate(make.urls(4)) == Estimate(31.0, 4.0, None)
    assert estimate(make.urls(1), super=True) == Estimate(25.0, 10.0, None)


def test_learned_cost_moves_the_bounds_of_a_rule(planner):
    planner.learn("www.linkedin.com", "20786 10000=1 40000=1")
    assert estimate(["https://www.linkedin.com/in/a"]) == Estimate(25.0, 10.0, 40.0)


def test_estimate_takes_the_arguments_of_enqueue(planner):
    assert estimate([URL, URL], dedupe=True).expected == 1
    assert estimate(JobCreationRequest(targets=[URL], super=True)).expected == 10
    for wrong in ({"geocode": "us"}, {"idempotency_key": "k"}, {"dry_run": True}):
        with pytest.raises(
            ValueError, match=rf"^no option '{next(iter(wrong))}'; (did you mean|this is an argument of)"
        ):
            estimate([URL], **wrong)


def test_hosts_of_many_chunks_are_read(planner):
    targets = [f"https://h{n}.example/" for n in range(1500)]
    planner.learn("h0.example", "1 2000=1")
    planner.learn("h1499.example", "1 3000=1")
    assert estimate(targets).expected == 1498 + 2 + 3


def test_encrypted_store_gives_the_same_estimate(planner, make):
    planner.app_context.store.keys = Keys(planner.keys.prefix, Encryptor([b"k" * 32]))
    planner.learn(f"#{planner.app_context.store.keys.mask('shop.example')}", "1 7000=1")
    assert estimate(make.urls(1)).expected == 7


def test_estimate_is_readable():
    assert str(Estimate(1450.5, 1000, None)) == "1,450.5 credits expected, 1,000 at least, without a known limit"
    assert str(Estimate(3, 1, 9)) == "3 credits expected, 1 at least, 9 at most"
    assert json.dumps(Estimate(3.0, 1.0, None).to_json()) == '{"expected": 3.0, "minimum": 1.0, "maximum": null}'


# Without a token


@pytest.fixture
def without_token(planner):
    settings = planner.app_context.settings
    planner.app_context.settings = settings.model_copy(update={"api_key": None})
    yield planner
    planner.app_context.settings = settings


def test_process_without_a_token_takes_the_only_account(without_token, make):
    without_token.redis.sadd(without_token.keys.accounts, "only")
    without_token.learn("shop.example", "1 8000=1", account="only")
    assert estimate(make.urls(1)).expected == 8
    without_token.redis.sadd(without_token.keys.accounts, "second")
    assert estimate(make.urls(1)).expected == 1


def test_process_without_a_token_plans_for_an_empty_store(without_token):
    assert enqueue([URL], dry_run=True).estimate.expected == 1


# Plans


def test_plan_of_a_run(planner, make):
    urls = [*make.urls(1500), *make.urls(300)]
    plan = enqueue(urls, dry_run=True)
    assert plan == RunPlan(1800, 1800, 300, 2, Estimate(1800.0, 1800.0, None), None)
    assert enqueue(urls, dry_run=True, dedupe=True) == RunPlan(1800, 1500, 300, 2, Estimate(1500.0, 1500.0, None), None)
    assert enqueue([URL], dry_run=True, dedupe=True).duplicates == 0
    assert json.loads(json.dumps(plan.to_json()))["estimate"]["maximum"] is None


def test_plan_is_readable(planner):
    assert str(enqueue([URL, URL], dry_run=True)) == (
        "2 targets, 1 of them duplicates: 2 tasks in 1 jobs, 2 credits expected, 2 at least, without a known limit"
    )
    assert str(enqueue([URL], dry_run=True)).startswith("1 targets: 1 tasks in 1 jobs, 1 credits expected")


def test_equal_parameter_sets_are_duplicates(planner):
    plan = enqueue(plugin={"key": "google/search", "params": [{"q": "a"}, {"q": "b"}, {"q": "a"}]}, dry_run=True)
    assert (plan.targets, plan.duplicates) == (3, 1)


def test_each_request_of_many_has_a_plan(planner, make):
    planner.learn("shop.example|render", "1 6000=1")
    plans = enqueue_many([make.urls(2), make.urls(3)], render={}, dry_run=True, idempotency_keys=["a", "b"])
    assert [plan.estimate.expected for plan in plans] == [12, 18]


def test_dry_run_writes_and_publishes_nothing(planner, make):
    before = dump(planner)
    joined = []
    with override_hooks(lambda hooks: replace(hooks, after_commit=lambda: joined.append)):
        enqueue(make.urls(3), dry_run=True, idempotency_key="k", run_id="given", max_wait=5, on_success=None)
        enqueue_many([make.urls(3)], dry_run=True)
        estimate(make.urls(3))
    assert dump(planner) == before
    assert (joined, planner.step_messages()) == ([], [])


def test_dry_run_works_in_an_eager_app(planner):
    planner.app.conf.task_always_eager = True
    try:
        assert enqueue([URL], dry_run=True).bought == 1
        with pytest.raises(ConfigurationError, match="task_always_eager"):
            enqueue([URL])
    finally:
        planner.app.conf.task_always_eager = False


def test_dry_run_checks_all_arguments(planner):
    with pytest.raises(ValueError, match=r"targets\[0\]"):
        enqueue(["nonsense"], dry_run=True)
    with pytest.raises(ValueError, match="idempotency_key"):
        enqueue([URL], dry_run=True, idempotency_key=" ")
    with pytest.raises(ValueError, match="dry_run must be True or False, not str"):
        enqueue([URL], dry_run="no")
    assert planner.step_messages() == []


def test_silent_store_is_an_error(planner, monkeypatch):
    def refuse(commands):
        raise StoreUnavailableError("away", "LOADING")

    monkeypatch.setattr(planner.app_context.store, "run_all", refuse)
    for call in (lambda: estimate([URL]), lambda: enqueue([URL], dry_run=True)):
        with pytest.raises(StoreUnavailableError) as caught:
            call()
        assert caught.value.run_ids == ()


def test_async_calls_return_the_same(planner, make):
    async def plan():
        return (
            await aestimate(make.urls(2), super=True),
            await aenqueue(make.urls(2), super=True, dry_run=True),
            await aenqueue_many([make.urls(2)], super=True, dry_run=True),
        )

    planner.learn("shop.example|super", "1 12000=1")
    found, one, many = asyncio.run(plan())
    assert found == one.estimate == many[0].estimate == Estimate(24.0, 20.0, None)
    assert planner.step_messages() == []


# Time


def test_time_is_that_of_the_accounts_concurrency(planner, make):
    account = planner.account
    assert planner.run(ReadAccountFigures(account)) is None
    figures = AccountFigures(concurrency=5, credits_left=120.5, read_at=7.0)
    planner.run(NoteAccountFigures(account, figures))
    assert planner.run(ReadAccountFigures(account)) == figures
    assert enqueue(make.urls(10), dry_run=True).expected_seconds is None, "no task was timed"
    planner.redis.hset(planner.keys.totals, mapping={TIMED_TASKS: "4", TASK_SECONDS: "12.0"})
    assert enqueue(make.urls(10), dry_run=True).expected_seconds == 6.0
    assert enqueue(make.urls(2), dry_run=True).expected_seconds == 3.0, "a task takes its time"
    planner.run(NoteAccountFigures(account, AccountFigures(0, 0.0, 7.0)))
    assert enqueue(make.urls(2), dry_run=True).expected_seconds is None


def test_one_process_reads_the_account_at_a_time(planner):
    assert planner.run(ClaimAccountReading("a"))
    assert not planner.run(ClaimAccountReading("a"))
    assert planner.run(ClaimAccountReading("b"))
