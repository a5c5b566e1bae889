"""Deciding a run once, and delivering its outcome under the caller's id."""

from __future__ import annotations

import json
import pickle

import pytest
from celery.exceptions import Ignore, Reject

from scrape_do_celery import routing
from scrape_do_celery.errors import (
    JobLostError,
    PoisonedRunError,
    RunNotFoundError,
    StoreUnavailableError,
    SubmitInDoubtError,
)
from scrape_do_celery.models import JobCanceledError, JobFailedError, RunTimeoutError, TaskFailedError
from scrape_do_celery.runs import RunHandle
from scrape_do_celery.store import PartState, RunState, ops
from scrape_do_celery.tasks import aggregate_run, deliver_outcome
from scrape_do_celery.tasks.deliver import acknowledge_delivery


@pytest.fixture
def end(step_harness, make):
    """Ends one part, with its job and the tasks that were fetched."""

    def end_of_part(part=0, outcome="succeeded", *, job=None, tasks=(), error=None):
        step_harness.make_running(part=part, state=PartState.FETCHING)
        claim = step_harness.claim_part(part=part)
        step_harness.run(
            ops.update_part(step_harness.keys, claim, {}, job=job or make.job("success", job_id=f"job-r-{part}"))
        )
        for task in tasks:
            step_harness.store_content(part=part, **task)
        step_harness.run(ops.finish_part(step_harness.keys, claim, outcome, error=error))

    return end_of_part


def decided(step_harness):
    on(step_harness, aggregate_run)(["r"])
    return step_harness.read_run()


def test_nothing_is_decided_while_a_part_lives(step_harness, end):
    step_harness.create_multi_part_run(2)
    end(0)
    assert decided(step_harness).outcome is None
    assert step_harness.sent == []


def test_nothing_is_decided_for_a_run_that_is_gone(step_harness):
    on(step_harness, aggregate_run)(["r"])
    assert step_harness.redis.keys() == []


def test_a_run_that_succeeded(step_harness, end, make):
    step_harness.create_run()
    cost = {"scrape_do_metadata": {"Request-Cost": "5"}}
    end(tasks=[{"position": 0, **cost}, {"position": 1, "status": "error", "gone": True, **cost}])
    record = decided(step_harness)
    assert (record.state, record.error, record.decided_by) == (RunState.SUCCEEDED, None, 0)
    assert record.result == {
        "run_id": "r",
        "outcome": "succeeded",
        "counts": {"total": 2, "succeeded": 1, "failed": 1, "gone": 1},
        "credits": 10.0,
        "job": make.job("success").to_wire(),
        "jobs": ["job-r-0"],
        "contents": {"store": "redis", "prefix": "p"},
    }
    (message,) = step_harness.sent
    assert (message.name, message.options["task_id"]) == (routing.DELIVER_OUTCOME, "r")


def test_a_run_is_decided_once(step_harness, end):
    step_harness.create_run()
    end()
    first = decided(step_harness)
    step_harness.set_fields(outcome="failed")
    assert decided(step_harness).result == first.result
    assert [name for name, _ in step_harness.step_messages()] == [routing.DELIVER_OUTCOME] * 2


def test_the_worst_part_decides(step_harness, end):
    step_harness.create_multi_part_run(4)
    end(0)
    end(1, "failed", error=JobFailedError({"JobID": "job-r-1", "Status": "error"}, "r"))
    end(2, "lost", error=JobLostError("gone", "r"))
    step_harness.finish_part(part=3, outcome="skipped")
    record = decided(step_harness)
    assert (record.state, record.decided_by) == (RunState.LOST, 2)
    assert isinstance(record.error, JobLostError)
    assert record.result["job"]["JobID"] == "job-r-2"
    assert record.result["jobs"] == ["job-r-0", "job-r-1", "job-r-2"]


@pytest.mark.parametrize(("stop_reason", "error"), [("cancel", JobCanceledError), ("deadline", RunTimeoutError)])
def test_a_run_that_was_never_sent_has_an_error_too(step_harness, stop_reason, error):
    step_harness.create_run(max_wait=60)
    step_harness.run(ops.request_stop(step_harness.keys, "r", stop_reason))
    record = decided(step_harness)
    assert isinstance(record.error, error)
    assert record.error.run_id == "r"
    assert record.result["job"] is None
    assert getattr(record.error, "max_wait", 60) == 60


