"""Test that deadlines and expiry end a run."""

from __future__ import annotations

import time

import pytest

from scrape_do_celery import JobCanceledError, RunTimeoutError

TARGET = ["https://a.example/"]


@pytest.mark.parametrize("kind", ["get_task", "cancel_job", "get_job"])
def test_deadline_ends_a_run_although_the_api_fails(pipeline, kind, eventually):
    pipeline.values["cancel_grace"] = 1
    target = "https://a.example/" if kind == "get_task" else "https://a.example/?seconds=60"
    pipeline.work()
    handle = pipeline.enqueue([target, "https://b.example/"], max_wait=2)
    eventually(lambda: handle.state in ("running", "fetching"))
    pipeline.sandbox.fault("status", kind=kind, status=500, target="a.example")
    pipeline.sandbox.fault("status", kind=kind, status=500) if kind != "get_task" else None
    with pytest.raises(RunTimeoutError):
        handle.result(timeout=150)
    assert pipeline.posts() == 1


def test_expired_message_is_not_bought(pipeline):
    """Start the worker too late: Celery drops the message, and the draft is not carried out."""
    late = pipeline.steps["scrape_do.scrape"].apply_async(kwargs={"targets": TARGET}, expires=1)
    time.sleep(1.5)
    pipeline.work()
    with pytest.raises(JobCanceledError) as caught:
        pipeline.handle(late.id).result(timeout=150)
    assert caught.value.job is None
    assert pipeline.posts() == 0
