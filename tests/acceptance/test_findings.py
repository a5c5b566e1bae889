"""Ways to lose money or pages that were found by reading, each closed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from celery.states import READY_STATES
from pipeline import Pipeline

from scrape_do_celery import JobCanceledError, RunNotFoundError, RunTimeoutError, embedded

TARGET = ["https://a.example/"]


def test_a_scrape_without_a_broker_does_not_raise_and_is_bought_once(server_url, sandbox, tmp_path):
    with Pipeline(server_url, sandbox, tmp_path, "silent", broker_url="redis://127.0.0.1:1/0") as deaf:
        run_id = deaf.scrape(targets=TARGET).id
    with Pipeline(server_url, sandbox, tmp_path, "silent") as healed:
        healed.work()
        assert len(healed.handle(run_id).result(timeout=150).tasks) == 1
        assert healed.posts() == 1


def test_a_process_that_only_scrapes_uses_our_settings(pipeline):
    """No app, no `enqueue` before: the steps find the broker of the environment."""
    pipeline.work()
    script = """
import json
from celery import chain
from scrape_do_celery.tasks import scrape
one = scrape.delay(targets=["https://a.example/"])
two = chain(scrape.s(targets=["https://b.example/"]), scrape.si(targets=["https://c.example/"])).apply_async()
print(json.dumps([one.get(timeout=150)["outcome"], two.get(timeout=60)["outcome"]]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=pipeline.environment,
        cwd=pipeline.folder,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["succeeded", "succeeded"]
    assert pipeline.posts() == 3


def test_a_message_that_comes_again_after_forget_buys_nothing(pipeline, eventually):
    pipeline.work()
    send = {"kwargs": {"targets": TARGET}, "queue": pipeline.prefix, "task_id": f"again-{pipeline.prefix}"}
    result = pipeline.app.send_task("scrape_do.scrape", **send)
    result.get(timeout=150)
    handle = pipeline.handle(result.id)
    eventually(lambda: not [key for key in pipeline.stored_keys() if key.endswith(":due")])
    handle.forget()
    pipeline.app.send_task("scrape_do.scrape", **send)
    later = pipeline.enqueue(["https://later.example/"])
    later.result(timeout=150)
    assert pipeline.posts() == 2
    with pytest.raises(RunNotFoundError):
        _ = handle.state


def test_forget_right_after_the_result_still_reports_it(pipeline, eventually):
    pipeline.work()
    handles = [pipeline.enqueue([f"https://a.example/{n}"], idempotency_key=f"k{n}") for n in range(8)]
    for handle in handles:
        handle.result(timeout=150)
        handle.forget()
    marks = {f"{pipeline.prefix}:run:{handle.run_id}" for handle in handles}
    standing = (":epoch", ":accounts", ":list_poll:", ":quota", ":totals", ":stored", ":order")
    beside = (":owner:", ":namespace_owner", ":ledger:", *standing)
    eventually(lambda: {key for key in pipeline.stored_keys() if not any(word in key for word in beside)} <= marks)
    client = pipeline.app_context.store.client
    passing = [key for key in pipeline.stored_keys() if not any(word in key for word in standing)]
    assert all(client.ttl(key) > 0 for key in passing)


@pytest.mark.parametrize("kind", ["get_task", "cancel_job", "get_job"])
def test_a_deadline_ends_a_run_although_the_api_never_answers(pipeline, kind, eventually):
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


def test_a_long_pause_does_not_hold_up_a_cancel(pipeline, eventually):
    pipeline.work()
    handle = pipeline.enqueue(["https://a.example/?seconds=60"])
    eventually(lambda: handle.state == "running")
    pipeline.sandbox.fault("status", kind="get_job", status=429, retry_after=3600, times=1)
    client = pipeline.app_context.store.client
    eventually(lambda: client.exists(f"{pipeline.prefix}:pause"))
    assert handle.cancel()
    with pytest.raises(JobCanceledError):
        handle.result(timeout=150)


def test_progress_is_never_poison(pipeline, eventually):
    """Killed after every few pages, again and again: each page counts."""
    pipeline.values["poison_after"] = 2
    pipeline.values["fetch_concurrency"] = 1
    pipeline.sandbox.fault("slow", kind="get_task", seconds=0.3)
    handle = pipeline.enqueue([f"https://a.example/{n}" for n in range(12)])
    client, contents = pipeline.app_context.store.client, f"{pipeline.prefix}:contents:{handle.run_id}:0"
    for _ in range(4):
        worker = pipeline.work()
        before = client.hlen(contents)
        eventually(lambda: client.hlen(contents) > before + 1, within=90)  # noqa: B023 (called at once)
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait(10)
    pipeline.work()
    assert len(handle.result(timeout=150).succeeded) == 12
    assert pipeline.posts() == 1


@pytest.mark.parametrize("fields", [["TaskIDs"], ["TaskIDs", "Tasks"]])
def test_a_job_that_names_no_tasks(pipeline, fields, eventually):
    pipeline.sandbox.fault("nulls", kind="create_job", fields=["TaskIDs"])
    pipeline.sandbox.fault("nulls", kind="get_job", fields=fields)
    pipeline.work()
    handle = pipeline.enqueue(TARGET)
    if "Tasks" in fields:
        # Five answers ten minutes apart may still name them.
        eventually(lambda: "names none of its tasks" in (handle.status.waiting_for or ""), within=90)
        assert handle.state == "running"
    else:
        assert len(handle.result(timeout=150).succeeded) == 1


def test_a_result_backend_that_was_away_gets_its_result(server_url, sandbox, tmp_path, eventually):
    """Celery calls a step ended although its backend took nothing: it is reported again until it has."""
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


def test_a_revoked_run_is_canceled_at_scrape_do(pipeline, eventually):
    pipeline.work()
    result = pipeline.scrape(targets=["https://a.example/?seconds=60"])
    eventually(lambda: pipeline.handle(result.id).state == "running")
    result.revoke()
    eventually(lambda: pipeline.sandbox.jobs()[0]["canceled"])
    with pytest.raises(JobCanceledError):
        pipeline.handle(result.id).result(timeout=150)


def test_what_has_expired_is_not_bought(pipeline):
    """The worker comes too late: Celery drops the message, and the draft behind it is not carried out."""
    late = pipeline.steps["scrape_do.scrape"].apply_async(kwargs={"targets": TARGET}, expires=1)
    time.sleep(1.5)
    pipeline.work()
    with pytest.raises(JobCanceledError) as caught:
        pipeline.handle(late.id).result(timeout=150)
    assert caught.value.job is None
    assert pipeline.posts() == 0


def test_many_purchases_at_once_wait_for_their_turn_before_their_time_runs(pipeline):
    """Each `POST` takes most of its deadline; thirty of them are more than there are connections."""
    pipeline.sandbox.fault("slow", kind="create_job", seconds=1.5)
    pipeline.work()
    handles = [pipeline.enqueue([f"https://a.example/{n}"]) for n in range(30)]
    assert [len(handle.result(timeout=150).tasks) for handle in handles] == [1] * 30
    assert pipeline.posts() == 30


def test_a_second_message_for_a_forgotten_follower_buys_nothing(pipeline, eventually):
    pipeline.work()
    names = [f"{which}-{pipeline.prefix}" for which in ("first", "second")]

    def send():
        for name in names:
            arguments = {"targets": TARGET, "idempotency_key": "shared"}
            pipeline.app.send_task("scrape_do.scrape", kwargs=arguments, queue=pipeline.prefix, task_id=name)

    send()
    handles = [pipeline.app.AsyncResult(name) for name in names]
    run_id = handles[0].get(timeout=150)["run_id"]
    assert handles[1].get(timeout=150)["run_id"] == run_id
    pipeline.handle(run_id).forget()
    eventually(lambda: not pipeline.app_context.store.client.exists(f"{pipeline.prefix}:part:{run_id}:0"))
    send()
    assert len(pipeline.enqueue(["https://later.example/"]).result(timeout=150).tasks) == 1
    assert pipeline.posts() == 2