def test_failed_tasks_are_data_unless_the_run_asks_for_more(step_harness, end, make):
    step_harness.create_run()
    end(tasks=[{"position": 0}, {"position": 1, "status": "error"}])
    assert decided(step_harness).state is RunState.SUCCEEDED


@pytest.mark.parametrize("status", ["error", "canceled"])
def test_a_run_that_asks_for_it_fails_with_its_first_failed_task(step_harness, end, make, status):
    step_harness.create_multi_part_run(2, raise_on_task_failure=True)
    end(0, tasks=[{"position": 0}], job=make.job("success", 1000))
    failed = {"position": 0, "status": status, "status_code": 403, "url": make.urls(1, 1000)[0]}
    end(1, tasks=[failed], job=make.job("success", 1, start=1000, job_id="job-r-1"))
    record = decided(step_harness)
    assert (record.state, record.decided_by) == (RunState.FAILED, 1)
    assert isinstance(record.error, TaskFailedError)
    assert record.error.task.status_code == 403
    assert record.error.run_id == "r"
    assert record.result["job"]["JobID"] == "job-r-1"
    assert "<html>" not in json.dumps(record.error.to_json())


def test_a_run_that_asks_for_it_and_has_no_failed_task_succeeds(step_harness, end):
    step_harness.create_run(raise_on_task_failure=True)
    end(tasks=[{"position": 0}])
    assert decided(step_harness).state is RunState.SUCCEEDED


def test_a_worse_outcome_is_worse_than_a_failed_task(step_harness, end):
    step_harness.create_run(raise_on_task_failure=True)
    end(outcome="in_doubt", tasks=[{"position": 0, "status": "error"}], error=SubmitInDoubtError("lost", 2))
    assert isinstance(decided(step_harness).error, SubmitInDoubtError)


def test_a_failed_task_whose_record_of_failure_is_gone_changes_nothing(step_harness, end):
    step_harness.create_run(raise_on_task_failure=True)
    end(tasks=[{"position": 0}])
    step_harness.set_fields(stored_failed=1, stored_ok=0)
    assert decided(step_harness).state is RunState.SUCCEEDED


def test_the_small_result_is_small_and_holds_no_page(step_harness, end, make):
    step_harness.create_run(
        targets=1000, request={"headers": {"X-Secret": "h-secret"}, "webhook_url": "https://hooks.example/w-secret"}
    )
    page = {"content": "c-secret" * 1000, "response_headers": {"Set-Cookie": "k-secret"}}
    end(job=make.job("success", 1000), tasks=[{"position": n, **page} for n in range(0, 1000, 100)])
    text = json.dumps(decided(step_harness).result)
    assert len(text) < 20_000
    assert "secret" not in text
    assert len(json.loads(text)["job"]["Tasks"]) == 20
    assert make.token not in text


def test_errors_of_large_jobs_are_small_too(step_harness, make):
    job = make.job("error", tasks=["success"] * 900 + ["error"] * 100)
    error = JobFailedError.cut(job, "r")
    assert len(json.dumps(error.to_json())) < 20_000
    assert error.counts == {"failed": 100, "canceled": 0, "total": 1000}
    assert {task.status for task in error.job.tasks} == {"error"}


def test_the_step_decides_all_runs_that_it_is_told_of(step_harness):
    for run_id in ("a", "b"):
        step_harness.create_run(run_id)
        step_harness.finish_part(run_id, outcome="canceled")
    on(step_harness, aggregate_run)(["a", "gone", "b"])
    assert [step_harness.read_run(run_id).state for run_id in ("a", "b")] == [RunState.CANCELED] * 2


def test_a_run_that_cannot_be_decided_is_no_hindrance_and_is_given_up_in_the_end(step_harness, caplog):
    for run_id in ("bad", "good"):
        step_harness.create_run(run_id)
        step_harness.finish_part(run_id, outcome="canceled")
    step_harness.set_fields("bad", outcome="unheard-of")
    for _ in range(3 * step_harness.settings.poison_after):
        on(step_harness, aggregate_run)(["bad", "good"])
        assert step_harness.read_run("bad").outcome is None
    assert step_harness.read_run("good").outcome == "canceled"
    assert "run bad could not be decided" in caplog.text
    on(step_harness, aggregate_run)(["bad"])
    assert step_harness.read_run("bad").state is RunState.POISONED
    assert isinstance(step_harness.read_run("bad").error, PoisonedRunError)


def on(step_harness, step):
    """The step as the harness's app has it."""
    return step_harness.app.tasks[step.name].run


