"""Test outages of the broker and of the store."""

from __future__ import annotations

import logging
import os
import signal
import time

import pytest
from celery.states import READY_STATES
from pipeline import Pipeline

from scrape_do_celery import embedded

TARGET = ["https://a.example/"]


@pytest.fixture
def own_server(tmp_path):
    with embedded.ensure(tmp_path / "own", tie_to_parent=True) as server:
        yield server


def test_enqueue_without_a_broker_loses_nothing(server_url, sandbox, tmp_path, caplog):
    """Enqueue without a broker: a later worker finds the record, and carries the run out without any message."""
    with Pipeline(server_url, sandbox, tmp_path, "nobroker", broker_url="redis://127.0.0.1:1/0") as deaf:
        with caplog.at_level(logging.WARNING):
            handle = deaf.enqueue(["https://a.example/"])
        assert "could not publish a message for scrape_do.submit_jobs" in caplog.text
        assert handle.state == "queued"
    with Pipeline(server_url, sandbox, tmp_path, "nobroker") as healed:
        healed.work()
        assert len(healed.handle(handle.run_id).result(timeout=150).tasks) == 1
        assert healed.posts() == 1


def test_the_server_restarts_under_everything(own_server, sandbox, tmp_path, eventually):
    """Kill the server of store, broker and results with SIGKILL, and start it with the file that it had written."""
    with Pipeline(own_server.url, sandbox, tmp_path, "restart") as pipeline:
        pipeline.work(supervised=True)
        handle = pipeline.enqueue([f"https://a.example/{n}?seconds=3" for n in range(3)])
        eventually(lambda: handle.state == "running")
        own_server.restart()
        result = handle.result(timeout=150)
        assert len(result.succeeded) == 3
        assert pipeline.posts() == 1


def test_a_flushed_broker_loses_no_run(pipeline, eventually):
    handles = [pipeline.enqueue([f"https://a.example/{n}"]) for n in range(5)]
    queued = pipeline.app.broker_connection().default_channel
    eventually(lambda: queued.client.llen(pipeline.prefix) == 5)
    queued.client.delete(pipeline.prefix)
    pipeline.work()
    for handle in handles:
        assert len(handle.result(timeout=150).tasks) == 1
    assert pipeline.posts() == 5


def test_a_paused_worker_is_overtaken_and_changes_nothing(pipeline, eventually):
    """Freeze a worker during a fetch for longer than its lease, then resume it."""
    pipeline.sandbox.fault("slow", kind="get_task", seconds=1, times=1)
    frozen = pipeline.work()
    handle = pipeline.enqueue(["https://a.example/1", "https://a.example/2"])
    eventually(lambda: handle.state == "fetching")
    os.killpg(frozen.pid, signal.SIGSTOP)
    pipeline.work()
    result = handle.result(timeout=150)
    os.killpg(frozen.pid, signal.SIGCONT)
    assert len(result.succeeded) == 2
    assert handle.result(timeout=5) == result
    assert pipeline.posts() == 1


def test_a_worker_without_a_token_says_so_and_ends(pipeline):
    del pipeline.values["api_key"]
    worker = pipeline.work()
    assert worker.wait(30) != 0
    assert "SCRAPE_DO_API_KEY is not set" in pipeline.log.read_text()


def test_scrape_without_a_broker_is_bought_once_later(server_url, sandbox, tmp_path):
    with Pipeline(server_url, sandbox, tmp_path, "silent", broker_url="redis://127.0.0.1:1/0") as deaf:
        run_id = deaf.scrape(targets=TARGET).id
    with Pipeline(server_url, sandbox, tmp_path, "silent") as healed:
        healed.work()
        assert len(healed.handle(run_id).result(timeout=150).tasks) == 1
        assert healed.posts() == 1


@pytest.mark.parametrize("fields", [["TaskIDs"], ["TaskIDs", "Tasks"]])
def test_job_without_task_ids_uses_its_summaries_or_waits(pipeline, fields, eventually):
    pipeline.sandbox.fault("nulls", kind="create_job", fields=["TaskIDs"])
    pipeline.sandbox.fault("nulls", kind="get_job", fields=fields)
    pipeline.work()
    handle = pipeline.enqueue(TARGET)
    if "Tasks" in fields:
        # The poll waits for five answers ten minutes apart, because the job may still name its tasks.
        eventually(lambda: "names none of its tasks" in str(handle.status.waiting_for), within=90)
        assert handle.state == "running"
    else:
        assert len(handle.result(timeout=150).succeeded) == 1


@pytest.mark.long
def test_result_reaches_a_backend_that_was_away(server_url, sandbox, tmp_path, eventually):
    """Deliver until the backend has the result: Celery ends a step even if its backend took nothing."""
    with embedded.ensure(tmp_path / "results", tie_to_parent=True) as results:
        pipeline = Pipeline(server_url, sandbox, tmp_path, "backend", result_backend=results.url)
        with pipeline:
            pipeline.work(app="app_default_celery")
            handle = pipeline.enqueue(["https://a.example/?seconds=1"])
            eventually(lambda: handle.state == "running")
            results.kill()
            assert len(handle.result(timeout=150).tasks) == 1
            time.sleep(1)
            results.restart()
            eventually(lambda: handle.async_result.state in READY_STATES, within=60)
            assert handle.async_result.get(timeout=10)["outcome"] == "succeeded"


@pytest.mark.long
def test_posts_wait_for_a_connection_before_their_deadline(pipeline):
    """Buy thirty jobs with fewer connections, although each `POST` takes most of its deadline."""
    pipeline.sandbox.fault("slow", kind="create_job", seconds=1.5)
    pipeline.work()
    handles = [pipeline.enqueue([f"https://a.example/{n}"]) for n in range(30)]
    assert [len(handle.result(timeout=150).tasks) for handle in handles] == [1] * 30
    assert pipeline.posts() == 30
