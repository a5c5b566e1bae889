"""Test that simultaneous commands travel together, and that each caller gets its own answer."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from scrape_do_celery.store import AsyncStore, Keys
from scrape_do_celery.store.batching import CommandBatcher, WireCommand
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.commands.limits import PauseAPI
from scrape_do_celery.store.commands.stats import ReadClock


@dataclass(frozen=True)
class PlainCommand(Command[Any]):
    """A plain command of Redis, or a call of a script, with the function that reads its reply."""

    parse: Any
    args: tuple[Any, ...]
    script: str = ""
    keys: tuple[str, ...] = ()

    def encode(self, keys):
        return Encoded(self.args, self.keys)

    def decode(self, keys, reply):
        return self.parse(reply)


def echo(text):
    return PlainCommand(bytes.decode, ("ECHO", text))


def echo_on_wire(text):
    return WireCommand("", Encoded(("ECHO", text)))


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
    """A transport that waits for a gate, and records which commands travelled together."""

    def __init__(self):
        self.batches, self.gate = [], asyncio.Event()

    async def __call__(self, commands):
        self.batches.append([command.encoded.args[1] for command in commands])
        await self.gate.wait()
        return [command.encoded.args[1] for command in commands]


def test_answers_go_to_those_who_asked():
    async def work(store):
        return await asyncio.gather(*(store.run(echo(str(n))) for n in range(250)))

    assert on_a_store(work) == [str(n) for n in range(250)]


def test_concurrent_commands_are_one_batch():
    async def go():
        carrier = Carrier()
        batcher = CommandBatcher(carrier)
        asked = asyncio.gather(*(batcher.submit(echo_on_wire(str(n))) for n in range(30)))
        carrier.gate.set()
        await asked
        return carrier.batches

    assert asyncio.run(go()) == [[str(n) for n in range(30)]]


def test_commands_wait_for_the_next_batch():
    async def go():
        carrier = Carrier()
        batcher = CommandBatcher(carrier)
        asked = []
        for n in range(10):
            asked.append(asyncio.ensure_future(batcher.submit(echo_on_wire(str(n)))))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        before = len(carrier.batches)
        carrier.gate.set()
        assert await asyncio.gather(*asked) == [str(n) for n in range(10)]
        return before, carrier.batches

    before, batches = asyncio.run(go())
    assert before == 4
    assert batches[4] == ["4", "5", "6", "7", "8", "9"]


def test_large_values_do_not_travel_all_at_once():
    async def go():
        carrier = Carrier()
        carrier.gate.set()
        batcher = CommandBatcher(carrier)
        page = WireCommand("", Encoded(("SET", "p", b"x" * 3_000_000)))
        await asyncio.gather(*(batcher.submit(page) for _ in range(3)))
        return [len(batch) for batch in carrier.batches]

    assert asyncio.run(go()) == [2, 1]


def test_failed_command_fails_alone():
    def unreadable(_):
        raise ValueError("what is this?")

    async def work(store):
        wrong = PlainCommand(bytes.decode, ("HGET", "p", "f"))
        await store.run(PlainCommand(bool, ("SET", "p", "text")))
        commands = [echo("a"), wrong, echo("b"), PlainCommand(unreadable, ("ECHO", "x"))]
        return await asyncio.gather(*(store.run(command) for command in commands), return_exceptions=True)

    a, wrong, b, unread = on_a_store(work)
    assert (a, b) == ("a", "b")
    assert isinstance(wrong, ResponseError)
    assert isinstance(unread, ValueError)


def test_store_outage_fails_one_whole_batch():
    async def work(store):
        execute, failures = store._batcher._execute, [RedisConnectionError("away")]

        async def sometimes(commands):
            if failures:
                raise failures.pop()
            return await execute(commands)

        store._batcher._execute = sometimes
        first = await asyncio.gather(*(store.run(echo("a")) for _ in range(3)), return_exceptions=True)
        return first, await store.run(echo("b"))

    first, later = on_a_store(work)
    assert [type(error) for error in first] == [RedisConnectionError] * 3
    assert later == "b"


def test_a_server_that_lost_its_scripts_gets_them_again():
    async def work(store):
        now = PauseAPI(1)
        await asyncio.gather(store.run(now), store.run(now))
        await store.client.script_flush()
        return await asyncio.gather(store.run(now), store.run(now))

    assert all(on_a_store(work))


def test_command_canceled_before_the_batch_is_not_sent():
    async def go():
        carrier = Carrier()
        batcher = CommandBatcher(carrier)
        asked = [asyncio.ensure_future(batcher.submit(echo_on_wire(str(n)))) for n in range(3)]
        asked[1].cancel()
        carrier.gate.set()
        answers = await asyncio.gather(*asked, return_exceptions=True)
        return carrier.batches, answers

    batches, answers = asyncio.run(go())
    assert batches == [["0", "2"]]
    assert [isinstance(answer, asyncio.CancelledError) for answer in answers] == [False, True, False]


def test_a_store_that_is_closed_leaves_nobody_waiting():
    async def go():
        carrier = Carrier()
        batcher = CommandBatcher(carrier)
        asked = [asyncio.ensure_future(batcher.submit(echo_on_wire(str(n)))) for n in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        await batcher.aclose()
        return await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 5)

    assert all(isinstance(answer, asyncio.CancelledError) for answer in asyncio.run(go()))


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_of_a_lone_command_is_its_own(count):
    async def work(store):
        await store.run(PlainCommand(bool, ("SET", "p", "text")))
        wrong = PlainCommand(bytes.decode, ("HGET", "p", "f"))
        return await asyncio.gather(*(store.run(wrong) for _ in range(count)), return_exceptions=True)

    assert all(isinstance(answer, ResponseError) for answer in on_a_store(work))


def test_command_that_cannot_be_encoded_fails_alone(store):
    async def go(store):
        wrong = PlainCommand(lambda reply: reply, ("SET", "k", "\ud800"))
        operations = [ReadClock(), wrong, ReadClock()]
        return await asyncio.gather(*(store.run(command) for command in operations), return_exceptions=True)

    first, wrong, last = store.run_async(go)
    assert isinstance(first, float)
    assert isinstance(last, float)
    assert isinstance(wrong, UnicodeEncodeError)
    assert not isinstance(wrong, RedisError)
