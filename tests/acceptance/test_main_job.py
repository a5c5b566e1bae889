"""Test the main job with a real worker, a real server, and HTTP to the sandbox."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from scrape_do_celery import (
    AsyncAPIAuthError,
    AsyncAPIBadRequestError,
    IdempotencyConflictError,
    JobCanceledError,
    JobCreationRequest,
    JobFailedError,
    ResultNotReadyError,
    RunNotFoundError,
    RunState,
    RunTimeoutError,
    TaskFailedError,
)
from scrape_do_celery.models.jobs import MAX_TASKS_IN_ERROR


@pytest.fixture
def working(pipeline):
    pipeline.work()
    return pipeline


@pytest.mark.parametrize("pool", ["threads", "prefork", "solo", "gevent"])
def test_the_whole_path(pipeline, pool):
    pipeline.work(pool=pool, concurrency=2)
    targets = [f"https://Shop.example/{n}" for n in range(30)]
    handle = pipeline.enqueue(targets, geo_code="us")
    result = handle.result(timeout=150)
    assert result.job.is_success
    assert result.jobs == [result.job]
    assert [task.url for task in result.tasks] == targets
    assert result.order_verified
    assert handle.progress == (30, 0, 30)
    assert handle.state is RunState.SUCCEEDED
    assert handle.job == result.job
    sold = {task["id"]: task["sha256"] for task in pipeline.sandbox.jobs()[0]["tasks"]}
    assert {t.task_id: hashlib.sha256(t.decoded_content()).hexdigest() for t in result.tasks} == sold
    assert handle.async_result.get(timeout=150)["counts"] == {"total": 30, "succeeded": 30, "failed": 0, "gone": 0}
    assert pipeline.posts() == 1


def test_a_failing_job_raises_its_type_here_and_through_celery(working):
    handle = working.enqueue(["https://a.example/?sandbox=error", "https://b.example/?sandbox=error"])
    with pytest.raises(JobFailedError) as here:
        handle.result(timeout=150)
    assert here.value.job.status == "error"
    assert len(here.value.job.tasks) == 2
    with pytest.raises(JobFailedError) as there:
        handle.async_result.get(timeout=150)
    assert there.value.job == here.value.job
    assert [task.error_message for task in handle.iter_tasks()] != [None, None]


def test_the_error_of_a_large_job_has_some_tasks_and_the_handle_has_all(working):
    targets = [f"https://a.example/{n}?sandbox=error" for n in range(30)]
    handle = working.enqueue(targets)
    with pytest.raises(JobFailedError) as caught:
        handle.result(timeout=150)
    assert len(caught.value.job.tasks) == MAX_TASKS_IN_ERROR
    assert caught.value.counts == {"failed": 30, "canceled": 0, "total": 30}
    assert len(handle.job.tasks) == 30
    assert [task.url for task in handle.iter_tasks()] == targets


def test_a_task_that_failed_is_data_unless_asked_otherwise(working):
    targets = ["https://a.example/good", "https://a.example/?sandbox=error"]
    result = working.enqueue(targets).result(timeout=150)
    assert [task.is_success for task in result.tasks] == [True, False]
    with pytest.raises(TaskFailedError):
        result.tasks[1].raise_for_status()
    strict = working.enqueue(targets, raise_on_task_failure=True)
    with pytest.raises(TaskFailedError) as caught:
        strict.result(timeout=150)
    assert caught.value.task.url == targets[1]
    with pytest.raises(TaskFailedError):
        strict.async_result.get(timeout=150)
    assert strict.state is RunState.FAILED
    assert len(list(strict.iter_tasks())) == 2


def test_a_canceled_run_is_canceled_at_scrape_do(working, eventually):
    handle = working.enqueue(["https://a.example/quick", "https://a.example/?seconds=60"])
    eventually(lambda: handle.progress.done == 1)
    assert handle.cancel()
    with pytest.raises(JobCanceledError) as caught:
        handle.result(timeout=150)
    assert caught.value.job.canceled
    assert working.sandbox.jobs()[0]["canceled"]
    assert [task.url for task in handle.iter_tasks()] == ["https://a.example/quick"]
    assert not handle.cancel()
    with pytest.raises(JobCanceledError):
        handle.async_result.get(timeout=150)


def test_a_run_canceled_before_it_was_sent_buys_nothing(pipeline):
    handle = pipeline.enqueue(["https://a.example/"])
    assert handle.cancel()
    assert handle.cancel()
    pipeline.work()
    with pytest.raises(JobCanceledError) as caught:
        handle.result(timeout=150)
    assert caught.value.job is None
    assert caught.value.run_id == handle.run_id
    assert pipeline.posts() == 0


def test_a_job_over_its_max_wait(working):
    handle = working.enqueue(["https://a.example/?seconds=60"], max_wait=1)
    with pytest.raises(RunTimeoutError) as caught:
        handle.result(timeout=150)
    assert caught.value.max_wait == 1
    assert caught.value.job.job_id == working.sandbox.jobs()[0]["id"]
    assert handle.state is RunState.TIMED_OUT
    assert working.sandbox.jobs()[0]["canceled"]
    with pytest.raises(RunTimeoutError):
        handle.async_result.get(timeout=150)


def test_a_job_canceled_by_somebody_else(working, eventually):
    handle = working.enqueue(["https://a.example/?seconds=60"])
    job = eventually(lambda: handle.job)
    from scrape_do_celery import ScrapeDoAsyncAPIClient

    with ScrapeDoAsyncAPIClient(working.settings.api_key, base_url=working.sandbox.url) as client:
        client.cancel_job(job.job_id)
    with pytest.raises(JobCanceledError):
        handle.result(timeout=150)


def test_binary_content_comes_back_to_the_byte(working):
    result = working.enqueue(["https://a.example/?binary=1"]).result(timeout=150)
    [task] = result.tasks
    assert task.base64_encoded_content
    assert task.decoded_content() == base64.b64decode(task.content)
    assert hashlib.sha256(task.decoded_content()).hexdigest() == working.sandbox.jobs()[0]["tasks"][0]["sha256"]


def test_1001_targets_are_two_jobs_of_one_run(working):
    targets = [f"https://a.example/{n}" for n in range(1001)]
    result = working.enqueue(targets).result(timeout=150)
    assert [task.url for task in result.tasks] == targets
    assert [len(job.task_ids) for job in result.jobs] == [1000, 1]
    assert result.job == result.jobs[0]
    assert working.posts() == 2


def test_after_a_failed_part_no_other_is_bought(pipeline):
    pipeline.sandbox.fault("status", kind="create_job", status=400, times=1)
    pipeline.work(pool="solo")
    handle = pipeline.enqueue([f"https://a.example/{n}" for n in range(1001)])
    with pytest.raises(AsyncAPIBadRequestError):
        handle.result(timeout=150)
    assert handle.state is RunState.FAILED
    assert pipeline.posts() <= 1


def test_one_idempotency_key_is_one_job(working):
    def go(_):
        return working.enqueue(["https://a.example/"], idempotency_key="prices", geo_code="us").run_id

    with ThreadPoolExecutor(20) as pool:
        [run_id] = set(pool.map(go, range(20)))
    handle = working.handle(run_id)
    handle.result(timeout=150)
    assert go(None) == run_id
    assert working.posts() == 1
    with pytest.raises(IdempotencyConflictError) as caught:
        working.enqueue(["https://a.example/"], idempotency_key="prices", geo_code="de", max_wait=5)
    assert set(caught.value.fields) == {"geo_code", "max_wait"}


def test_a_key_whose_run_failed_gives_the_same_handle(working):
    failed = working.enqueue(["https://a.example/?sandbox=error"], idempotency_key="again")
    with pytest.raises(JobFailedError):
        failed.result(timeout=150)
    again = working.enqueue(["https://a.example/?sandbox=error"], idempotency_key="again")
    assert again == failed
    with pytest.raises(JobFailedError):
        again.result(timeout=1)
    assert working.posts() == 1


def test_waiting_that_runs_out_leaves_the_run_alone(working):
    handle = working.enqueue(["https://a.example/?seconds=1.5"])
    with pytest.raises(ResultNotReadyError) as caught:
        handle.result(timeout=0.1)
    assert isinstance(caught.value, TimeoutError)
    result = asyncio.run(handle.aresult(timeout=150))
    assert len(result.tasks) == 1


def test_an_unknown_run(pipeline):
    with pytest.raises(RunNotFoundError):
        pipeline.handle("no-such-run").result(timeout=1)


def test_a_wrong_token_is_an_auth_error(pipeline):
    pipeline.sandbox.configure(token="another")
    pipeline.values["auth_grace"] = 2
    try:
        pipeline.work()
        handle = pipeline.enqueue(["https://a.example/"])
        with pytest.raises(AsyncAPIAuthError):
            handle.result(timeout=150)
        assert pipeline.log.read_text().count("refuses the token") == 1
    finally:
        pipeline.sandbox.configure(token=None)


def test_corrected_token_lets_the_run_continue(pipeline, eventually):
    pipeline.sandbox.configure(token="another")
    pipeline.work()
    handle = pipeline.enqueue(["https://a.example/"])
    eventually(lambda: "refuses the token" in pipeline.log.read_text())
    pipeline.sandbox.configure(token=None)
    assert len(handle.result(timeout=150).tasks) == 1
    assert "accepts the token again" in pipeline.log.read_text()


def test_a_429_holds_the_submit_back_and_buys_once(pipeline):
    pipeline.sandbox.fault("status", kind="create_job", status=429, retry_after=1, times=2)
    pipeline.work()
    result = pipeline.enqueue(["https://a.example/"]).result(timeout=150)
    assert len(result.tasks) == 1
    assert pipeline.posts() == 1


def test_server_errors_while_polling_and_fetching_cost_nothing(pipeline):
    for kind in ("get_job", "get_task"):
        pipeline.sandbox.fault("status", kind=kind, status=503, times=3)
        pipeline.sandbox.fault("html", kind=kind, times=1)
        pipeline.sandbox.fault("reset_before", kind=kind, times=1)
    pipeline.work()
    result = pipeline.enqueue([f"https://a.example/{n}" for n in range(5)]).result(timeout=150)
    assert len(result.succeeded) == 5
    assert pipeline.posts() == 1


def test_a_gone_page_is_data(working):
    result = working.enqueue(["https://a.example/", "https://a.example/?gone=410"]).result(timeout=150)
    assert [task.gone for task in result.tasks] == [False, True]
    assert result.tasks[1].error_message


def test_shuffled_task_ids_come_back_in_input_order(working):
    working.sandbox.fault("shuffle_task_ids", kind="create_job", seed=3)
    targets = [f"https://a.example/{n}" for n in range(12)]
    result = working.enqueue(targets).result(timeout=150)
    assert [task.url for task in result.tasks] == targets
    assert result.order_verified


def test_another_process_reads_the_result_and_the_error(working):
    good = working.enqueue(["https://a.example/"])
    bad = working.enqueue(["https://a.example/?sandbox=error"])
    good.result(timeout=150)
    script = """
