"""Test that a run is decided once, and that its outcome is delivered under the caller's id."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery import Target, routing
from scrape_do_celery.errors import (
    JobLostError,
    PoisonedRunError,
    SubmitInDoubtError,
)
from scrape_do_celery.models import JobCanceledError, JobFailedError, RunTimeoutError, TaskFailedError
from scrape_do_celery.models.reasons import join_reasons
from scrape_do_celery.runs import RunHandle
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.steps import failure_reasons
from scrape_do_celery.store import RunSpec, RunState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.runs import RecordOutcome, RequestStop
from scrape_do_celery.tasks import aggregate_run


def aggregate(step_harness):
    on(step_harness, aggregate_run)(["r"])
    return step_harness.read_run()


def test_nothing_is_decided_while_a_part_lives(step_harness, end_part):
    step_harness.create_multi_part_run(2)
    end_part(0)
    assert aggregate(step_harness).outcome is None
    assert step_harness.sent == []


def test_nothing_is_decided_for_a_run_that_is_gone(step_harness):
    on(step_harness, aggregate_run)(["r"])
    assert step_harness.redis.keys() == []


def test_a_run_that_succeeded(step_harness, end_part, make):
    step_harness.create_run()
    cost = {"scrape_do_metadata": {"Request-Cost": "5"}}
    end_part(tasks=[{"position": 0, **cost}, {"position": 1, "status": "error", "gone": True, **cost}])
    record = aggregate(step_harness)
    assert (record.state, record.error, record.decided_by) == (RunState.SUCCEEDED, None, 0)
    assert record.result == {
        "run_id": "r",
        "outcome": "succeeded",
        "counts": {"total": 2, "succeeded": 1, "failed": 1, "gone": 1},
        "credits": 10.0,
        "reasons": [{"reason": "the API no longer has the task", "count": 1}],
        "job": make.job("success").to_wire(),
        "jobs": ["job-r-0"],
        "contents": {"store": "redis", "prefix": "p"},
    }
    (message,) = step_harness.sent
    assert (message.name, message.options["task_id"]) == (routing.DELIVER_OUTCOME, "r")


def test_a_run_is_decided_once(step_harness, end_part):
    step_harness.create_run()
    end_part()
    first = aggregate(step_harness)
    step_harness.set_fields(outcome="failed")
    assert aggregate(step_harness).result == first.result
    assert [name for name, _ in step_harness.step_messages()] == [routing.DELIVER_OUTCOME] * 2


def test_the_worst_part_decides(step_harness, end_part):
    step_harness.create_multi_part_run(4)
    end_part(0)
    end_part(1, "failed", error=JobFailedError({"JobID": "job-r-1", "Status": "error"}, "r"))
    end_part(2, "lost", error=JobLostError("gone", "r"))
    step_harness.finish_part(part=3, outcome="skipped")
    record = aggregate(step_harness)
    assert (record.state, record.decided_by) == (RunState.LOST, 2)
    assert isinstance(record.error, JobLostError)
    assert record.result["job"]["JobID"] == "job-r-2"
    assert record.result["jobs"] == ["job-r-0", "job-r-1", "job-r-2"]


@pytest.mark.parametrize(("stop_reason", "error"), [("cancel", JobCanceledError), ("deadline", RunTimeoutError)])
def test_a_run_that_was_never_sent_has_an_error_too(step_harness, stop_reason, error):
    step_harness.create_run(max_wait=60)
    step_harness.run(RequestStop("r", stop_reason))
    record = aggregate(step_harness)
    assert isinstance(record.error, error)
    assert record.error.run_id == "r"
    assert record.result["job"] is None
    assert getattr(record.error, "max_wait", 60) == 60


def test_failed_tasks_are_data_unless_the_run_asks_for_more(step_harness, end_part, make):
    step_harness.create_run()
    end_part(tasks=[{"position": 0}, {"position": 1, "status": "error"}])
    assert aggregate(step_harness).state is RunState.SUCCEEDED


@pytest.mark.parametrize("status", ["error", "canceled"])
def test_raise_on_task_failure_fails_with_the_first_failed_task(step_harness, end_part, make, status):
    step_harness.create_multi_part_run(2, raise_on_task_failure=True)
    end_part(0, tasks=[{"position": 0}], job=make.job("success", 1000))
    failed = {"position": 0, "status": status, "status_code": 403, "url": make.urls(1, 1000)[0]}
    end_part(1, tasks=[failed], job=make.job("success", 1, start=1000, job_id="job-r-1"))
    record = aggregate(step_harness)
    assert (record.state, record.decided_by) == (RunState.FAILED, 1)
    assert isinstance(record.error, TaskFailedError)
    assert record.error.task.status_code == 403
    assert record.error.run_id == "r"
    assert record.result["job"]["JobID"] == "job-r-1"
    assert "<html>" not in json.dumps(record.error.to_json())


def test_failed_task_of_a_deduped_run_names_its_input_and_no_meta(step_harness, end_part, make):
    first, second = make.urls(2)
    inputs = [Target(first, "private"), Target(second, "private"), Target(first, 3)]
    spec = RunSpec.from_arguments(inputs, dedupe=True, raise_on_task_failure=True)
    step_harness.run(CreateRun("r", spec))
    # The job has the tasks in another order than the targets.
    job = make.job("success", 2)
    job = job.model_copy(update={"tasks": [job.tasks[1], job.tasks[0]], "task_ids": job.task_ids[::-1]})
    end_part(tasks=[{"position": 0, "url": second, "status": "error"}, {"position": 1, "url": first}], job=job)
    error = aggregate(step_harness).error
    assert isinstance(error, TaskFailedError)
    assert (error.task.url, error.task.meta) == (second, None)
    assert second in str(error)
    assert "private" not in json.dumps(error.to_json())


def test_raise_on_task_failure_without_failures_succeeds(step_harness, end_part):
    step_harness.create_run(raise_on_task_failure=True)
    end_part(tasks=[{"position": 0}])
    assert aggregate(step_harness).state is RunState.SUCCEEDED


def test_a_worse_outcome_is_worse_than_a_failed_task(step_harness, end_part):
    step_harness.create_run(raise_on_task_failure=True)
    end_part(outcome="in_doubt", tasks=[{"position": 0, "status": "error"}], error=SubmitInDoubtError("lost", 2))
    assert isinstance(aggregate(step_harness).error, SubmitInDoubtError)


def test_failed_task_without_a_record_changes_nothing(step_harness, end_part):
    step_harness.create_run(raise_on_task_failure=True)
    end_part(tasks=[{"position": 0}])
    step_harness.set_fields(stored_failed=1, stored_ok=0)
    assert aggregate(step_harness).state is RunState.SUCCEEDED


def test_the_small_result_is_small_and_holds_no_page(step_harness, end_part, make):
    step_harness.create_run(
        targets=1000, request={"headers": {"X-Secret": "h-secret"}, "webhook_url": "https://hooks.example/w-secret"}
    )
    page = {"content": "c-secret" * 1000, "response_headers": {"Set-Cookie": "k-secret"}}
    end_part(job=make.job("success", 1000), tasks=[{"position": n, **page} for n in range(0, 1000, 100)])
    text = json.dumps(aggregate(step_harness).result)
    assert len(text) < 20_000
    assert "secret" not in text
    assert len(json.loads(text)["job"]["Tasks"]) == 20
    assert make.token not in text


def test_the_reasons_of_failed_tasks_are_grouped_for_the_whole_run(step_harness, end_part, make):
    step_harness.create_multi_part_run(2, request={"headers": {"X-Secret": "h-secret-value"}})
    refused = {"status": "error", "error_message": "ConnectError: no route with h-secret-value"}
    tasks = [{"position": n, **refused} for n in range(3)]
    error = JobFailedError({"JobID": "job-r-0", "Status": "error"}, "r")
    end_part(0, "failed", error=error, tasks=tasks, job=make.job("error", tasks=["success"] * 50 + ["error"] * 3))
    end_part(1, tasks=[{"position": 0, "status": "error", "status_code": 404}], job=make.job("success", 1, job_id="j"))
    record = aggregate(step_harness)
    text = "3 \u00d7 ConnectError: no route with ***; 1 \u00d7 the target answered 404"
    assert join_reasons(record.error.reasons) == text
    status = RunStatus.from_record(record)
    assert join_reasons(status.reasons) == text
    assert status.to_json()["reasons"] == record.result["reasons"]
    assert "secret" not in json.dumps(status.to_json())


def test_reasons_that_were_not_read_are_counted(step_harness, end_part, make, monkeypatch):
    monkeypatch.setattr(failure_reasons, "_MOST_READ", 2)
    step_harness.create_run(targets=5)
    end_part(tasks=[{"position": n, "status": "error", "error_message": "no"} for n in range(5)])
    assert aggregate(step_harness).result["reasons"] == [
        {"reason": "no", "count": 2},
        {"reason": "other reasons", "count": 3},
    ]


def test_without_a_readable_request_no_reason_is_shown(step_harness, end_part):
    step_harness.create_run()
    error = JobFailedError({"JobID": "job-r-0", "Status": "error"}, "r")
    end_part(0, "failed", error=error, tasks=[{"position": 0, "status": "error", "error_message": "no"}])
    step_harness.redis.hset(step_harness.keys.run("r"), "spec", pack({"request": {"GeoCode": 5}}))
    assert aggregate(step_harness).result["reasons"] == [{"reason": "other reasons", "count": 1}]


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


def test_undecidable_run_blocks_no_other_and_is_given_up(step_harness, caplog):
    for run_id in ("bad", "good"):
        step_harness.create_run(run_id)
        step_harness.finish_part(run_id, outcome="canceled")
    step_harness.set_fields("bad", outcome="unheard-of")
    for _ in range(3 * step_harness.settings.poison_after):
        on(step_harness, aggregate_run)(["bad", "good"])
        assert step_harness.read_run("bad").outcome is None
    assert step_harness.read_run("good").outcome == "canceled"
    assert "could not decide the outcome of run bad" in caplog.text
    on(step_harness, aggregate_run)(["bad"])
    assert step_harness.read_run("bad").state is RunState.POISONED
    assert isinstance(step_harness.read_run("bad").error, PoisonedRunError)


def on(step_harness, step):
    """Return the step from the harness's app."""
    return step_harness.app.tasks[step.name].run


def test_the_message_of_the_last_part_leads_to_the_outcome(step_harness):
    step_harness.create_run()
    step_harness.finish_part(outcome="canceled")
    on(step_harness, aggregate_run)(["r"])
    with pytest.raises(JobCanceledError):
        RunHandle("r", app_context=step_harness.app_context).result()


def test_outcome_is_refused_while_a_part_is_live(step_harness):
    """Decide after the store fell back: the step saw all parts ended, and the store lost these writes."""
    step_harness.create_run()
    assert step_harness.run(RecordOutcome("r", "succeeded", {"decided_by": 0})) == ""
    assert step_harness.read_run().outcome is None
    step_harness.finish_part()
    assert step_harness.run(RecordOutcome("r", "succeeded", {"decided_by": 0})) == "succeeded"
