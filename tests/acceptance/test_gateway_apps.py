"""Test applications that publish messages past the producer they are given: no call is lost, and none fails for it."""

from __future__ import annotations

import json

import pytest

CALLS = """
import json, os, sys
from app_with_gateway import app
from celery import chain
from scrape_do_celery import enqueue
from scrape_do_celery.tasks import scrape

URLS = ["https://a.example/"]
results = {
    "call": scrape.delay(URLS),
    "first with key": scrape.apply_async((URLS,), {"idempotency_key": "k"}),
    "second with key": scrape.apply_async((URLS,), {"idempotency_key": "k"}),
    "enqueue": enqueue(URLS).async_result,
}
states = {}
for name, result in results.items():
    try:
        states[name] = result.get(timeout=60)["outcome"]
    except Exception as error:
        states[name] = repr(error)
print(json.dumps({"states": states, "ids": {name: result.id for name, result in results.items()}}))
"""


@pytest.fixture(params=["gateway", "audit"])
def shop(request, pipeline):
    broker, backend = pipeline.settings.broker_url, pipeline.settings.result_backend
    return {"SHOP_BROKER": broker[:-1] + "11", "SHOP_BACKEND": backend[:-1] + "12", "SHOP_KIND": request.param}


@pytest.mark.long
def test_calls_whose_messages_come_before_their_records_succeed(pipeline, shop):
    pipeline.work(app="app_with_gateway", **shop)
    done = pipeline.run_code(CALLS, **shop)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert set(told["states"].values()) == {"succeeded"}, told["states"]
    # The second call with a key has the run of the first.
    assert pipeline.posts() == 3
    assert "RunNotFoundError" not in pipeline.log.read_text()
