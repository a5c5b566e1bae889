"""Test which differences between a delivered and a fetched task turn the trust in deliveries off."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.models import TaskDetails
from scrape_do_celery.rules.delivered_tasks import NOT_COMPARED, find_differences

PAGE = "<html>\u00fc"
TASK = TaskDetails.model_validate(
    {
        "TaskID": "t0",
        "JobID": "j",
        "URL": "https://a.example/",
        "Status": "success",
        "StatusCode": 200,
        "ResponseHeaders": {"Content-Type": "text/html", "Set-Cookie": ["a=1", "b=2"]},
        "Scrape.do": {"request-cost": "5", "remaining-credits": "95", "resolved-url": "https://a.example/x"},
        "Content": PAGE,
    }
)


def changed(**fields):
    return TASK.model_copy(update=fields)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({"status": "error"}, ["Status"]),
        ({"status_code": 404}, ["StatusCode"]),
        ({"url": "https://b.example/"}, ["URL"]),
        ({"error_message": "no"}, ["ErrorMessage"]),
        ({"content": PAGE[:-1]}, ["Content"]),
        ({"content": None}, ["Content"]),
        ({"content": "%%%", "base64_encoded_content": True}, ["Content"]),
        ({"response_headers": {"Content-Type": "text/html", "Set-Cookie": ["a=1"]}}, ["ResponseHeaders"]),
        ({"response_headers": {}}, ["ResponseHeaders"]),
        ({"scrape_do_metadata": {}}, ["Cost", "ResolvedURL"]),
        ({"scrape_do_metadata": {**TASK.scrape_do_metadata, "request-cost": "6"}}, ["Cost"]),
        ({"status": "error", "content": None}, ["Status", "Content"]),
    ],
    ids=str,
)
def test_each_thing_that_was_bought_counts(fields, names):
    assert find_differences(TASK, changed(**fields)) == names
    assert find_differences(changed(**fields), TASK) == names


@pytest.mark.parametrize(
    "fields",
    [
        {"task_id": "T0", "job_id": "J"},
        {name: datetime(2026, 1, 1, tzinfo=UTC) for name in ("start_time", "end_time", "update_time", "expires_at")},
        {
            "webhook_url": "https://a.example/",
            "webhook_status": "failed",
            "webhook_request_time": datetime(2026, 1, 2, tzinfo=UTC),
        },
        {"trace_id": "x"},
        {"content": base64.b64encode(PAGE.encode()).decode(), "base64_encoded_content": True},
        {"response_headers": {"content-type": ["text/html"], "SET-COOKIE": ["a=1", "b=2"]}},
        {"scrape_do_metadata": {**TASK.scrape_do_metadata, "remaining-credits": "40"}},
    ],
    ids=str,
)
def test_two_true_answers_are_equal(fields):
    assert find_differences(TASK, changed(**fields)) == []


def test_unreadable_content_is_compared_as_text():
    damaged = changed(content="%%%", base64_encoded_content=True)
    assert find_differences(damaged, damaged) == []
    assert find_differences(damaged, changed(content="%%", base64_encoded_content=True)) == ["Content"]


def test_token_in_a_reason_is_no_difference():
    told = f"no answer from https://a.example/r-0-1-{'a' * 64}"
    assert find_differences(changed(error_message=told.replace("a" * 64, "***")), changed(error_message=told)) == []


def test_each_field_of_a_task_is_compared_or_named():
    """A new field of the model is compared, unless somebody decides against it."""
    assert set(TaskDetails.model_fields) >= NOT_COMPARED
    compared = {"status", "url", "status_code", "response_headers", "content", "error_message"}
    assert set(TaskDetails.model_fields) - NOT_COMPARED == compared


@given(st.text(), st.text())
def test_texts_are_equal_only_if_their_bytes_are(one, other):
    assert (find_differences(changed(content=one), changed(content=other)) == []) is (one == other)
