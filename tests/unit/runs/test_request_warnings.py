"""Test that each function that buys warns once, at the caller's line, of a request that may be wrong."""

from __future__ import annotations

import asyncio
import inspect
import warnings

import httpx
import pytest
from celery import group

from scrape_do_celery import (
    AsyncScrapeDoAsyncAPIClient,
    ScrapeDoAsyncAPIClient,
    aenqueue,
    aenqueue_many,
    enqueue,
    enqueue_many,
    scheduled_run,
)
from scrape_do_celery.tasks import scrape

URL = "https://a.example/"
CREATED = {"JobID": "j", "TaskIDs": ["t"]}


@pytest.fixture
def step_harness(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    return step_harness


def start_run_by_delay():
    scrape.delay([URL], session_id=-1)


def start_run_by_apply_async():
    scrape.apply_async(kwargs={"targets": [URL], "session_id": -1}, countdown=5)


def start_run_by_signature():
    scrape.s([URL], session_id=-1).delay()


def start_run_in_a_group():
    group([scrape.s([URL], session_id=-1)]).apply_async()


def start_run():
    enqueue([URL], session_id=-1)


def start_runs():
    enqueue_many(([URL] for _ in range(5)), session_id=-1)


def schedule_run():
    scheduled_run("prices", 60, [URL], session_id=-1)


def buy_job():
    with ScrapeDoAsyncAPIClient(
        "token", transport=httpx.MockTransport(lambda _: httpx.Response(201, json=CREATED))
    ) as one:
        one.create_job(targets=[URL], session_id=-1)


async def start_run_from_async():
    await aenqueue([URL], session_id=-1)


async def start_runs_from_async():
    await aenqueue_many([[URL], [URL]], session_id=-1)


async def buy_job_from_async():
    transport = httpx.MockTransport(lambda _: httpx.Response(201, json=CREATED))
    async with AsyncScrapeDoAsyncAPIClient("token", transport=transport) as one:
        await one.create_job(targets=[URL], session_id=-1)


@pytest.mark.parametrize(
    "buy",
    [
        start_run_by_delay,
        start_run_by_apply_async,
        start_run_by_signature,
        start_run_in_a_group,
        start_run,
        start_runs,
        schedule_run,
        buy_job,
        start_run_from_async,
        start_runs_from_async,
        buy_job_from_async,
    ],
    ids=lambda function: function.__name__,
)
def test_one_warning_at_the_line_of_the_call(buy, step_harness):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if inspect.iscoroutinefunction(buy):
            asyncio.run(buy())
        else:
            buy()
    [one] = said
    assert str(one.message).startswith("session_id=-1: ")
    lines, first = inspect.getsourcelines(buy)
    assert (one.filename, one.lineno) == (__file__, first + len(lines) - 1)


def test_a_refused_request_of_many_has_no_warning(step_harness):
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="request 1: "):
            enqueue_many([[URL], ["nonsense"]], session_id=-1)
    assert said == []
