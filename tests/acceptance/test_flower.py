"""Test unmodified Flower: how runs read there, and that a parked run neither vanishes nor seems to hang."""

from __future__ import annotations

import ast
import os
import time
from pathlib import Path

import pytest
from flower_process import FlowerProcess

from scrape_do_celery import JobCanceledError, Target

SHOP = ["https://shop.example/1?seconds=60", "https://shop.example/2?seconds=60&key=query-that-is-private"]
QUICK = ["https://shop.example/1", "https://shop.example/2"]
BAD = "https://shop.example/?sandbox=error"


@pytest.fixture
def flower(pipeline):
    """Start Flower beside a worker with their own broker: Flower receives all events of a broker."""
    server = pipeline.values["redis_url"].rpartition("/")[0]
    pipeline.values |= {"broker_url": f"{server}/13", "result_backend": f"{server}/14"}
    with FlowerProcess(pipeline) as one:
        # Flower enables the events of workers only every five seconds.
        pipeline.work("-E")
        yield one


def in_state(flower, run_id, state):
    task = flower.task(run_id)
    return task if task.get("state") == state else None


def test_runs_read_well_from_their_call_to_their_end(pipeline, flower, eventually):
    targets = [Target(SHOP[0], {"sku": "meta-that-is-private"}), SHOP[1]]
    named = {"label": "prices of shop 7", "tags": ["shop:7"]}
    parked = pipeline.enqueue(targets, geo_code="us", headers={"X-Mine": "header-that-is-private"}, **named)
    called, failed = pipeline.scrape(targets=QUICK), pipeline.enqueue([BAD])
    strict = pipeline.enqueue([QUICK[0], f"{BAD}&token=token-that-is-private"], raise_on_task_failure=True)

    ended = eventually(lambda: in_state(flower, called.id, "SUCCESS"))
    assert ended["name"] == "scrape_do.scrape"
    assert ast.literal_eval(ended["args"]) == (called.id,)
    assert ast.literal_eval(ended["kwargs"]) == {"targets": 2, "host": "shop.example"}
    assert ended["result"].startswith("{'outcome': 'succeeded', 'counts': {'total': 2, 'succeeded': 2,")

    ended = eventually(lambda: in_state(flower, failed.run_id, "FAILURE"))
    assert ended["name"] == "scrape_do.scrape"
    assert ended["exception"].startswith("JobFailedError('job ")
    assert "1 of 1 tasks failed: 1 \u00d7 " in ended["exception"]
    assert ended["result"].startswith("0 of 1 tasks done, 1 failed: 1 \u00d7 "), "not the progress of an earlier event"
    assert ended["runtime"] > 0

    ended = eventually(lambda: in_state(flower, strict.run_id, "FAILURE"))
    assert ended["name"] == "scrape_do.scrape"
    [bad] = [task for task in strict.iter_tasks() if not task.is_success]
    shown = f"task {bad.task_id} of {BAD}&token=*** ended as error: The sandbox was asked to fail {BAD}&token=***"
    assert ended["exception"] == f"TaskFailedError({shown!r})"
    assert ended["traceback"].rstrip().endswith(f"TaskFailedError: {shown}")
    assert ended["result"] == "1 of 2 tasks done, 1 failed: 1 \u00d7 The sandbox was asked to fail <URL>"

    messages = [task["args"] for task in flower.tasks().values() if task["name"] == "scrape_do.submit_jobs"]
    assert f"('{failed.run_id}:0',)" in messages

    running = eventually(lambda: in_state(flower, parked.run_id, "RUNNING"))
    assert running["name"] == "scrape_do.scrape"
    summary = {"targets": 2, "label": "prices of shop 7", "host": "shop.example", "geo_code": "us", "tags": "shop:7"}
    summary["headers"] = "***"
    assert ast.literal_eval(running["kwargs"]) == summary
    assert running["result"] == "0 of 2 tasks done"
    assert "private" not in flower.text("/api/tasks")

    stopped = pipeline.enqueue([f"{SHOP[0]}&n=3"])
    eventually(lambda: pipeline.handle(stopped.run_id).state == "running")
    flower.revoke(stopped.run_id)
    ended = eventually(lambda: in_state(flower, stopped.run_id, "CANCELED"))
    assert ended["name"] == "scrape_do.scrape"

    began = time.time() - parked.status.created.timestamp()
    pipeline.sandbox.advance(61)
    ended = eventually(lambda: in_state(flower, parked.run_id, "SUCCESS"))
    assert ast.literal_eval(ended["kwargs"]) == summary
    # The runtime is that of the run. Celery's own event has that of the delivery, some milliseconds.
    status = parked.status
    assert ended["runtime"] == pytest.approx((status.ended - status.created).total_seconds(), abs=0.01)
    assert ended["runtime"] >= began


def test_a_canceled_run_does_not_read_as_a_failure(pipeline, flower, eventually):
    run = pipeline.enqueue([*SHOP, "https://shop.example/3"])
    eventually(lambda: "1 of 3" in str((in_state(flower, run.run_id, "RUNNING") or {}).get("result")))
    run.cancel()
    called = pipeline.scrape(targets=SHOP)
    eventually(lambda: pipeline.handle(called.id).state == "running")
    pipeline.handle(called.id).cancel()
    for run_id in (run.run_id, called.id):
        with pytest.raises(JobCanceledError):
            pipeline.handle(run_id).async_result.get(timeout=60)
        ended = eventually(lambda run_id=run_id: flower.task(run_id).get("runtime") and flower.task(run_id))
        assert (ended["state"], ended["exception"]) == ("CANCELED", None)
        status = pipeline.handle(run_id).status
        # The run of a call starts when a worker takes its message, a moment after the record was written.
        assert ended["runtime"] == pytest.approx((status.ended - status.created).total_seconds(), abs=2)
        assert ended["result"] == status.progress_text()


@pytest.mark.browser
def test_flower_shows_runs_in_a_browser(pipeline, flower, browser, eventually, tmp_path):
    """Renew the pictures of docs/how-to/flower.md if the environment has PICTURES=docs/img."""
    pictures = Path(os.environ.get("PICTURES", tmp_path)).absolute()
    pages = [f"https://shop.example/{n}?seconds={60 if n % 3 else 0}" for n in range(90)]
    parked = pipeline.enqueue(pages, geo_code="us", headers={"X-Mine": "header-that-is-private"})
    done, failed = pipeline.scrape(targets=QUICK), pipeline.enqueue([BAD])
    eventually(lambda: in_state(flower, done.id, "SUCCESS") and in_state(flower, failed.run_id, "FAILURE"))
    eventually(lambda: "30 of 90" in str((in_state(flower, parked.run_id, "RUNNING") or {}).get("result")))

    browser.open(f"{flower.url}/tasks?name=scrape_do.scrape")
    for text in (parked.run_id, "RUNNING", "SUCCESS", "FAILURE", "30 of 90 tasks done"):
        browser.wait_for(text)
    browser.screenshot(pictures / "flower-runs.png", size=(1760, 660))
    browser.open(f"{flower.url}/task/{parked.run_id}")
    browser.wait_for("30 of 90 tasks done")
    browser.screenshot(pictures / "flower-run.png", size=(1280, 900))
    browser.open(f"{flower.url}/task/{failed.run_id}")
    browser.wait_for("JobFailedError")
    browser.screenshot(pictures / "flower-failure.png", size=(1280, 1060))
    for name in ("runs", "run", "failure"):
        assert 10_000 < (pictures / f"flower-{name}.png").stat().st_size < 150_000
