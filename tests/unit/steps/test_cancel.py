"""Test that cancellations and deadlines end a run even if the API fails."""

from __future__ import annotations

import pytest

from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.parts import UpdatePart
from scrape_do_celery.store.commands.runs import RequestStop
from tests.unit.steps.conftest import HOUR


@pytest.mark.parametrize("status", [500, 404, 429, 401])
def test_cancel_waits_after_an_api_error(step_harness, make, status):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.run(RequestStop("r", "cancel"))
    step_harness.api.script(get_job=make.refusal(status), get_user_info=make.refusal(status))
    step_harness.run_step(cancel_part, step_harness.claim_part())
    assert step_harness.due_times()["r:0"] > 0.1


@pytest.mark.parametrize("state", [PartState.RUNNING, PartState.FETCHING])
def test_deadline_ends_a_run_while_the_api_is_down(step_harness, make, state):
    step_harness.create_run(max_wait=10)
    step_harness.make_running(state=state)
    step_harness.run(UpdatePart(step_harness.claim_part(), {}, job=make.job("success"), after=0.0))
    step_harness.clock.forward(11)
    step_harness.run(RequestStop("r", "deadline"))
    step_harness.api.script(get_job=make.refusal(500), get_task=make.refusal(500))
    for _ in range(100):
        if step_harness.part().state is PartState.DONE:
            break
        c = step_harness.try_claim_part()
        if c:
            step_harness.run_step(cancel_part if state is PartState.RUNNING else fetch_part, c)
        step_harness.clock.forward(31)
    assert step_harness.part().state is PartState.DONE


def test_delete_answered_404_does_not_lose_the_job(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.clock.forward(HOUR)
    step_harness.run(RequestStop("r", "cancel"))
    step_harness.api.script(get_job=make.job("pending", tasks=["success", "pending"]), cancel_job=make.refusal(404))
    step_harness.run_step(cancel_part, step_harness.claim_part())
    assert step_harness.part().cancel_sent_at
    step_harness.clock.forward(step_harness.settings.cancel_grace + 2)
    step_harness.api.script(get_task=make.refusal(500))
    step_harness.run_step(poll_part, step_harness.claim_part())
    assert step_harness.part().state is PartState.FETCHING
