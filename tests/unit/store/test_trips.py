"""What is asked of the store together travels together, and each answer finds its way back."""

from __future__ import annotations

import asyncio

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from scrape_do_celery.store import AsyncStore, Keys
from scrape_do_celery.store.op import Op
from scrape_do_celery.store.trips import Trips


def echo(text):
    return Op(bytes.decode, ("ECHO", text))


def on_a_store(work):
    async def go():
        server = fakeredis.FakeServer()
        store = AsyncStore(fakeredis.FakeAsyncRedis(server=server), Keys("p"))
        try:
            return await work(store)
        finally:
            await store.aclose()

    return asyncio.run(go())


class Carrier:
    """Carries when it is told to, and remembers what went together."""

    def __init__(self):
        self.trips, self.gate = [], asyncio.Event()

    async def __call__(self, ops):
        self.trips.append([op.args[1] for op in ops])
        await self.gate.wait()
        return [op.parse(op.args[1].encode()) for op in ops]


def test_answers_go_to_those_who_asked():
    async def work(store):
        return await asyncio.gather(*(store.run(echo(str(n))) for n in range(250)))

    assert on_a_store(work) == [str(n) for n in range(250)]


def test_what_is_asked_at_once_is_one_trip():
    async def go():
        carrier = Carrier()
        trips = Trips(carrier)
        asked = asyncio.gather(*(trips.take(echo(str(n))) for n in range(30)))
        carrier.gate.set()
        await asked
        return carrier.trips

    assert asyncio.run(go()) == [[str(n) for n in range(30)]]


def test_while_trips_are_under_way_the_rest_waits_for_the_next():
    async def go():
        carrier = Carrier()
        trips = Trips(carrier)
        asked = []
        for n in range(10):
            asked.append(asyncio.ensure_future(trips.take(echo(str(n)))))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        before = len(carrier.trips)
        carrier.gate.set()
        assert await asyncio.gather(*asked) == [str(n) for n in range(10)]
        return before, carrier.trips

    before, trips = asyncio.run(go())
    assert before == 4
    assert trips[4] == ["4", "5", "6", "7", "8", "9"]


def test_large_values_do_not_travel_all_at_once():
    async def go():
        carrier = Carrier()
        carrier.gate.set()
        trips = Trips(carrier)
        page = Op(bytes, ("SET", "p", b"x" * 3_000_000))
        await asyncio.gather(*(trips.take(Op(bytes.decode, ("SET", "p", *page.args[2:]))) for _ in range(3)))
        return [len(trip) for trip in carrier.trips]

    assert asyncio.run(go()) == [2, 1]


def test_one_that_fails_fails_alone():
    def unreadable(_):
        raise ValueError("what is this?")

    async def work(store):
        wrong = Op(bytes.decode, ("HGET", "p", "f"))
        await store.run(Op(bool, ("SET", "p", "text")))
        operations = [echo("a"), wrong, echo("b"), Op(unreadable, ("ECHO", "x"))]
        return await asyncio.gather(*(store.run(op) for op in operations), return_exceptions=True)

    a, wrong, b, unread = on_a_store(work)
    assert (a, b) == ("a", "b")
    assert isinstance(wrong, ResponseError)
    assert isinstance(unread, ValueError)


def test_a_store_that_is_away_fails_all_of_the_trip_and_none_of_the_next():
    async def work(store):
        carry, failures = store._trips._carry, [RedisConnectionError("away")]

        async def sometimes(ops):
            if failures:
                raise failures.pop()
            return await carry(ops)

        store._trips._carry = sometimes
        first = await asyncio.gather(*(store.run(echo("a")) for _ in range(3)), return_exceptions=True)
        return first, await store.run(echo("b"))

    first, later = on_a_store(work)
    assert [type(error) for error in first] == [RedisConnectionError] * 3
    assert later == "b"


def test_a_server_that_lost_its_scripts_gets_them_again():
    async def work(store):
        now = Op(float, (1,), [store.keys.pause], "pause")
        await asyncio.gather(store.run(now), store.run(now))
        await store.client.script_flush()
        return await asyncio.gather(store.run(now), store.run(now))

    assert all(on_a_store(work))


def test_who_is_cancelled_before_the_trip_is_not_taken_along():
    async def go():
        carrier = Carrier()
        trips = Trips(carrier)
        asked = [asyncio.ensure_future(trips.take(echo(str(n)))) for n in range(3)]
        asked[1].cancel()
        carrier.gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return carrier.trips, answers

    trips, answers = asyncio.run(go())
    assert trips == [["0", "2"]]
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [False, True, False]


def test_a_store_that_is_closed_leaves_nobody_waiting():
    async def go():
        carrier = Carrier()
        trips = Trips(carrier)
        asked = [asyncio.ensure_future(trips.take(echo(str(n)))) for n in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await trips.aclose()
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)

    assert all(isinstance(answer, asyncio.CancelledError) for answer in asyncio.run(go()))


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_a_lone_operation_is_its_own(count):
    async def work(store):
        await store.run(Op(bool, ("SET", "p", "text")))
        wrong = Op(bytes.decode, ("HGET", "p", "f"))
        return await asyncio.gather(*(store.run(wrong) for _ in range(count)), return_exceptions=True)

    assert all(isinstance(answer, ResponseError) for answer in on_a_store(work))
