"""Test the context of an app: how it is found, and its step messages."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from celery import _state

from scrape_do_celery.runs import AppContext, StepMessage


def test_an_app_has_one_producer(step_harness, settings):
    assert AppContext.for_app(step_harness.app) is step_harness.app_context
    assert AppContext.for_app(step_harness.app, settings) is step_harness.app_context
    other = AppContext.for_app(step_harness.app, settings.model_copy(update={"queue": "other"}))
    assert other is not step_harness.app_context
    assert other.settings.queue == "other"


def test_a_fork_has_a_producer_of_its_own(step_harness, monkeypatch):
    monkeypatch.setattr(step_harness.app_context, "pid", os.getpid() + 1)
    assert AppContext.for_app(step_harness.app) is not step_harness.app_context


def test_the_producer_of_no_app_is_that_of_the_process(step_harness, monkeypatch):
    monkeypatch.setattr(_state._tls, "current_app", step_harness.app)
    assert AppContext.for_app() is step_harness.app_context


def test_one_message_a_step(step_harness):
    step_harness.app_context.publish_all(
        [StepMessage("a", ("r:0", "r:1")), StepMessage("b", ("r",)), StepMessage("a", ("r:1", "r:2"))]
    )
    assert step_harness.step_messages() == [("a", ["r:0", "r:1", "r:2"]), ("b", ["r"])]
    step_harness.app_context.publish_all([])
    assert step_harness.step_messages() == []


def test_retention_comes_from_the_settings(step_harness):
    retention, settings = step_harness.app_context.retention, step_harness.settings
    assert (retention.contents, retention.record, retention.idempotency) == (
        *(settings.result_ttl, settings.record_ttl),
        settings.idempotency_ttl,
    )


@pytest.mark.parametrize(
    "module", ["scrape_do_celery", "scrape_do_celery.runs", "scrape_do_celery.store", "scrape_do_celery.config"]
)
def test_web_process_loads_no_client_step_or_worker(module):
    heavy = ["httpx", "scrape_do_celery.client", "scrape_do_celery.tasks", "scrape_do_celery.worker"]
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")