@pytest.fixture
def finish(step_harness, monkeypatch):
    """`deliver_outcome` under a Celery id."""
    step = step_harness.app.tasks[deliver_outcome.name]

    def call(run_id="r", task_id="r"):
        step.push_request(id=task_id, args=[run_id])
        try:
            return step.run(run_id)
        finally:
            step.pop_request()

    return call


def test_a_run_that_succeeded_ends_with_its_small_result(step_harness, end, finish):
    step_harness.create_run()
    end()
    record = decided(step_harness)
    assert finish() == record.result


def test_a_run_that_failed_ends_with_its_error(step_harness, finish):
    step_harness.create_run()
    step_harness.finish_part(outcome="lost", error=JobLostError("gone", "r"))
    decided(step_harness)
    with pytest.raises(JobLostError) as caught:
        finish()
    assert pickle.loads(pickle.dumps(caught.value)).args == ("gone", "r")


def test_who_is_published_too_early_or_twice_stays_silent(step_harness, end, finish):
    step_harness.create_run()
    with pytest.raises(Ignore):
        finish()
    end()
    decided(step_harness)
    with pytest.raises(Ignore):
        finish(task_id="a-stranger")
    step_harness.run(ops.acknowledge_delivery(step_harness.keys, "r", "r", step_harness.app_context.retention))
    with pytest.raises(Ignore):
        finish()


def test_a_run_that_was_forgotten_is_an_error_for_who_waits(finish):
    with pytest.raises(RunNotFoundError) as caught:
        finish()
    assert caught.value.run_id == "r"


def away(*_, **__):
    raise StoreUnavailableError("away")


def test_a_store_that_is_away_sends_the_message_back(step_harness, finish, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.tasks.deliver.time.sleep", lambda _: None)
    monkeypatch.setattr(step_harness.app_context.store, "run", away)
    with pytest.raises(Reject) as caught:
        finish()
    assert caught.value.requeue


@pytest.fixture
def told(step_harness, end):
    step_harness.create_run()
    end()
    decided(step_harness)
    return lambda state="SUCCESS", args=("r",), step=deliver_outcome: acknowledge_delivery(
        task=step_harness.app.tasks[step.name], task_id="r", args=list(args), state=state
    )


def test_a_failure_that_celery_made_of_a_success_is_no_report(step_harness, told):
    """A callback that could not be sent: the outcome is delivered again."""
    step_harness.app.backend.store_result("r", {}, "FAILURE")
    told("FAILURE")
    assert step_harness.read_run().waiters == {"r": ""}


@pytest.mark.parametrize("state", ["SUCCESS", "REVOKED"])
def test_a_report_is_noted_once_celery_has_it(step_harness, told, state):
    told(state)
    assert step_harness.read_run().waiters == {"r": ""}
    step_harness.app.backend.store_result("r", {}, state)
    told(state)
    assert step_harness.read_run().waiters == {}
    assert step_harness.ttls()[step_harness.keys.run("r")] is not None


@pytest.mark.parametrize("state", ["IGNORED", "RETRY", "STARTED", None])
def test_a_report_that_did_not_happen_is_not_noted(step_harness, told, state):
    told(state)
    assert step_harness.read_run().waiters == {"r": ""}


def test_the_end_of_other_steps_is_not_a_report(step_harness, told):
    told(step=aggregate_run)
    told(args=())
    assert step_harness.read_run().waiters == {"r": ""}


def test_a_store_that_is_away_when_a_report_is_noted_is_only_logged(step_harness, told, monkeypatch, caplog):
    step_harness.app.backend.store_result("r", {}, "SUCCESS")
    monkeypatch.setattr(step_harness.app_context.store, "run", away)
    told()
    assert "a dispatcher asks Celery" in caplog.text


def test_the_message_of_the_last_part_leads_to_the_outcome(step_harness):
    step_harness.create_run()
    step_harness.finish_part(outcome="canceled")
    on(step_harness, aggregate_run)(["r"])
    with pytest.raises(JobCanceledError):
        RunHandle("r", app_context=step_harness.app_context).result()


def test_a_report_that_comes_again_after_forget_is_silent(step_harness, finish, end):
    """Neither an error nor a callback: the caller was told before the run was freed."""
    step_harness.create_run()
    end()
    decided(step_harness)
    step_harness.run(ops.acknowledge_delivery(step_harness.keys, "r", "r", step_harness.app_context.retention))
    step_harness.run(ops.forget_run(step_harness.keys, "r"))
    with pytest.raises(Ignore):
        finish()
