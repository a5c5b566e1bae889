"""Test a refused token: the account is held back, probed from time to time, and given up in the end."""

from __future__ import annotations

import logging

import pytest

from scrape_do_celery.errors import AsyncAPIAuthError
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.routing import Step
from scrape_do_celery.rules.fetch import UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.runs import RunStatus
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands import limits
from scrape_do_celery.store.commands.limits import OpenBreaker
from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.store.retention import BREAKER_TTL
from tests.unit.steps.conftest import HOUR, LEASE


def auth_error(status, text="no"):
    return AsyncAPIAuthError(f"GET /x: {status}", status, text)


def is_open(step_harness):
    return bool(step_harness.redis.exists(step_harness.keys.breaker(step_harness.account)))


@pytest.fixture
def running(step_harness):
    step_harness.create_run()
    step_harness.make_running()
    return step_harness


def poll_when_due(step_harness):
    """Run the poll step once the part is due, as a step message does."""
    step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]))
    run_step(step_harness.app, StepDefinition(Step.POLL, {PartState.RUNNING}, poll_part), ["r:0"])


def test_refused_token_holds_the_account_and_is_logged_once(running, make, caplog):
    running.create_run("other")
    running.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    with caplog.at_level(logging.ERROR):
        poll_when_due(running)
        for _ in range(20):
            poll_when_due(running)
    assert running.try_claim_part("other") is None
    assert caplog.text.count("refuses the token") == 1
    assert "still refused after 900 s (SCRAPE_DO_AUTH_GRACE), the runs fail" in caplog.text
    assert len(running.api.called("get_job")) == 1
    # Probes come 1, 2, 4 ... seconds after the refusal, and at most once a minute.
    assert 5 <= len(running.api.called("get_user_info")) <= 12
    assert running.part().state is PartState.RUNNING


def test_a_token_that_is_taken_again_lets_everything_go_on(running, make):
    running.api.script(get_job=[make.refusal(403), make.job("pending")])
    running.api.script(get_user_info=[make.refusal(403), None])
    poll_when_due(running)
    assert running.try_claim_part() is None
    running.clock.forward(limits.PROBE)
    poll_when_due(running)
    assert len(running.api.called("get_user_info")) == 2
    assert len(running.api.called("get_job")) == 2
    assert not running.redis.exists(running.keys.breaker(running.account))


def test_an_account_that_stays_refused_fails_its_runs(running, make, settings):
    running.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    poll_when_due(running)
    running.clock.forward(settings.auth_grace + 1)
    poll_when_due(running)
    assert isinstance(running.part().error, AsyncAPIAuthError)
    assert running.part().outcome == "failed"


def test_the_note_of_a_refusal_ends_if_nobody_tries_the_token(running, make, settings):
    """Let a minute pass between two tries: the note stays. Nobody tries a token that was replaced.

    A note that ended before `auth_grace` would let runs wait for a second grace after an outage of the workers.
    """
    running.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    breaker = running.keys.breaker(running.account)
    for _ in range(3):
        poll_when_due(running)
        assert running.redis.ttl(breaker) == pytest.approx(settings.auth_grace + BREAKER_TTL, abs=1)
        running.redis.expire(breaker, 100)
        running.clock.forward(limits.LONGEST_PROBE)
    running.clock.forward(settings.auth_grace + BREAKER_TTL)
    assert not is_open(running)


def test_status_names_the_refusal_of_the_token_in_force_only(step_harness, make, settings):
    """Refuse a purchase with an old token. A worker with another token then takes the part over."""
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(401), get_user_info=make.refusal(401))
    run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, submit_part, LEASE), ["r:0"])
    step_harness.redis.set(step_harness.keys.namespace_owner, "app")

    def wait_for(token_id):
        return RunStatus.read(step_harness.sync_store, "r", "of the reader", token_id).waiting_for

    for token_id, said in (("", "refuses the token since"), ("another", "refuses another token than that of this")):
        assert wait_for(token_id).kind is WaitKind.TOKEN_REFUSED
        assert said in wait_for(token_id).text
    left = wait_for("").until.timestamp() - step_harness.clock.time()
    assert left == pytest.approx(settings.auth_grace, abs=2)
    step_harness.clock.forward(limits.LONGEST_PROBE)
    step_harness.claim_part(account="new")
    assert is_open(step_harness)
    assert wait_for("").kind is WaitKind.RECONCILING
    step_harness.clock.forward(LEASE)
    step_harness.claim_part(account=step_harness.account)
    assert wait_for("").kind is WaitKind.TOKEN_REFUSED


def test_a_part_that_waits_for_a_slot_no_longer_shows_an_old_refusal(step_harness):
    step_harness.create_run()
    step_harness.run(OpenBreaker("old"))
    step_harness.redis.set(step_harness.keys.namespace_owner, "app")
    assert step_harness.try_claim_part(account="old") is None
    step_harness.clock.forward(2)
    assert step_harness.part_fields()["held_by"] == "old"
    assert RunStatus.read(step_harness.sync_store, "r", "new").waiting_for.kind is WaitKind.TOKEN_REFUSED
    step_harness.claim_part(account="new")
    assert RunStatus.read(step_harness.sync_store, "r", "new").waiting_for is None


