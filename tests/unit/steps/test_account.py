"""Test that workers read the account's figures now and then, and learn how long a task takes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.models.results import UserInformation
from scrape_do_celery.rules.polling import ACCOUNT_INTERVAL
from scrape_do_celery.steps.account import read_account
from scrape_do_celery.steps.counters import Counters
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.store.commands.prices import (
    TASK_SECONDS,
    TIMED_TASKS,
    ClaimAccountReading,
    NoteAccountFigures,
    ReadAccountFigures,
    ReadTaskSeconds,
)
from scrape_do_celery.worker.dispatcher import Dispatcher
from tests.unit.steps.conftest import check_step_of_account, start_fetching

USER = UserInformation.model_validate({"TotalConcurrency": 12, "FreeConcurrency": 9, "AvaliableCredits": 481230})


def read(step_harness):
    async def handler(context, _):
        return await read_account(context)

    step_harness.run_step(handler, None)
    return step_harness.run(ReadAccountFigures(step_harness.account))


def test_figures_of_the_account_are_noted_with_their_time(step_harness):
    step_harness.clock.stop()
    step_harness.api.script(get_user_info=USER)
    figures = read(step_harness)
    assert (figures.concurrency, figures.credits_left) == (12, 481230)
    assert figures.read_at == pytest.approx(step_harness.clock.time(), abs=1)


def test_without_an_answer_the_figures_before_stand(step_harness, make, caplog):
    step_harness.api.script(get_user_info=USER)
    before = read(step_harness)
    step_harness.api.script(get_user_info=make.refusal(503))
    with caplog.at_level("INFO"):
        assert read(step_harness) == before
    assert "could not read the concurrency" in caplog.text


@pytest.mark.parametrize(("reason", "raises"), [("OOM", False), ("LOADING", True)])
def test_full_store_refuses_the_figures_in_silence(step_harness, reason, raises):
    step_harness.api.script(get_user_info=USER)

    async def handler(context, _):
        run = context.store.run

        async def refuse(command):
            if isinstance(command, NoteAccountFigures):
                raise StoreUnavailableError("refused", reason)
            return await run(command)

        context.store.run = refuse
        return await read_account(context)

    if raises:
        with pytest.raises(StoreUnavailableError):
            step_harness.run_step(handler, None)
    else:
        step_harness.run_step(handler, None)


# The dispatcher


def asked(step_harness):
    """Let a new dispatcher make its first pass. Return whether it has the account read."""
    step_harness.step_messages()
    Dispatcher(step_harness.app_context).dispatch_due()
    return (routing.READ_ACCOUNT, [step_harness.account]) in step_harness.step_messages()


def test_account_is_read_once_in_each_interval_while_it_buys(step_harness):
    assert not asked(step_harness), "an account without a purchase is not read"
    step_harness.redis.sadd(step_harness.keys.accounts, step_harness.account)
    assert asked(step_harness)
    assert not asked(step_harness)
    step_harness.clock.forward(ACCOUNT_INTERVAL + 1)
    step_harness.redis.delete(step_harness.keys.account_reading(step_harness.account))
    assert asked(step_harness)


@pytest.mark.parametrize(("reason", "raises"), [("OOM", False), ("LOADING", True)])
def test_full_store_does_not_stop_the_dispatcher(step_harness, monkeypatch, reason, raises):
    step_harness.redis.sadd(step_harness.keys.accounts, step_harness.account)
    store = step_harness.app_context.store
    run = store.run

    def refuse(command):
        if isinstance(command, ClaimAccountReading):
            raise StoreUnavailableError("refused", reason)
        return run(command)

    monkeypatch.setattr(store, "run", refuse)
    if raises:
        with pytest.raises(StoreUnavailableError):
            asked(step_harness)
    else:
        assert not asked(step_harness)


def test_only_the_worker_of_an_account_reads_it(step_harness, monkeypatch):
    check_step_of_account(step_harness, monkeypatch, routing.READ_ACCOUNT)


# The time of a task


@pytest.mark.parametrize("duration", [None, timedelta(0), timedelta(seconds=-5), timedelta(days=700_000)])
def test_implausible_time_of_a_task_does_not_count(duration):
    counters = Counters()
    counters.task(duration)
    assert counters.drain() == {}


def test_time_of_a_fetched_task_is_learned(step_harness, make):
    assert step_harness.run(ReadTaskSeconds()) is None
    start_fetching(step_harness, make, targets=2)
    times = {"start_time": "2026-11-22T09:14:03Z", "end_time": "2026-11-22T09:14:09Z"}
    step_harness.api.script(get_task=lambda _, task_id: make.task(int(task_id[1:]), **times))
    counts = {}

    async def handler(context, claim):
        try:
            return await fetch_part(context, claim)
        finally:
            counts.update(context.rate_limiter.counters.drain())

    step_harness.run_step(handler, step_harness.claim_part())
    assert (counts[TIMED_TASKS], counts[TASK_SECONDS]) == (2, 12.0)
    step_harness.redis.hset(step_harness.keys.totals, mapping={name: counts[name] for name in counts})
    assert step_harness.run(ReadTaskSeconds()) == 6.0
