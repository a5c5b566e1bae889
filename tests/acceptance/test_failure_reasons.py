"""Test that a failed run names the reasons of its failed tasks, to callers, commands and readers of its status."""

from __future__ import annotations

import pytest

from scrape_do_celery import FailureReason, JobFailedError

#: Targets of the sandbox that fail, and the reason that it gives.
BAD = [f"https://shop.example/{number}?sandbox=error" for number in range(3)]


def test_a_failed_run_groups_the_reasons_of_its_tasks(pipeline):
    pipeline.work()
    handle = pipeline.enqueue(BAD)
    with pytest.raises(JobFailedError) as caught:
        handle.result(timeout=90)
    (reason,) = caught.value.reasons
    assert reason.count == 3
    assert reason.reason not in {"", "other reasons"}
    assert str(caught.value).endswith(f"3 of 3 tasks failed: 3 \u00d7 {reason.reason}")
    assert handle.status.reasons == (reason,)
    assert handle.status.to_json()["reasons"] == [{"reason": reason.reason, "count": 3}]
    assert f"reasons  3 \u00d7 {reason.reason}\n" in pipeline.run_tool("result", handle.run_id).stdout
    with pytest.raises(JobFailedError, match=f"3 \u00d7 {reason.reason}"):
        handle.async_result.get(timeout=60)


def test_failed_tasks_of_a_run_that_succeeded_have_reasons_too(pipeline):
    pipeline.work()
    handle = pipeline.enqueue(["https://a.example/", "https://b.example/?gone=410", "https://c.example/?gone=410"])
    handle.result(timeout=90)
    assert handle.status.reasons == (FailureReason("the API no longer has the task", 2),)
    shown = pipeline.run_tool("result", handle.run_id).stdout
    assert "reasons  2 \u00d7 the API no longer has the task\n" in shown
