"""Test pages that only an earlier answer contained: each is stored, and none is bought again."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from redis.exceptions import ResponseError

from scrape_do_celery import routing
from scrape_do_celery.client import endpoints
from scrape_do_celery.client.responses import parse_response
from scrape_do_celery.errors import ScrapeDoError, StoreUnavailableError
from scrape_do_celery.rules.fetch import UNREADABLE_ATTEMPTS
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runs.retry import find_missing
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.store import AsyncStore, PartId, PartState
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)
PAGE = "<the page>"


def said(endpoint, data, status=200):
    """Return the client's reading of an answer: a value, or the error."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    try:
        return parse_response(endpoint, status, {}, body)
    except ScrapeDoError as error:
        return error


def task(task_id, status="success", content="<html>", **more):
    """Make the answer for a task."""
    url = f"https://shop.example/{task_id[1:]}"
    return {"TaskID": task_id, "JobID": "job-r-0", "URL": url, "Status": status, "Content": content, **more}


def forgotten(task_id):
    endpoint = endpoints.get_task("job-r-0", task_id)
    return said(endpoint, {"Error": "expired", "Code": 410}, 410)


def job(status, *statuses, **more):
    tasks = [{"TaskID": f"t{n}", "URL": f"https://shop.example/{n}", "Status": word} for n, word in enumerate(statuses)]
    data = {"JobID": "job-r-0", "Status": status, "TaskIDs": [one["TaskID"] for one in tasks], "Tasks": tasks, **more}
    return said(endpoints.get_job("job-r-0"), data)


def script(step_harness, jobs, **answers):
    """Script the answers of a run of two targets. The last answer for a job or a task is repeated."""

    def get_task(job_id, task_id):
        left = answers.get(task_id) or [task(task_id)]
        data = left.pop(0) if len(left) > 1 else left[0]
        return data if isinstance(data, ScrapeDoError) else said(endpoints.get_task(job_id, task_id), data)

    step_harness.api.script(get_job=jobs, get_task=get_task)


@pytest.fixture
def run_on(step_harness):
    """Run steps until the part ends. Return the part and its tasks."""

    def go(times=40, seconds=700):
        for _ in range(times):
            if step_harness.part().state is PartState.DONE:
                break
            step_harness.clock.forward(seconds)
            step_harness.run_step(
                poll_part if step_harness.part().state is PartState.RUNNING else fetch_part, step_harness.claim_part()
            )
        return step_harness.part(), step_harness.run(ReadContents(PART_ID, range(2)))

    return go


@pytest.fixture
def bought_again(step_harness):
    """Return the targets that a retry of the run would buy."""

    def targets():
        step_harness.run(RecordOutcome("r", step_harness.part().outcome, {}))
        spec = step_harness.run(ReadSpec("r", 1))
        missing = find_missing(step_harness.app_context.store, step_harness.read_run(), spec)
        return [spec.request.targets[index] for index in missing]

    return targets


@pytest.mark.parametrize("first", ["pending", "rotating", ["success"]], ids=str)
@pytest.mark.parametrize(
    "last",
    [
        task("t1", "success", None),
        task("t1", "success", ""),
        task("t1", "error", None, ErrorMessage="expired"),
        forgotten("t1"),
        task("t1", None, None),
    ],
    ids=["success", "empty", "error", "gone", "unreadable"],
)
def test_a_poorer_answer_does_not_replace_a_page(running, run_on, bought_again, first, last):
    script(running, job("success", "success", "success"), t1=[task("t1", first, PAGE), last])
    part, tasks = run_on()
    assert (part.state, part.stored_ok, part.stored_failed, part.gone) == (PartState.DONE, 1, 1, 0)
    assert PAGE in tasks[1].content
    assert bought_again() == []


def test_a_later_page_replaces_the_held_one(running, run_on):
    script(running, job("success", "success", "success"), t1=[task("t1", "rotating", "blocked"), task("t1")])
    part, tasks = run_on()
    assert (part.stored_ok, part.stored_failed, tasks[1].content) == (2, 0, "<html>")


@pytest.mark.parametrize("first", ["Done", ["success"], "pending", "canceled"], ids=str)
def test_page_of_an_early_fetch_is_held(early, run_on, bought_again, first):
    jobs = [job("pending", "success", "pending"), job("success", "success", "success")]
    script(early, jobs, t0=[task("t0", first, PAGE), forgotten("t0")])
    part, tasks = run_on()
    assert (part.outcome, part.gone) == ("succeeded", 0)
    assert PAGE in tasks[0].content
    assert bought_again() == []


def test_page_of_a_stalled_job_is_held(running, run_on, bought_again):
    words = [job("archiving", "success", "weird"), job("archiving", "success", "weird")]
    script(
        running,
        [*words, job("success", "success", "success")],
        t0=[task("t0", ["success"], PAGE), forgotten("t0")],
        t1=[task("t1", "weird", None), task("t1", "weird", None), task("t1")],
    )
    part, tasks = run_on()
    assert (part.outcome, part.gone) == ("succeeded", 0)
    assert PAGE in tasks[0].content
    assert bought_again() == []


