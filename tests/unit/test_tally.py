"""What a process counts by itself, and how it comes to the store."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import errors
from scrape_do_celery.runtime.budget import Budget
from scrape_do_celery.runtime.tally import Tally, outcome_of
from scrape_do_celery.store import AsyncStore, Keys

KEYS = Keys("p")


def doubt(cause):
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
        (doubt(errors.AsyncAPIServerError("", 500)), "server_error"),
        (doubt(None), "unreadable"),
        (asyncio.CancelledError(), "abandoned"),
        (ValueError("nothing was sent"), None),
    ],
)
def test_a_request_is_counted_by_its_outcome(error, outcome):
    assert outcome_of(error) == outcome
    tally = Tally()
    with pytest.raises(type(error)), tally.request("get_job"):
        raise error
    names = set(tally.take())
    assert names == ({f"requests:get_job:{outcome}", "seconds:get_job"} if outcome else set())


def test_a_good_one_is_counted_with_its_time():
    tally = Tally()
    for _ in range(2):
        with tally.request("get_task"):
            pass
    counts = tally.take()
    assert counts["requests:get_task:ok"] == 2
    assert counts["seconds:get_task"] >= 0
    assert tally.take() == {}


def test_late_steps_are_counted_by_class():
    tally = Tally()
    for seconds in (0.05, 0.1, 7, 1000):
        tally.late("poll", seconds)
    assert tally.take() == {"late:poll:0.1": 2, "late:poll:10": 1, "late:poll:inf": 1, "late:poll:sum": 1007.15}


def test_pages_are_counted_by_the_hour_in_which_they_expire():
    tally = Tally()
    tally.page(10, until=7200.5)
    tally.page(5, until=7300.0)
    assert tally.take() == {"bytes": 15, "held:2": 15}


def test_counts_go_with_the_next_word_to_the_store_and_are_kept_where_it_fails():
    server = fakeredis.FakeServer()

    async def go():
        store = AsyncStore(fakeredis.FakeAsyncRedis(server=server), KEYS)
        budget, run, failures = Budget(store, here=5, most=5), store.run, [RedisConnectionError("away")]

        async def sometimes(op):
            if failures:
                raise failures.pop()
            return await run(op)

        store.run = sometimes
        budget.tally.add("requests:get_job:ok", 3)
        with pytest.raises(RedisConnectionError):
            await budget._renew()
        budget.tally.add("requests:get_job:ok")
        await budget.aclose()
        await store.aclose()

    asyncio.run(go())
    found = fakeredis.FakeRedis(server=server).hgetall(KEYS.totals)
    assert found == {b"requests:get_job:ok": b"4"}
