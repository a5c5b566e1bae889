"""Test the original models, attribute by attribute, and other forms on the wire."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from pydantic import ValidationError

from scrape_do_celery import models
from scrape_do_celery.models import (
    TERMINAL,
    JobCanceledError,
    JobCreationResponse,
    JobDetails,
    JobFailedError,
    JobResult,
    JobsListResponse,
    JobStatus,
    TaskCanceledError,
    TaskDetails,
    TaskFailedError,
    UndetailedTaskResponse,
    UserInformation,
    is_terminal,
)

TASK: dict[str, Any] = {
    "TaskID": "t1",
    "JobID": "j1",
    "URL": "https://shop.example/p/1",
    "Status": "success",
    "StartTime": "2026-11-22T09:14:03Z",
    "EndTime": "2026-11-22T09:14:09.123456789Z",
    "UpdateTime": "2026-11-22T09:14:10Z",
    "ExpiresAt": "2026-11-25T09:14:02Z",
    "Base64EncodedContent": False,
    "StatusCode": 200,
    "ResponseHeaders": {"Content-Type": "text/html"},
    "Scrape.do": {"Request-Cost": "25"},
    "Content": "<html>",
    "ErrorMessage": "",
    "WebhookURL": "https://hooks.example/scrape",
    "WebhookStatus": "failed",
    "WebhookRequestTime": "2026-11-22T09:14:10Z",
    "TraceID": "tr-9",
}
JOB: dict[str, Any] = {
    "JobID": "j1",
    "TaskIDs": ["t1", "t2"],
    "Status": "pending",
    "StartTime": "2026-11-22T09:14:03Z",
    "EndTime": "2026-11-22T09:14:13Z",
    "AcquiredConcurrency": 2,
    "LimitConcurrency": 5,
    "Canceled": True,
    "Tasks": [
        {"TaskID": "t1", "URL": "https://shop.example/p/1", "Status": "success"},
        {"TaskID": "t2", "URL": "https://shop.example/p/2", "Status": "rotating"},
    ],
}


def job(**changes: Any) -> JobDetails:
    return JobDetails.model_validate({**JOB, **changes})


def task(**changes: Any) -> TaskDetails:
    return TaskDetails.model_validate({**TASK, **changes})


def test_job_creation_response():
    made = JobCreationResponse.model_validate({"JobID": "j", "TaskIDs": ["a"], "Message": "accepted"})
    assert (made.job_id, made.task_ids, made.message) == ("j", ["a"], "accepted")
    assert JobCreationResponse.model_validate({"JobID": "j", "TaskIDs": None}) == JobCreationResponse(job_id="j")


def test_job_details():
    full = job()
    assert full.job_id == "j1"
    assert full.task_ids == ["t1", "t2"]
    assert full.status is JobStatus.PENDING
    assert full.start_time == datetime(2026, 11, 22, 9, 14, 3, tzinfo=UTC)
    assert full.end_time == datetime(2026, 11, 22, 9, 14, 13, tzinfo=UTC)
    assert (full.acquired_concurrency, full.limit_concurrency, full.canceled) == (2, 5, True)
    assert full.tasks[1] == UndetailedTaskResponse(
        task_id="t2", url="https://shop.example/p/2", status=JobStatus.ROTATING
    )
    assert full.duration == timedelta(seconds=10)


def test_job_of_a_list_has_defaults():
    trimmed = JobDetails.model_validate({"JobID": "j", "TaskIDs": [], "Status": "queued"})
    assert (trimmed.acquired_concurrency, trimmed.limit_concurrency) == (0, 0)
    assert (trimmed.canceled, trimmed.tasks) == (False, [])
    assert (trimmed.start_time, trimmed.end_time, trimmed.duration) == (None, None, None)


def test_task_details():
    full = task()
    assert (full.task_id, full.job_id, full.url) == ("t1", "j1", "https://shop.example/p/1")
    assert full.status == "success"
    assert full.end_time == datetime(2026, 11, 22, 9, 14, 9, 123456, tzinfo=UTC)
    assert full.update_time == full.webhook_request_time == datetime(2026, 11, 22, 9, 14, 10, tzinfo=UTC)
    assert full.expires_at == datetime(2026, 11, 25, 9, 14, 2, tzinfo=UTC)
    assert (full.base64_encoded_content, full.status_code) == (False, 200)
    assert full.response_headers == {"Content-Type": "text/html"}
    assert full.scrape_do_metadata == {"Request-Cost": "25"}
    assert (full.content, full.error_message) == ("<html>", "")
    assert (full.webhook_url, full.webhook_status, full.trace_id) == ("https://hooks.example/scrape", "failed", "tr-9")
    assert full.gone is False
    assert full.duration == timedelta(seconds=6, microseconds=123456)


def test_task_repr_leaves_the_page_and_the_webhook_out():
    assert "<html>" not in repr(task())
    assert "hooks.example" not in repr(task())


def test_user_information():
    wire = {"TotalConcurrency": 12, "FreeConcurrency": 9, "ActiveJobs": 1, "AvaliableCredits": 481230}
    me = UserInformation.model_validate(wire)
    assert (me.total_concurrency, me.free_concurrency, me.active_jobs, me.available_credits) == (12, 9, 1, 481230)
    assert me.to_wire() == wire
    assert UserInformation.model_validate({"AvailableCredits": 7}).available_credits == 7
    assert UserInformation.model_validate({"AvaliableCredits": 7.9}).available_credits == 7
    assert UserInformation(available_credits=7).available_credits == 7


def test_jobs_list_response():
    page = JobsListResponse.model_validate(
        {"Jobs": [JOB], "TotalCount": 37, "PageSize": 10, "PageNumber": 1, "TotalPages": 4}
    )
    assert page.jobs == [job()]
    assert (page.total_count, page.page_size, page.page_number, page.total_pages) == (37, 10, 1, 4)


def test_aliases():
    assert models.CancelJobResponse is JobDetails
    assert models.WebhookPayload is TaskDetails


def test_statuses():
    assert [str(status) for status in JobStatus] == [
        *("queuing", "queued", "pending", "rotating"),
        *("success", "error", "canceled"),
    ]
    assert {"success", "error", "canceled"} == TERMINAL
    assert [status for status in JobStatus if is_terminal(status)] == ["success", "error", "canceled"]


@pytest.mark.parametrize("build", [job, task])
@pytest.mark.parametrize(
    ("status", "terminal", "success", "failure"),
    [
        ("queuing", False, False, False),
        ("queued", False, False, False),
        ("pending", False, False, False),
        ("rotating", False, False, False),
        ("success", True, True, False),
        ("error", True, False, True),
        ("canceled", True, False, True),
        ("brand-new", False, False, False),
        ("cancel_sent_at", False, False, False),
    ],
)
def test_lifecycle(build, status, terminal, success, failure):
    model = build(Status=status)
    assert model.status == status
    assert (model.is_terminal, model.is_success, model.is_terminal_failure) == (terminal, success, failure)
    if not failure:
        model.raise_for_status()


def test_raise_for_status():
    with pytest.raises(JobFailedError) as failed:
        job(Status="error").raise_for_status()
    assert type(failed.value) is JobFailedError
    assert failed.value.job == job(Status="error")
    with pytest.raises(JobCanceledError):
        job(Status="canceled").raise_for_status()
    with pytest.raises(TaskFailedError):
        task(Status="error").raise_for_status()
    with pytest.raises(TaskCanceledError):
        task(Status="canceled").raise_for_status()


def test_is_expired():
    assert task(ExpiresAt=None).is_expired is None
    assert task(ExpiresAt="0001-01-01T00:00:00Z").is_expired is None
    assert task(ExpiresAt="").is_expired is None
    assert task(ExpiresAt="2020-01-01T00:00:00").is_expired is True
    assert task(ExpiresAt=datetime.now(UTC) + timedelta(hours=1)).is_expired is False


def test_times_without_a_zone_are_utc_and_others_keep_theirs():
    mixed = job(StartTime="2026-11-22T09:14:03", EndTime="2026-11-22T11:14:13+02:00")
    assert mixed.start_time == datetime(2026, 11, 22, 9, 14, 3, tzinfo=UTC)
    assert mixed.end_time == datetime(2026, 11, 22, 11, 14, 13, tzinfo=timezone(timedelta(hours=2)))
    assert mixed.duration == timedelta(seconds=10)
    raw = JobDetails.model_construct(
        start_time=datetime(2026, 1, 1),  # noqa: DTZ001
        end_time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    assert raw.duration == timedelta(0)


def test_zero_time_is_none():
    empty = job(StartTime="", EndTime="0001-01-01T00:00:00Z")
    assert (empty.start_time, empty.end_time, empty.duration) == (None, None, None)


def test_null_is_the_default():
    keys = ("TaskIDs", "StartTime", "EndTime", "AcquiredConcurrency", "LimitConcurrency", "Canceled", "Tasks")
    assert job(**dict.fromkeys(keys)) == JobDetails(job_id="j1", status=JobStatus.PENDING)
    kept = {"TaskID", "JobID", "Status"}
    empty = task(**{key: None for key in TASK if key not in kept})
    assert empty == TaskDetails(task_id="t1", job_id="j1", status=JobStatus.SUCCESS)
    assert (empty.response_headers, empty.scrape_do_metadata, empty.url) == ({}, {}, "")
    nothing = dict.fromkeys(("Jobs", "TotalCount", "PageSize", "PageNumber", "TotalPages"))
    assert JobsListResponse.model_validate(nothing) == JobsListResponse()
    assert UserInformation.model_validate({"AvaliableCredits": None, "ActiveJobs": ""}) == UserInformation()
    assert job(TaskIDs=["t1", None], Tasks=[None, JOB["Tasks"][0]]).task_ids == ["t1"]


def test_headers_that_come_as_lists_are_kept():
    kept = task(ResponseHeaders={"Set-Cookie": ["a=1", None, "b=2"], "X-None": None, "Age": 3, "Ok": True})
    assert kept.response_headers == {"Set-Cookie": ["a=1", "b=2"], "Age": "3", "Ok": "true"}


def test_telemetry_is_text():
    kept = task(
        **{"Scrape.do": {"Request-Cost": 2.5, "Cached": False, "Hops": ["a", "b"], "None": None, "Map": {"a": 1}}}
    )
    assert kept.scrape_do_metadata == {
        "Request-Cost": "2.5",
        "Cached": "false",
        "Hops": "a, b",
        "Map": '{"a": 1}',
    }
    assert kept.cost == 2.5


@pytest.mark.parametrize(
    ("metadata", "cost"),
    [
        ({"Request-Cost": "10"}, 10.0),
        ({"scrape.do-request-cost": "5"}, 5.0),
        ({"Scrape.do-Request-Cost": 1}, 1.0),
        ({"Request-Cost": "much"}, None),
        ({"Request-Cost": "inf"}, None),
        ({"Request-Id": "9"}, None),
        ({}, None),
    ],
)
def test_cost(metadata, cost):
    assert task(**{"Scrape.do": metadata}).cost == cost


def test_errors_do_not_repeat_the_input():
    with pytest.raises(ValidationError) as error:
        task(TaskID="s3 cret")
    assert "TaskID" in str(error.value)
    assert "s3 cret" not in str(error.value)


def test_unknown_fields_are_kept_out_and_models_are_frozen():
    assert not hasattr(job(Wholly="new"), "Wholly")
    with pytest.raises(ValidationError):
        job().status = JobStatus.ERROR


def test_decoded_content():
    assert task(Content=None).decoded_content() is None
    assert task(Content="").decoded_content() == b""
    assert task(Content="grün").decoded_content() == "grün".encode()
    coded = base64.encodebytes(bytes(range(256))).decode()
    assert "\n" in coded
    assert task(Content=coded, Base64EncodedContent=True).decoded_content() == bytes(range(256))


@pytest.mark.parametrize("content", ["YWJjZ", "YWJj*", "YWJjZA=", "=", "grün", "YW=Jj"])
def test_content_that_is_not_base64(content):
    with pytest.raises(ValueError, match="cannot be read as base64") as error:
        task(Content=content, Base64EncodedContent=True).decoded_content()
    assert content not in str(error.value)
    assert error.value.__cause__ is None


def test_lone_surrogates_survive():
    raw = json.dumps({**TASK, "Content": "a\ud800b"})
    page = TaskDetails.from_json(raw)
    assert page.decoded_content() == b"a\xed\xa0\x80b"
    assert TaskDetails.model_validate(page.to_wire()) == page


def test_from_json():
    assert TaskDetails.from_json(json.dumps(TASK).encode()) == task()
    for raw in (b"<html>", b"\xff", "[" * 100_000):
        with pytest.raises(ValidationError, match="Invalid JSON"):
            TaskDetails.from_json(raw)
    with pytest.raises(ValidationError, match="TaskID"):
        TaskDetails.from_json("{}")


def test_content_that_is_no_text_becomes_text():
    assert task(Content={"a": "ü"}).content == '{"a": "ü"}'
    assert task(Content=b"abc").content == "abc"


def test_round_trip():
    gone = task(Status="error", ResponseHeaders={"A": ["1", "2"]}).model_copy(update={"gone": True})
    assert gone.to_wire()["Gone"] is True
    page = JobsListResponse(jobs=[job(), job(Status="new")], total_count=2)
    me = UserInformation(available_credits=3)
    made = JobCreationResponse(job_id="j", task_ids=["t"], message="m")
    result = JobResult(job=job(), tasks=[task(), gone], order_verified=False, run_id="r")
    for model in (job(), task(), gone, page, me, made, result):
        assert type(model).model_validate(model.model_dump(mode="json", by_alias=True)) == model
        assert type(model).model_validate_json(model.model_dump_json(by_alias=True)) == model
        assert type(model).model_validate(model.model_dump()) == model


def test_task_wire_names_are_the_apis():
    assert set(task().to_wire()) == {*TASK, "Gone", "TooLarge", "Unreadable", "GivenUp", "ReturnJSON", "Meta"}
    assert set(job().to_wire()) == set(JOB)


def test_job_result():
    ok, bad = task(), task(TaskID="t2", Status="error", **{"Scrape.do": {"Request-Cost": "1.5"}})
    result = JobResult(job=job(), tasks=[ok, bad, task(Status="pending", **{"Scrape.do": {}})])
    assert result.jobs == [job()]
    assert (result.order_verified, result.run_id) == (True, None)
    assert (result.succeeded, result.failed) == ([ok], [bad])
    assert result.cost == 26.5
    assert JobResult(job=job()).cost is None
    assert JobResult(job=job()).tasks == []
    two = [job(), job(JobID="j2")]
    assert JobResult(job=job(), jobs=two).jobs == two
    with pytest.raises(ValidationError):
        JobResult.model_validate({"job": {}, "jobs": []})


def many(statuses: list[str]) -> JobDetails:
    ids = [f"t{number}" for number in range(len(statuses))]
    tasks = [{"TaskID": one, "URL": "u", "Status": status} for one, status in zip(ids, statuses, strict=True)]
    return job(TaskIDs=ids, Tasks=tasks)


def test_cut_keeps_failed_tasks_first():
    cut = many(["success"] * 30 + ["error", "canceled"]).cut(5)
    assert [task.status for task in cut.tasks] == ["error", "canceled", "success", "success", "success"]
    assert cut.task_ids == [task.task_id for task in cut.tasks] == ["t30", "t31", "t0", "t1", "t2"]
    assert cut.job_id == "j1"


def test_cut_without_summaries_and_of_a_short_job():
    assert job(TaskIDs=["a", "b", "c"], Tasks=[]).cut(2).task_ids == ["a", "b"]
    short = many(["success", "error"])
    assert short.cut(2) is short
    assert len(many(["success"] * 25).cut().tasks) == 20
