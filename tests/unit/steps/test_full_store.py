"""Test that a store without free memory refuses new pages, and still lets runs end."""

from __future__ import annotations

from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.store import PartState
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
