"""Test that a store without free memory refuses new pages, and still lets runs end."""

from __future__ import annotations

import pytest

from scrape_do_celery.errors import AsyncAPIUnparsableResponseError, StoreUnavailableError
from scrape_do_celery.rules.fetch import UNREADABLE_ATTEMPTS
from scrape_do_celery.steps import job_answers
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.store import AsyncStore, PartState
from scrape_do_celery.store.commands.runs import RequestStop
from tests.unit.steps.conftest import HOUR, start_fetching


def test_full_store_lets_a_complete_run_succeed(step_harness, make):
    start_fetching(step_harness, make)
    step_harness.store_content(position=0)
    step_harness.store_content(position=1)
    step_harness.health.used = 0.96
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().outcome == "succeeded"


def test_full_store_lets_a_canceled_run_end(step_harness, make):
    start_fetching(step_harness, make)
    step_harness.run(RequestStop("r", "cancel"))
    step_harness.health.used = 0.96
    for _ in range(3):
        step_harness.clock.forward(HOUR)
        if step_harness.part().state is not PartState.DONE:
            step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().outcome == "canceled"


@pytest.fixture
def full(monkeypatch):
    """Refuse contents as a full store does, until the list is empty."""
    run, refusals = AsyncStore.run, [True]

    async def refuse(store, command):
        if command.script == "store_content" and refusals:
            raise StoreUnavailableError("no memory", "OOM")
        return await run(store, command)

    monkeypatch.setattr(AsyncStore, "run", refuse)
    return refusals


@pytest.fixture
def unreadable_job(step_harness):
    """Return a function that polls a job whose answers cannot be read and name no task."""
    step_harness.create_run(targets=1)
    step_harness.make_running()
    step_harness.set_fields(tasks=None)
    error = AsyncAPIUnparsableResponseError("x", 200, "raw", True)
    error.body = b'{"Status": 3, "Tasks": "weird"}'
    step_harness.api.script(get_job=error)

    def poll(times):
        for _ in range(times):
            step_harness.clock.forward(700)
            if step_harness.part().state is not PartState.DONE:
                step_harness.run_step(poll_part, step_harness.claim_part())
        return step_harness.part()

    return poll


def test_full_store_keeps_a_run_whose_last_answer_is_not_stored(unreadable_job, full):
    assert unreadable_job(UNREADABLE_ATTEMPTS + 3).state is PartState.RUNNING
    full.clear()
    part = unreadable_job(1)
    assert (part.outcome, part.stored_failed) == ("lost", 1)


def test_full_store_lets_a_stopped_run_without_readable_answers_end(step_harness, unreadable_job, full):
    unreadable_job(UNREADABLE_ATTEMPTS + 3)
    step_harness.run(RequestStop("r", "cancel"))
    assert unreadable_job(2).outcome == "lost"


def test_step_that_died_beside_a_kept_answer_asks_for_no_task(step_harness, unreadable_job, monkeypatch):
    finish = job_answers.finish_part

    async def die(*_):
        raise ConnectionResetError

    monkeypatch.setattr(job_answers, "finish_part", die)
    with pytest.raises(ConnectionResetError):
        unreadable_job(UNREADABLE_ATTEMPTS + 3)
    monkeypatch.setattr(job_answers, "finish_part", finish)
    part = unreadable_job(2)
    assert (part.outcome, part.stored_failed) == ("lost", 1)
