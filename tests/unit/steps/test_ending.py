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
def end(plant, make):
    """Ends one part, with its job and the tasks that were fetched."""

    def end_of_part(part=0, outcome="succeeded", *, job=None, tasks=(), error=None):
        plant.buy(part=part, state=PartState.FETCHING)
        claim = plant.take(part=part)
        plant.run(ops.update_part(plant.keys, claim, {}, job=job or make.job("success", job_id=f"job-r-{part}")))
        for task in tasks:
            plant.put(part=part, **task)
        plant.run(ops.finish_part(plant.keys, claim, outcome, error=error))

    return end_of_part


def decided(plant):
    on(plant, aggregate_run)(["r"])
    return plant.view()


def test_nothing_is_decided_while_a_part_lives(plant, end):
    plant.part_by_part(2)
    end(0)
    assert decided(plant).outcome is None
    assert plant.sent == []


def test_nothing_is_decided_for_a_run_that_is_gone(plant):
    on(plant, aggregate_run)(["r"])
    assert plant.redis.keys() == []


def test_a_run_that_succeeded(plant, end, make):
    plant.begin()
    cost = {"scrape_do_metadata": {"Request-Cost": "5"}}
    end(tasks=[{"position": 0, **cost}, {"position": 1, "status": "error", "gone": True, **cost}])
    record = decided(plant)
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
    (message,) = plant.sent
    assert (message.name, message.options["task_id"]) == (routing.DELIVER_OUTCOME, "r")


def test_a_run_is_decided_once(plant, end):
    plant.begin()
    end()
    first = decided(plant)
    plant.force(outcome="failed")
    assert decided(plant).result == first.result
    assert [name for name, _ in plant.messages()] == [routing.DELIVER_OUTCOME] * 2


def test_the_worst_part_decides(plant, end):
    plant.part_by_part(4)
    end(0)
    end(1, "failed", error=JobFailedError({"JobID": "job-r-1", "Status": "error"}, "r"))
    end(2, "lost", error=JobLostError("gone", "r"))
    plant.finish(part=3, outcome="skipped")
    record = decided(plant)
    assert (record.state, record.decided_by) == (RunState.LOST, 2)
    assert isinstance(record.error, JobLostError)
    assert record.result["job"]["JobID"] == "job-r-2"
    assert record.result["jobs"] == ["job-r-0", "job-r-1", "job-r-2"]


@pytest.mark.parametrize(("stop_reason", "error"), [("cancel", JobCanceledError), ("deadline", RunTimeoutError)])
def test_a_run_that_was_never_sent_has_an_error_too(plant, stop_reason, error):
    plant.begin(max_wait=60)
    plant.run(ops.request_stop(plant.keys, "r", stop_reason))
    record = decided(plant)
    assert isinstance(record.error, error)
    assert record.error.run_id == "r"
    assert record.result["job"] is None
    assert getattr(record.error, "max_wait", 60) == 60


def test_failed_tasks_are_data_unless_the_run_asks_for_more(plant, end, make):
    plant.begin()
    end(tasks=[{"position": 0}, {"position": 1, "status": "error"}])
    assert decided(plant).state is RunState.SUCCEEDED


@pytest.mark.parametrize("status", ["error", "canceled"])
def test_a_run_that_asks_for_it_fails_with_its_first_failed_task(plant, end, make, status):
    plant.part_by_part(2, raise_on_task_failure=True)
    end(0, tasks=[{"position": 0}], job=make.job("success", 1000))
    failed = {"position": 0, "status": status, "status_code": 403, "url": make.urls(1, 1000)[0]}
    end(1, tasks=[failed], job=make.job("success", 1, start=1000, job_id="job-r-1"))
    record = decided(plant)
    assert (record.state, record.decided_by) == (RunState.FAILED, 1)
    assert isinstance(record.error, TaskFailedError)
    assert record.error.task.status_code == 403
    assert record.error.run_id == "r"
    assert record.result["job"]["JobID"] == "job-r-1"
    assert "<html>" not in json.dumps(record.error.to_json())


def test_a_run_that_asks_for_it_and_has_no_failed_task_succeeds(plant, end):
    plant.begin(raise_on_task_failure=True)
    end(tasks=[{"position": 0}])
    assert decided(plant).state is RunState.SUCCEEDED


def test_a_worse_outcome_is_worse_than_a_failed_task(plant, end):
    plant.begin(raise_on_task_failure=True)
    end(outcome="in_doubt", tasks=[{"position": 0, "status": "error"}], error=SubmitInDoubtError("lost", 2))
    assert isinstance(decided(plant).error, SubmitInDoubtError)


def test_a_failed_task_whose_record_of_failure_is_gone_changes_nothing(plant, end):
    plant.begin(raise_on_task_failure=True)
    end(tasks=[{"position": 0}])
    plant.force(stored_failed=1, stored_ok=0)
    assert decided(plant).state is RunState.SUCCEEDED


def test_the_small_result_is_small_and_holds_no_page(plant, end, make):
    plant.begin(
        targets=1000, request={"headers": {"X-Secret": "h-secret"}, "webhook_url": "https://hooks.example/w-secret"}
    )
    page = {"content": "c-secret" * 1000, "response_headers": {"Set-Cookie": "k-secret"}}
    end(job=make.job("success", 1000), tasks=[{"position": n, **page} for n in range(0, 1000, 100)])
    text = json.dumps(decided(plant).result)
    assert len(text) < 20_000
    assert "secret" not in text
    assert len(json.loads(text)["job"]["Tasks"]) == 20
    assert make.token not in text


