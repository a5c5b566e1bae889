"""Test that cancellations reach the API."""

from __future__ import annotations

import pytest

from scrape_do_celery import JobCanceledError


def test_long_pause_does_not_delay_a_cancel(pipeline, eventually):
    pipeline.work()
    handle = pipeline.enqueue(["https://a.example/?seconds=60"])
    eventually(lambda: handle.state == "running")
    pipeline.sandbox.fault("status", kind="get_job", status=429, retry_after=3600, times=1)
    client = pipeline.app_context.store.client
    eventually(lambda: client.exists(f"{pipeline.prefix}:pause"))
    assert handle.cancel()
    with pytest.raises(JobCanceledError):
        handle.result(timeout=150)


def test_revoked_run_is_canceled_at_the_api(pipeline, eventually):
    pipeline.work()
    result = pipeline.scrape(targets=["https://a.example/?seconds=60"])
    eventually(lambda: pipeline.handle(result.id).state == "running")
    result.revoke()
    eventually(lambda: pipeline.sandbox.jobs()[0]["canceled"])
    with pytest.raises(JobCanceledError):
        pipeline.handle(result.id).result(timeout=150)
