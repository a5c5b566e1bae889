"""Test a user's own Celery app with Celery's defaults: `include` is enough."""

from __future__ import annotations

import json

import pytest

SCRIPT = """
import json
from celery import chain
from celery.result import AsyncResult
from app_other_broker import app, outcome, start
from scrape_do_celery import JobFailedError, RunHandle, enqueue
from scrape_do_celery.tasks import scrape

found = {}
handle = enqueue(["https://a.example/"])
found["tasks"] = len(handle.result(timeout=150).tasks)
found["small"] = AsyncResult(handle.run_id).get(timeout=150)["outcome"]
found["chain"] = chain(scrape.s(targets=["https://b.example/"]), outcome.s())().get(timeout=150)
found["inside"] = len(RunHandle(start.delay("https://c.example/").get(timeout=150)).result(timeout=60).tasks)
try:
    AsyncResult(enqueue(["https://a.example/?sandbox=error"]).run_id).get(timeout=150)
except JobFailedError as error:
    found["error"] = error.job.status
print(json.dumps(found))
"""


@pytest.fixture
def shop(pipeline):
    broker, backend = pipeline.settings.broker_url, pipeline.settings.result_backend
    # Database numbers that no other test uses.
    return {"SHOP_BROKER": broker[:-1] + "11", "SHOP_BACKEND": backend[:-1] + "12"}


def test_the_main_job(pipeline, shop):
    pipeline.work(app="app_other_broker", **shop)
    done = pipeline.run_code(SCRIPT, **shop)
    assert done.returncode == 0, done.stderr + pipeline.log.read_text()
    assert json.loads(done.stdout) == {
        "tasks": 1,
        "small": "succeeded",
        "chain": "succeeded",
        "inside": 1,
        "error": "error",
    }
    log = pipeline.log.read_text()
    assert "result_backend_always_retry is False" in log
    assert "visibility_timeout is 3600" in log
    assert pipeline.posts() == 4


def test_a_worker_without_the_token_leaves_our_queue_alone(pipeline, shop):
    del pipeline.values["api_key"]
    worker = pipeline.work(app="app_other_broker", **shop)
    assert "does not consume the queue of scrapes" in pipeline.log.read_text()
    assert f"{pipeline.prefix}(direct)" not in pipeline.log.read_text()
    assert worker.poll() is None


def test_two_applications_do_not_share_a_store(pipeline, shop):
    """Refuse a shared store: each application would answer the other's callers, through the wrong broker."""
    pipeline.work()
    second = pipeline.work(app="app_other_broker", **shop)
    assert "is served by another application" in pipeline.log.read_text()
    assert "does not consume the queue of scrapes" in pipeline.log.read_text()
    assert second.poll() is None
    assert len(pipeline.enqueue(["https://a.example/"]).result(timeout=150).tasks) == 1


def test_our_worker_does_not_start_beside_another_application(pipeline, shop):
    pipeline.work(app="app_other_broker", **shop)
    assert pipeline.work().wait(30) == 1
    assert "give each its own SCRAPE_DO_KEY_PREFIX" in pipeline.log.read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    ("setting", "option"),
    [
        ("broker_transport_options", "global_keyprefix"),
        ("result_backend_transport_options", "global_keyprefix"),
        ("broker_transport_options", "queue_name_prefix"),
    ],
)
def test_applications_that_differ_only_in_a_prefix_do_not_share_a_store(pipeline, shop, setting, option):
    def work(prefix, **others):
        options = {"visibility_timeout": 900, **others} if setting == "broker_transport_options" else {}
        return pipeline.work(
            app="app_other_broker", **shop, SHOP_CONF=json.dumps({setting: {option: prefix, **options}})
        )

    work("first:")
    assert work("first:", visibility_timeout=800).poll() is None
    assert "is served by another application" not in pipeline.log.read_text()
    second = work("second:")
    assert "is served by another application" in pipeline.log.read_text()
    assert f"{option} first:" in pipeline.log.read_text()
    assert "does not consume the queue of scrapes" in pipeline.log.read_text()
    assert second.poll() is None