import json, sys
from celery.result import AsyncResult
from scrape_do_celery import JobFailedError, RunHandle
good, bad = sys.argv[1:]
found = {"tasks": len(RunHandle(good).result(timeout=150).tasks)}
found["small"] = AsyncResult(good).get(timeout=150)["outcome"]
try:
    AsyncResult(bad).get(timeout=150)
except JobFailedError as error:
    found["job"] = error.job.status
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-c", script, good.run_id, bad.run_id],
        env=working.environment,
        cwd=working.folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=True,
    )
    assert json.loads(done.stdout) == {"tasks": 1, "small": "succeeded", "job": "error"}


def test_an_ended_run_can_be_forgotten(working, eventually):
    handle = working.enqueue(JobCreationRequest(targets=["https://a.example/"]))
    handle.result(timeout=150)
    eventually(lambda: handle.async_result.state == "SUCCESS")
    handle.forget()
    eventually(lambda: not working.app_context.store.client.exists(f"{working.prefix}:part:{handle.run_id}:0"))
    with pytest.raises(RunNotFoundError):
        _ = handle.state
    left = [key for key in working.stored_keys() if handle.run_id in key]
    assert left == [f"{working.prefix}:run:{handle.run_id}"]
    assert working.app_context.store.client.hgetall(left[0]) == {b"forgotten": b"1"}


