"""Test that answers of a gateway in front of the API lose no job and no page."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import APIConnectionError, AsyncAPIRedirectError, AsyncAPIResponseError
from scrape_do_celery.models import JobsListResponse, UserInformation
from scrape_do_celery.rules.api_errors import REFUSAL_GRACE
from scrape_do_celery.rules.polling import MAX_TASK_FETCHES, RETENTION
from scrape_do_celery.runs import RunHandle, StepMessage
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.parts import UpdatePart
from scrape_do_celery.store.commands.runs import RequestStop

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
GATEWAY = (400, 402, 405, 407, 413, 421, 422, 431, 451)


def page_of_gateway(status):
    return AsyncAPIResponseError.for_status(status)(f"GET /x: {status}", status, excerpt="<html>")


def lists(step_harness, *jobs):
    step_harness.api.script(list_jobs=JobsListResponse(jobs=list(jobs), total_pages=1), get_user_info=UserInformation())


def status(step_harness):
    step_harness.note_worker()
    return RunHandle("r", app_context=step_harness.app_context).status


def again(step_harness, step, seconds=100, times=1):
    for _ in range(times):
        step_harness.clock.forward(seconds)
        answer = step_harness.run_step(step, step_harness.claim_part())
    return answer


@pytest.mark.parametrize("code", GATEWAY)
def test_gateway_refusal_of_a_task_is_retried(fetching, make, code):
    fetching.api.script(get_task=page_of_gateway(code))
    assert again(fetching, fetch_part, REFUSAL_GRACE, times=3) is None
    part = fetching.part()
    assert (part.state, part.fetch_passes, part.gone, part.api_failures) == (PartState.FETCHING, 0, 0, 3)
    assert str(code) in status(fetching).waiting_for.text
    fetching.api.script(get_task=lambda _, i: make.task(int(i[1:])))
    assert again(fetching, fetch_part) == AGGREGATE
    assert (fetching.part().stored_ok, status(fetching).waiting_for) == (2, None)


@pytest.mark.parametrize("code", GATEWAY)
def test_gateway_refusal_of_a_job_is_retried(running, make, code):
    running.api.script(get_job=page_of_gateway(code))
    assert again(running, poll_part, REFUSAL_GRACE, times=3) is None
    assert (running.part().state, running.part().not_found_polls) == (PartState.RUNNING, 0)
    running.api.script(get_job=make.job("pending"))
    again(running, poll_part)
    assert status(running).waiting_for is None


@pytest.mark.parametrize("error", [APIConnectionError("refused", "GET", "/x"), page_of_gateway(503)], ids=["no", "503"])
def test_a_run_says_that_it_waits_for_the_api(running, error):
    running.api.script(get_job=error)
    again(running, poll_part)
    assert type(error).__name__ in status(running).waiting_for.text
    assert status(running).to_json()["waiting_for"] == status(running).waiting_for.to_json()


def test_redirect_names_its_host_and_loses_no_job(running, make):
    running.api.script(get_job=AsyncAPIRedirectError("GET /x: 302", 302, "", False, "login.example"))
    again(running, poll_part, REFUSAL_GRACE, times=4)
    assert running.part().state is PartState.RUNNING
    assert "status 302, to login.example" in status(running).waiting_for.text
    running.clock.forward(RETENTION + 7200)
    assert again(running, poll_part) == AGGREGATE
    assert running.part().outcome == "lost"


# 404 and 410 of a gateway


def test_a_gateways_404_loses_no_job_that_the_list_shows(running, make):
    lists(running, make.job("pending"))
    running.api.script(get_job=page_of_gateway(404))
    assert again(running, poll_part, times=6) is None
    assert (running.part().state, running.part().not_found_polls) == (PartState.RUNNING, 0)
    assert "404" in status(running).waiting_for.text


@pytest.mark.parametrize("broken", ["list_jobs", "get_user_info"])
def test_gateway_404_is_ignored_if_the_list_is_unreadable(running, broken):
    lists(running)
    running.api.script(get_job=page_of_gateway(404), **{broken: page_of_gateway(404)})
    assert again(running, poll_part, times=6) is None
    assert (running.part().state, running.part().not_found_polls) == (PartState.RUNNING, 0)


def test_gateway_404_counts_if_the_list_lacks_the_job(running, make):
    lists(running, make.job("pending", job_id="another"))
    running.api.script(get_job=page_of_gateway(404))
    assert again(running, poll_part, times=3) == AGGREGATE
    assert running.part().outcome == "lost"


def test_a_404_of_the_api_needs_no_check(running, make):
    running.api.script(get_job=make.refusal(404))
    assert again(running, poll_part, times=3) == AGGREGATE
    assert running.api.called("get_user_info") == []


def test_a_job_that_is_gone_is_lost_at_once(running, make):
    running.api.script(get_job=make.refusal(410))
    assert again(running, poll_part) == AGGREGATE
    assert running.part().outcome == "lost"


def test_a_gateways_410_loses_no_job_that_the_list_shows(running, make):
    lists(running, make.job("pending"))
    running.api.script(get_job=page_of_gateway(410), get_user_info=UserInformation())
    for _ in range(10):
        assert again(running, poll_part) is None
    assert running.part().state is PartState.RUNNING


@pytest.mark.parametrize("code", [404, 410])
def test_many_jobs_that_are_not_found_at_once_are_checked(step_harness, make, code):
    ids = [f"r{n}" for n in range(4)]
    for run_id in ids:
        step_harness.create_run(run_id)
        step_harness.make_running(run_id)
    step_harness.clock.forward(100)
    running = [make.job("pending", job_id=f"job-{run_id}-0") for run_id in ids]
    lists(step_harness, *running)
    step_harness.api.script(get_job=make.refusal(404))
    for run_id in ids:
        step_harness.run_step(poll_part, step_harness.claim_part(run_id))
    assert [step_harness.part(run_id).not_found_polls for run_id in ids] == [1, 1, 0, 0]
    step_harness.api.script(get_job=make.refusal(code))
    step_harness.clock.forward(50)
    for run_id in ids:
        step_harness.run_step(poll_part, step_harness.claim_part(run_id))
    assert [step_harness.part(run_id).state for run_id in ids] == [PartState.RUNNING] * 4
    lists(step_harness)
    for _ in range(3):
        step_harness.clock.forward(61)
        for run_id in ids:
            if step_harness.part(run_id).state is PartState.RUNNING:
                step_harness.run_step(poll_part, step_harness.claim_part(run_id))
    assert [step_harness.part(run_id).outcome for run_id in ids] == ["lost"] * 4


def test_a_gateways_404_costs_no_page(fetching, make):
    lists(fetching, make.job("success"))
    fetching.api.script(get_task=page_of_gateway(404))
    assert again(fetching, fetch_part, times=MAX_TASK_FETCHES + 2) is None
    assert (fetching.part().gone, fetching.part().fetch_passes) == (0, 0)
    lists(fetching)
    assert again(fetching, fetch_part, times=MAX_TASK_FETCHES) == AGGREGATE
    assert fetching.part().gone == 2


def test_mass_404_counts_once_the_api_answers_itself(step_harness, make):
    ids = [f"r{n}" for n in range(3)]
    for run_id in ids:
        step_harness.create_run(run_id, targets=1)
        step_harness.make_running(run_id, state=PartState.FETCHING)
        job = make.job("success", 1, job_id=f"job-{run_id}-0")
        step_harness.run(UpdatePart(step_harness.claim_part(run_id), {}, job=job, after=0.0))
    step_harness.api.script(get_task=make.refusal(410), list_jobs=page_of_gateway(502), get_user_info=UserInformation())
    for run_id in ids:
        step_harness.run_step(fetch_part, step_harness.claim_part(run_id))
    assert [step_harness.part(run_id).gone for run_id in ids] == [1, 1, 0]
    assert step_harness.part("r2").api_failures == 1
    step_harness.clock.forward(30)
    lists(step_harness, make.job("success", 1, job_id="job-r2-0"))
    step_harness.run_step(fetch_part, step_harness.claim_part("r2"))
    assert step_harness.part("r2").gone == 1


def test_a_thousand_missing_tasks_are_checked_once(step_harness, make):
    step_harness.create_run(targets=200)
    step_harness.make_running(state=PartState.FETCHING)
    step_harness.run(UpdatePart(step_harness.claim_part(), {}, job=make.job("success", 200), after=0.0))
    step_harness.clock.forward(100)
    lists(step_harness, make.job("success", 200))
    step_harness.api.script(get_task=page_of_gateway(404))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert len(step_harness.api.called("get_user_info")) == 1


# Canceling


@pytest.mark.parametrize(("own", "is_told"), [(True, True), (False, False)])
def test_a_refusal_to_cancel_counts_where_it_is_the_apis(running, make, own, is_told):
    running.run(RequestStop("r", "cancel"))
    running.api.script(get_job=make.job("pending"), cancel_job=make.refusal(400) if own else page_of_gateway(400))
    running.run_step(cancel_part, running.claim_part())
    assert (running.part().cancel_sent_at is not None) is is_told