def test_errors_of_large_jobs_are_small_too(plant, make):
    job = make.job("error", tasks=["success"] * 900 + ["error"] * 100)
    error = JobFailedError.cut(job, "r")
    assert len(json.dumps(error.to_json())) < 20_000
    assert error.counts == {"failed": 100, "canceled": 0, "total": 1000}
    assert {task.status for task in error.job.tasks} == {"error"}


def test_the_step_decides_all_runs_that_it_is_told_of(plant):
    for run_id in ("a", "b"):
        plant.begin(run_id)
        plant.finish(run_id, outcome="canceled")
    on(plant, aggregate_run)(["a", "gone", "b"])
    assert [plant.view(run_id).state for run_id in ("a", "b")] == [RunState.CANCELED] * 2


def test_a_run_that_cannot_be_decided_is_no_hindrance_and_is_given_up_in_the_end(plant, caplog):
    for run_id in ("bad", "good"):
        plant.begin(run_id)
        plant.finish(run_id, outcome="canceled")
    plant.force("bad", outcome="unheard-of")
    for _ in range(3 * plant.settings.poison_after):
        on(plant, aggregate_run)(["bad", "good"])
        assert plant.view("bad").outcome is None
    assert plant.view("good").outcome == "canceled"
    assert "run bad could not be decided" in caplog.text
    on(plant, aggregate_run)(["bad"])
    assert plant.view("bad").state is RunState.POISONED
    assert isinstance(plant.view("bad").error, PoisonedRunError)


def on(plant, step):
    """The step as the plant's app has it."""
    return plant.app.tasks[step.name].run


@pytest.fixture
def finish(plant, monkeypatch):
    """`deliver_outcome` under a Celery id."""
    step = plant.app.tasks[deliver_outcome.name]

    def call(run_id="r", task_id="r"):
        step.push_request(id=task_id, args=[run_id])
        try:
            return step.run(run_id)
        finally:
            step.pop_request()

    return call


def test_a_run_that_succeeded_ends_with_its_small_result(plant, end, finish):
    plant.begin()
    end()
    record = decided(plant)
    assert finish() == record.result


def test_a_run_that_failed_ends_with_its_error(plant, finish):
    plant.begin()
    plant.finish(outcome="lost", error=JobLostError("gone", "r"))
    decided(plant)
    with pytest.raises(JobLostError) as caught:
        finish()
    assert pickle.loads(pickle.dumps(caught.value)).args == ("gone", "r")


def test_who_is_published_too_early_or_twice_stays_silent(plant, end, finish):
    plant.begin()
    with pytest.raises(Ignore):
        finish()
    end()
    decided(plant)
    with pytest.raises(Ignore):
        finish(task_id="a-stranger")
    plant.run(ops.acknowledge_delivery(plant.keys, "r", "r", plant.producer.retention))
    with pytest.raises(Ignore):
        finish()


def test_a_run_that_was_forgotten_is_an_error_for_who_waits(finish):
    with pytest.raises(RunNotFoundError) as caught:
        finish()
    assert caught.value.run_id == "r"


def away(*_, **__):
    raise StoreUnavailableError("away")


def test_a_store_that_is_away_sends_the_message_back(plant, finish, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.tasks.deliver.time.sleep", lambda _: None)
    monkeypatch.setattr(plant.producer.store, "run", away)
    with pytest.raises(Reject) as caught:
        finish()
    assert caught.value.requeue


@pytest.fixture
def told(plant, end):
    plant.begin()
    end()
    decided(plant)
    return lambda state="SUCCESS", args=("r",), step=deliver_outcome: acknowledge_delivery(
        task=plant.app.tasks[step.name], task_id="r", args=list(args), state=state
    )


def test_a_failure_that_celery_made_of_a_success_is_no_report(plant, told):
    """A callback that could not be sent: the outcome is delivered again."""
    plant.app.backend.store_result("r", {}, "FAILURE")
    told("FAILURE")
    assert plant.view().waiters == {"r": ""}


@pytest.mark.parametrize("state", ["SUCCESS", "REVOKED"])
def test_a_report_is_noted_once_celery_has_it(plant, told, state):
    told(state)
    assert plant.view().waiters == {"r": ""}
    plant.app.backend.store_result("r", {}, state)
    told(state)
    assert plant.view().waiters == {}
    assert plant.ttls()[plant.keys.run("r")] is not None


@pytest.mark.parametrize("state", ["IGNORED", "RETRY", "STARTED", None])
def test_a_report_that_did_not_happen_is_not_noted(plant, told, state):
    told(state)
    assert plant.view().waiters == {"r": ""}


def test_the_end_of_other_steps_is_not_a_report(plant, told):
    told(step=aggregate_run)
    told(args=())
    assert plant.view().waiters == {"r": ""}


def test_a_store_that_is_away_when_a_report_is_noted_is_only_logged(plant, told, monkeypatch, caplog):
    plant.app.backend.store_result("r", {}, "SUCCESS")
    monkeypatch.setattr(plant.producer.store, "run", away)
    told()
    assert "a dispatcher asks Celery" in caplog.text


def test_the_message_of_the_last_part_leads_to_the_outcome(plant):
    plant.begin()
    plant.finish(outcome="canceled")
    on(plant, aggregate_run)(["r"])
    with pytest.raises(JobCanceledError):
        RunHandle("r", producer=plant.producer).result()


def test_a_report_that_comes_again_after_forget_is_silent(plant, finish, end):
    """Neither an error nor a callback: the caller was told before the run was freed."""
    plant.begin()
    end()
    decided(plant)
    plant.run(ops.acknowledge_delivery(plant.keys, "r", "r", plant.producer.retention))
    plant.run(ops.forget_run(plant.keys, "r"))
    with pytest.raises(Ignore):
        finish()