def test_an_ended_run_lives_as_long_as_it_should(working, eventually):
    handle = working.enqueue(["https://a.example/"], idempotency_key="life")
    client = working.app_context.store.client
    assert client.ttl(f"{working.prefix}:run:{handle.run_id}") == -1
    handle.result(timeout=150)
    eventually(lambda: client.ttl(f"{working.prefix}:run:{handle.run_id}") > 0)
    day = 86_400
    lives = {key.replace(handle.run_id, "ID"): client.ttl(key) for key in working.stored_keys()}
    assert day - 60 < lives[f"{working.prefix}:contents:ID:0"] <= day
    rest = {name: life for name, life in lives.items() if "ID" in name or ":owner:" in name or ":idem:" in name}
    del rest[f"{working.prefix}:contents:ID:0"]
    assert len(rest) == 5, rest
    # A dispatcher deletes the idempotency key by the watched clock. Its life only counts without dispatchers.
    [(key, life)] = [(name, rest.pop(name)) for name in list(rest) if ":idem:" in name]
    assert 42 * day - 60 < life <= 42 * day
    watched = float(client.hget(f"{working.prefix}:clock", "watched"))
    assert 7 * day - 60 < client.zscore(f"{working.prefix}:expiring", key) - watched <= 7 * day + 5
    assert all(7 * day - 60 < life <= 7 * day for life in rest.values()), rest


def test_a_callback_can_ask_whether_it_is_the_first(pipeline):
    handle = pipeline.enqueue(["https://a.example/"])
    asked = [pipeline.handle(handle.run_id).first_delivery("mail") for _ in range(3)]
    assert asked == [True, False, False]
    assert handle.first_delivery("charge")
    # Names and ids with colons share no key.
    assert pipeline.handle("a:0").first_delivery("x:y")
    assert pipeline.handle("a:0:x").first_delivery("y")
    assert max(map(len, pipeline.stored_keys())) < 200