def test_a_failure_of_the_probe_says_nothing_about_the_token(running, make):
    running.api.script(get_job=[make.refusal(401), make.job("pending")], get_user_info=make.refusal(500))
    poll_when_due(running)
    running.clock.forward(limits.PROBE)
    poll_when_due(running)
    assert not running.redis.exists(running.keys.breaker(running.account))
    assert len(running.api.called("get_job")) == 2


# The API refuses one job or task, but not the token.


@pytest.mark.parametrize("status", [401, 403])
def test_single_refused_task_is_given_up_after_its_attempts(fetching, make, status):
    fetching.create_run("innocent")
    fetching.api.script(get_task=lambda _, i: auth_error(status) if i == "t1" else make.task(0), get_user_info=None)
    for attempts in range(1, UNREADABLE_ATTEMPTS):
        assert fetching.run_step(fetch_part, fetching.claim_part()) is None
        part = fetching.part()
        assert (part.stored_ok, part.notes[1].attempts, is_open(fetching)) == (1, attempts, False)
        fetching.clock.forward(UNREADABLE_INTERVAL + 1)
    fetching.claim_part("innocent")
    fetching.run_step(fetch_part, fetching.claim_part())
    assert (fetching.part().outcome, fetching.part().gone) == ("succeeded", 1)
    assert len(fetching.api.called("get_user_info")) == UNREADABLE_ATTEMPTS


def test_gateway_403_of_tasks_ends_nothing(fetching, make, settings):
    fetching.api.script(get_task=auth_error(403, None), get_user_info=None)
    for _ in range(4):
        assert fetching.run_step(fetch_part, fetching.claim_part()) is None
        fetching.clock.forward(settings.auth_grace)
    assert (fetching.part().state, fetching.part().notes, is_open(fetching)) == (PartState.FETCHING, {}, False)
    fetching.api.script(get_task=lambda _, i: make.task(int(i[1:])))
    fetching.run_step(fetch_part, fetching.claim_part())
    assert fetching.part().stored_ok == 2


def test_single_refused_job_has_its_tasks_fetched(running, make):
    running.api.script(get_job=auth_error(403), get_task=lambda _, i: make.task(int(i[1:])), get_user_info=None)
    for _ in range(UNREADABLE_ATTEMPTS):
        running.run_step(poll_part, running.claim_part())
        assert not is_open(running)
        running.clock.forward(UNREADABLE_INTERVAL + 1)
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 2)


@pytest.mark.parametrize("status", [401, 403])
def test_refused_delete_is_sent_again(running, make, status):
    running.run(RequestStop("r", "cancel"))
    running.api.script(
        get_job=make.job("pending"), cancel_job=[auth_error(status), make.job("pending")], get_user_info=None
    )
    running.run_step(cancel_part, running.claim_part())
    assert (is_open(running), running.part().cancel_sent_at, running.part().api_failures) == (False, None, 1)
    running.clock.forward(10)
    running.run_step(cancel_part, running.claim_part())
    assert running.part().cancel_sent_at is not None
    assert len(running.api.called("cancel_job")) == 2


def test_many_refused_tasks_cost_one_request_for_the_account(fetching):
    fetching.api.script(get_task=auth_error(401), get_user_info=auth_error(401))
    fetching.run_step(fetch_part, fetching.claim_part())
    assert is_open(fetching)
    assert len(fetching.api.called("get_user_info")) == 1


@pytest.mark.parametrize("status", [429, 500])
def test_refusal_is_blamed_on_the_token_unless_it_works(fetching, make, status):
    fetching.api.script(get_task=auth_error(403), get_user_info=make.refusal(status))
    fetching.run_step(fetch_part, fetching.claim_part())
    assert is_open(fetching)


def test_run_of_another_account_is_left_and_logged_once(running, make, caplog):
    """Leave the run alone: another token does not know the job, and three polls with it would lose the paid pages."""
    running.redis.hset(running.keys.part(PartId("r", 0)), "account", "somebody else's")
    running.api.script(get_job=make.refusal(404))
    poll_when_due(running)
    poll_when_due(running)
    assert caplog.text.count("runs of the account somebody else's wait for a worker with its token") == 1
    assert running.api.called("get_job") == []
    assert running.part().state is PartState.RUNNING


def test_a_named_account_outlives_its_token(settings):
    renamed = [settings.model_copy(update={"account": "shop", "api_key": key}) for key in (settings.api_key, None)]
    assert renamed[0].account_id == renamed[1].account_id != settings.account_id
    assert settings.api_key.get_secret_value() not in settings.account_id


def test_server_errors_do_not_count_as_refusals(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.api.script(get_job=make.refusal(500))
    for _ in range(35):
        step_harness.run_step(poll_part, step_harness.claim_part())
        step_harness.clock.forward(31)
    step_harness.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    step_harness.run_step(poll_part, step_harness.claim_part())
    assert step_harness.part().state is PartState.RUNNING


def test_refused_request_with_accepted_token_fails(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(403), get_user_info=None, list_jobs=JobsListResponse(jobs=[]))
    began = step_harness.clock.time()
    while step_harness.part().state is not PartState.DONE and step_harness.clock.time() - began < HOUR:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 1)
        run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, submit_part, LEASE), ["r:0"])
        run_step(step_harness.app, StepDefinition(Step.RECONCILE, {PartState.RECONCILING}, reconcile_part), ["r:0"])
    assert (step_harness.part().outcome, step_harness.part().error.status_code) == ("failed", 403)
    assert step_harness.api.posts < 60