@pytest.mark.parametrize("word", ["pending", "canceled"])
def test_held_page_of_a_canceled_task_is_stored(running, run_on, bought_again, word):
    script(running, job("canceled", "success", "pending"), t1=[task("t1", word, PAGE)])
    part, tasks = run_on()
    assert (part.outcome, part.stored_ok, part.stored_failed) == ("canceled", 1, 1)
    assert (tasks[1].content, tasks[1].given_up) == (PAGE, True)
    assert word in tasks[1].error_message
    assert bought_again() == []


@pytest.mark.parametrize(
    ("error", "is_full"),
    [(StoreUnavailableError("no memory", "OOM"), True), (ResponseError("attempt to index nil"), False)],
)
def test_full_store_for_a_held_page_fails_no_step(running, run_on, monkeypatch, error, is_full):
    run = AsyncStore.run

    async def refuse(store, command):
        if command.script == "hold_content":
            raise error
        return await run(store, command)

    monkeypatch.setattr(AsyncStore, "run", refuse)
    script(running, job("success", "success", "success"), t1=[task("t1", "pending", PAGE), task("t1")])
    with nullcontext() if is_full else pytest.raises(ResponseError, match="nil"):
        part, _ = run_on()
        assert (part.stored_ok, running.health.refusals) == (2, 1)


def test_an_answer_without_content_is_not_held(running, run_on, bought_again):
    script(running, job("success", "success", "success"), t1=[task("t1", None, None), forgotten("t1")])
    part, tasks = run_on()
    assert (part.gone, tasks[1].gone) == (1, True)
    assert bought_again() == ["https://shop.example/1"]


@pytest.mark.parametrize("body", [{"Error": "task expired", "Code": 410}, b'{"Error":"task\nexpired"}', {"Code": 410}])
def test_error_body_under_200_ends_its_task_after_retries(running, run_on, bought_again, body):
    script(running, job("success", "success", "success"), t1=[body])
    part, tasks = run_on(UNREADABLE_ATTEMPTS + 1)
    assert (part.state, part.stored_ok, tasks[1].gone, tasks[1].content) == (PartState.DONE, 1, True, None)
    assert "the answer is an error body" in tasks[1].error_message
    assert bought_again() == ["https://shop.example/1"]


def test_error_body_under_200_does_not_keep_a_job_open(running, run_on):
    script(running, said(endpoints.get_job("job-r-0"), {"Error": "job expired", "Code": 410}))
    part, _ = run_on(UNREADABLE_ATTEMPTS + 2)
    assert (part.state, part.outcome, part.stored_ok) == (PartState.DONE, "succeeded", 2)


@pytest.mark.parametrize("error", ["task\nexpired", "expired"])
def test_a_410_is_believed_whatever_its_text_holds(running, run_on, error):
    body = b'{"Error":"%s","Code":410}' % error.encode()
    script(running, job("success", "success", "success"), t1=[said(endpoints.get_task("job-r-0", "t1"), body, 410)])
    part, tasks = run_on(3)
    assert (part.state, tasks[1].gone) == (PartState.DONE, True)


@pytest.mark.parametrize("body", [{"Status": "Error", "Message": "upstream unavailable"}, {"Status": "Success"}])
def test_a_minute_of_a_gateways_status_ends_nothing(running, run_on, body):
    full = job("success", "success", "success")
    gateway = said(endpoints.get_job("job-r-0"), body)
    script(running, [gateway, gateway, full], t0=[body, body, task("t0")], t1=[body, body, task("t1")])
    part, tasks = run_on(8, seconds=60)
    assert (part.outcome, part.stored_ok, [one.content for one in tasks]) == ("succeeded", 2, ["<html>"] * 2)


@pytest.mark.parametrize("status", [403, 404, 410, 500])
def test_a_page_under_the_status_of_its_target_is_stored(running, run_on, status):
    mirrored = said(endpoints.get_task("job-r-0", "t1"), task("t1", StatusCode=status), status)
    running.api.script(get_job=job("success", "success", "success"))
    running.api.script(get_task=lambda j, i: mirrored if i == "t1" else said(endpoints.get_task(j, i), task(i)))
    part, tasks = run_on(2)
    assert (part.stored_ok, tasks[1].content, tasks[1].status_code) == (2, "<html>", status)


def test_full_store_does_not_lose_the_page_of_a_canceled_task(running, run_on, monkeypatch):
    run, refusals = AsyncStore.run, [StoreUnavailableError("no memory", "OOM")] * 3

    async def refuse(store, command):
        if command.script == "hold_content" and refusals:
            raise refusals.pop()
        return await run(store, command)

    monkeypatch.setattr(AsyncStore, "run", refuse)
    script(running, job("canceled", "success", "pending"), t1=[task("t1", "canceled", PAGE)])
    _, tasks = run_on()
    assert (tasks[1].content, refusals) == (PAGE, [])
