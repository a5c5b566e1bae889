"""Test the counters of a process, and how they reach the store."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import errors
from scrape_do_celery.steps.counters import Counters, request_status
from scrape_do_celery.steps.rate_limiter import RateLimiter
from scrape_do_celery.store import AsyncStore, Keys

KEYS = Keys("p")


def in_doubt(cause):
    error = errors.SubmitInDoubtError("the job may have been bought", 1)
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (errors.AsyncAPIRateLimitError("", 429), "rate_limited"),
        (errors.AsyncAPIAuthError("", 401), "auth"),
        (errors.AsyncAPINotFoundError("", 404), "not_found"),
        (errors.AsyncAPIGoneError("", 410), "gone"),
        (errors.AsyncAPIServerError("", 503), "server_error"),
        (errors.AsyncAPIBadRequestError("", 400), "refused"),
        (errors.AsyncAPIUnparsableResponseError(""), "unreadable"),
        (errors.APIConnectionError(), "no_answer"),
        (in_doubt(errors.AsyncAPIServerError("", 500)), "server_error"),
        (in_doubt(None), "unreadable"),
        (asyncio.CancelledError(), "abandoned"),
        (ValueError("nothing was sent"), None),
    ],
)
def test_a_request_is_counted_by_its_outcome(error, outcome):
    assert request_status(error) == outcome
    counters = Counters()
    with pytest.raises(type(error)), counters.request("get_job"):
        raise error
    names = set(counters.drain())
    assert names == ({f"requests:get_job:{outcome}", "seconds:get_job"} if outcome else set())


def test_a_good_one_is_counted_with_its_time():
    counters = Counters()
    for _ in range(2):
        with counters.request("get_task"):
            pass
    counts = counters.drain()
    assert counts["requests:get_task:ok"] == 2
    assert counts["seconds:get_task"] >= 0
    assert counters.drain() == {}


def test_late_steps_are_counted_by_class():
    counters = Counters()
    for seconds in (0.05, 0.1, 7, 1000):
        counters.step_latency("poll", seconds)
    assert counters.drain() == {"late:poll:0.1": 2, "late:poll:10": 1, "late:poll:inf": 1, "late:poll:sum": 1007.15}


def test_pages_are_counted_by_the_hour_in_which_they_expire():
    counters = Counters()
    counters.page(10, until=7200.5)
    counters.page(5, until=7300.0)
    assert counters.drain() == {"bytes": 15, "stored:2": 15}


def test_counts_are_sent_with_the_next_sync_or_kept():
    server = fakeredis.FakeServer()

    async def go():
        store = AsyncStore(fakeredis.FakeAsyncRedis(server=server), KEYS)
        rate_limiter, run, failures = RateLimiter(store, here=5, limit=5), store.run, [RedisConnectionError("away")]

        async def sometimes(command):
            if failures:
                raise failures.pop()
            return await run(command)

        store.run = sometimes
        rate_limiter.counters.add("requests:get_job:ok", 3)
        with pytest.raises(RedisConnectionError):
            await rate_limiter._renew()
        rate_limiter.counters.add("requests:get_job:ok")
        await rate_limiter.aclose()
        await store.aclose()

    asyncio.run(go())
    found = fakeredis.FakeRedis(server=server).hgetall(KEYS.totals)
    assert found == {b"requests:get_job:ok": b"4"}
