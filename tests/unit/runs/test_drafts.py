"""Test drafts: runs that start by their message."""

from __future__ import annotations

from scrape_do_celery.runs import RunHandle
from scrape_do_celery.steps.scrape import start_draft
from scrape_do_celery.store import CANCEL

URL = "https://shop.example/0"


def test_canceled_draft_is_due_at_once(step_harness):
    step_harness.create_run(start_delay=86400.0)
    RunHandle("r", app_context=step_harness.app_context).cancel()
    assert step_harness.due_parts()["r:run"] <= 1


def test_draft_with_other_waiters_outlives_its_first_message(step_harness, scrape_task, monkeypatch):
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_, **__: None)
    request = {"targets": [URL], "idempotency_key": "k"}
    scrape_task.apply_async((), dict(request), task_id="one", expires=30)
    scrape_task.apply_async((), dict(request), task_id="two", countdown=40)
    step_harness.app.backend.store_result("one", None, "REVOKED")
    step_harness.clock.forward(45)
    for run in step_harness.claim_due().runs:
        start_draft(step_harness.app_context, run.run_id, step_harness.clock.time())
    record = step_harness.read_run("one")
    assert (record.stop_reason, record.waiters.keys()) == (None, {"one", "two"})
    assert record.accepted is not None


def test_draft_is_canceled_if_its_message_expires(step_harness, scrape_task, monkeypatch):
    monkeypatch.setattr("celery.app.task.Task.apply_async", lambda *_, **__: None)
    scrape_task.apply_async((), {"targets": [URL]}, task_id="one", expires=30)
    start_draft(step_harness.app_context, "one", step_harness.clock.time() + 35)
    assert step_harness.read_run("one").stop_reason == CANCEL
