"""Test the reasons of failed tasks and their groups."""

from __future__ import annotations

import pickle

import pytest

from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.models import JobDetails, JobFailedError, TaskDetails
from scrape_do_celery.models.reasons import (
    OTHER,
    FailureReason,
    describe_failure,
    group_reasons,
    join_reasons,
    reasons_from_json,
    reasons_to_json,
)


def failed(**fields):
    return TaskDetails(task_id="t", job_id="j", status="error", **fields)


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"error_message": "ConnectError: no route"}, "ConnectError: no route"),
        ({"error_message": "no route\n to\x1b[2J host"}, "no route to [2J host"),
        ({"error_message": "GET https://a.example/1?q=x failed"}, "GET <URL> failed"),
        ({"error_message": "refused token=abcdef1234"}, "refused token=***"),
        ({"error_message": "x" * 200}, "x" * 150 + "..."),
        ({"error_message": " ", "status_code": 404}, "the target answered 404"),
        ({"gone": True, "error_message": "GET /jobs/a/b: 410"}, "the API no longer has the task"),
        ({"error_message": "no /jobs/123e4567-e89b-12d3-a456-426614174000"}, "no /jobs/<id>"),
        ({}, "ended as error"),
    ],
)
def test_a_reason_is_one_line_that_equal_failures_share(fields, text):
    assert describe_failure(failed(**fields)) == text


def test_reasons_are_grouped_with_the_largest_first():
    found = group_reasons(["a", "b", "b", "b", "a", "c"], unread=2)
    assert found == [
        FailureReason("b", 3),
        FailureReason("a", 2),
        FailureReason("c", 1),
        FailureReason(OTHER, 2),
    ]
    assert join_reasons(found) == "3 \u00d7 b; 2 \u00d7 a; 1 \u00d7 c; 2 \u00d7 other reasons"
    assert list(reasons_from_json(reasons_to_json(found))) == found
    assert reasons_from_json(None) == ()


def test_rare_reasons_share_a_group():
    found = group_reasons([str(number) for number in range(1_234_567)])
    assert len(found) == 6
    assert str(found[-1]) == "1,234,562 \u00d7 other reasons"


def test_the_error_of_a_job_names_the_reasons_in_any_process():
    job = JobDetails.model_validate(
        {"JobID": "j", "Status": "error", "TaskIDs": ["a", "b"], "Tasks": [
            {"TaskID": "a", "URL": "https://a.example/", "Status": "error"},
            {"TaskID": "b", "URL": "https://b.example/", "Status": "error"},
        ]}
    )  # fmt: skip
    error = JobFailedError.cut(job, "r").with_reasons([FailureReason("ConnectError: no route", 2)])
    text = "job j ended as error (run r): 2 of 2 tasks failed: 2 \u00d7 ConnectError: no route"
    for one in (error, pickle.loads(pickle.dumps(error)), ScrapeDoError.from_json(error.to_json())):
        assert str(one) == text
        assert one.reasons == (FailureReason("ConnectError: no route", 2),)
        assert one.counts == {"failed": 2, "canceled": 0, "total": 2}
    assert JobFailedError.cut(job, "r").reasons == ()
