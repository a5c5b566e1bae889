"""A token that is refused: one account is held back, tried now and then, and given up after a while."""

from __future__ import annotations

import logging

import pytest

from scrape_do_celery.errors import AsyncAPIAuthError
from scrape_do_celery.rules.fetch import UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL
from scrape_do_celery.runtime import run_step
from scrape_do_celery.runtime.collecting import fetch
from scrape_do_celery.store import PartState, ops
from scrape_do_celery.tasks.cancel import cancel
from scrape_do_celery.tasks.poll import poll


def refused(status, text="no"):
    return AsyncAPIAuthError(f"GET /x: {status}", status, text)


def is_open(step_harness):
    return bool(step_harness.redis.exists(step_harness.keys.breaker(step_harness.account)))


@pytest.fixture
def running(step_harness):
    step_harness.create_run()
    step_harness.make_running()
    return step_harness


def look(step_harness):
    """What a step message for the run does."""
    step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]))
    run_step(step_harness.app, ["r:0"], {PartState.RUNNING}, poll)


def test_every_run_of_the_account_is_held_back_and_it_is_said_once(running, make, caplog):
    running.create_run("other")
    running.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    with caplog.at_level(logging.ERROR):
        look(running)
        for _ in range(20):
            look(running)
    assert running.try_claim_part("other") is None
    assert caplog.text.count("refuses the token") == 1
    assert len(running.api.called("get_job")) == 1
    # 1, 2, 4 ... seconds after the refusal, and no more than one in a minute.
    assert 5 <= len(running.api.called("get_user_info")) <= 12
    assert running.part().state is PartState.RUNNING


def test_a_token_that_is_taken_again_lets_everything_go_on(running, make):
    running.api.script(get_job=[make.refusal(403), make.job("pending")])
    running.api.script(get_user_info=[make.refusal(403), None])
    look(running)
    assert running.try_claim_part() is None
    running.clock.forward(ops.PROBE)
    look(running)
    assert len(running.api.called("get_user_info")) == 2
    assert len(running.api.called("get_job")) == 2
    assert not running.redis.exists(running.keys.breaker(running.account))


def test_an_account_that_stays_refused_fails_its_runs(running, make, settings):
    running.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    look(running)
    running.clock.forward(settings.auth_grace + 1)
    look(running)
    assert isinstance(running.part().error, AsyncAPIAuthError)
    assert running.part().outcome == "failed"


def test_a_failure_of_the_probe_says_nothing_about_the_token(running, make):
    running.api.script(get_job=[make.refusal(401), make.job("pending")], get_user_info=make.refusal(500))
    look(running)
    running.clock.forward(ops.PROBE)
    look(running)
    assert not running.redis.exists(running.keys.breaker(running.account))
    assert len(running.api.called("get_job")) == 2


# One job or task is refused, and the token is not


@pytest.mark.parametrize("status", [401, 403])
def test_one_task_that_is_refused_holds_nothing_back_and_is_given_up_after_the_attempts(collecting, make, status):
    collecting.create_run("innocent")
    collecting.api.script(get_task=lambda _, i: refused(status) if i == "t1" else make.task(0), get_user_info=None)
    for attempts in range(1, UNREADABLE_ATTEMPTS):
        assert collecting.run_step(fetch, collecting.claim_part()) is None
        part = collecting.part()
        assert (part.stored_ok, part.notes[1].attempts, is_open(collecting)) == (1, attempts, False)
        collecting.clock.forward(UNREADABLE_INTERVAL + 1)
    collecting.claim_part("innocent")
    collecting.run_step(fetch, collecting.claim_part())
    assert (collecting.part().outcome, collecting.part().gone) == ("succeeded", 1)
    assert len(collecting.api.called("get_user_info")) == UNREADABLE_ATTEMPTS


def test_a_gateways_403_of_tasks_is_trouble_that_ends_nothing(collecting, make, settings):
    collecting.api.script(get_task=refused(403, None), get_user_info=None)
    for _ in range(4):
        assert collecting.run_step(fetch, collecting.claim_part()) is None
        collecting.clock.forward(settings.auth_grace)
    assert (collecting.part().state, collecting.part().notes, is_open(collecting)) == (PartState.FETCHING, {}, False)
    collecting.api.script(get_task=lambda _, i: make.task(int(i[1:])))
    collecting.run_step(fetch, collecting.claim_part())
    assert collecting.part().stored_ok == 2


def test_one_job_that_is_refused_holds_nothing_back_and_its_tasks_are_fetched(running, make):
    running.api.script(get_job=refused(403), get_task=lambda _, i: make.task(int(i[1:])), get_user_info=None)
    for _ in range(UNREADABLE_ATTEMPTS):
        running.run_step(poll, running.claim_part())
        assert not is_open(running)
        running.clock.forward(UNREADABLE_INTERVAL + 1)
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 2)


@pytest.mark.parametrize("status", [401, 403])
def test_a_delete_that_is_refused_holds_nothing_back_and_is_sent_again(running, make, status):
    running.run(ops.request_stop(running.keys, "r", "cancel"))
    running.api.script(
        get_job=make.job("pending"), cancel_job=[refused(status), make.job("pending")], get_user_info=None
    )
    running.run_step(cancel, running.claim_part())
    assert (is_open(running), running.part().cancel_sent_at, running.part().api_failures) == (False, None, 1)
    running.clock.forward(10)
    running.run_step(cancel, running.claim_part())
    assert running.part().cancel_sent_at is not None
    assert len(running.api.called("cancel_job")) == 2


def test_many_refused_tasks_cost_one_request_for_the_account(collecting):
    collecting.api.script(get_task=refused(401), get_user_info=refused(401))
    collecting.run_step(fetch, collecting.claim_part())
    assert is_open(collecting)
    assert len(collecting.api.called("get_user_info")) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_a_refusal_is_that_of_the_token_unless_the_account_is_known_to_be_accepted(collecting, make, status):
    collecting.api.script(get_task=refused(403), get_user_info=make.refusal(status))
    collecting.run_step(fetch, collecting.claim_part())
    assert is_open(collecting)


def test_a_run_of_another_account_is_left_alone_and_it_is_said_once(running, make, caplog):
    """Another token does not know the job: three looks with it would lose what was paid."""
    running.redis.hset(running.keys.part("r", 0), "account", "somebody else's")
    running.api.script(get_job=make.refusal(404))
    look(running)
    look(running)
    assert caplog.text.count("runs of the account somebody else's wait for a worker with its token") == 1
    assert running.api.called("get_job") == []
    assert running.part().state is PartState.RUNNING


def test_a_named_account_outlives_its_token(settings):
    renamed = [settings.model_copy(update={"account": "shop", "api_key": key}) for key in (settings.api_key, None)]
    assert renamed[0].account_id == renamed[1].account_id != settings.account_id
    assert settings.api_key.get_secret_value() not in settings.account_id
