"""Test the sync and the async store, which carry commands out."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.store import AsyncStore, PartId, Store
from scrape_do_celery.store.commands.contents import ReadStoredPositions, StoreContent
from scrape_do_celery.store.commands.limits import PauseAPI
from scrape_do_celery.store.commands.parts import ClaimPart, ReadJob, UpdatePart
from scrape_do_celery.store.commands.purchases import ReadLedgerDay
from scrape_do_celery.store.commands.runs import ReadOutcome, ReadRun
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.store.scripts import load_scripts

UNREACHABLE = "redis://127.0.0.1:1/0"


def test_every_command_has_its_script():
    names = set(load_scripts())
    assert "common" not in names
    assert {
        "create_run",
        "accept_run",
        "claim_part",
        "claim_due",
        "write_intent",
        "check_before_send",
        "update_part",
        "store_content",
        "finish_part",
    } <= names


def test_both_stores_work_on_the_same_records(store, make):
    store.create_run()
    part_id = PartId("r", 0)

    async def work(store):
        assert (await store.run(ReadRun("r"))).parts[0].total == 2
        assert (await store.run(StoreContent(part_id, 0, make.task()))).result == "stored"
        claim = await store.run(ClaimPart(part_id, "t", seconds=30, states={"queued"}))
        assert await store.run(ReadJob(part_id)) is None
        return await store.run(UpdatePart(claim, {"polls": 3}, after=0.0, job=make.job()))

    assert store.run_async(work) == "ok"
    assert store.part().polls == 3
    assert store.run(ReadJob(part_id)) == make.job()
    assert store.run(ReadStoredPositions(part_id)) == {0}


def test_commands_are_values():
    with pytest.raises(dataclasses.FrozenInstanceError):
        ReadRun("r").run_id = "x"


def test_clock_is_ahead_by_the_seconds_in_a_key(store):
    ahead = Store(store.redis, store.keys, clock_offset_key="ahead")
    plain = store.sync_store.run(ReadClock())
    assert ahead.run(ReadClock()) == pytest.approx(plain, abs=60)
    store.redis.set("ahead", 3600)
    assert ahead.run(ReadClock()) == pytest.approx(plain + 3600, abs=60)
    assert store.sync_store.run(ReadClock()) == pytest.approx(plain, abs=60)


def test_only_the_offset_of_a_clock_changes_scripts():
    plain, moved = load_scripts(), load_scripts("ahead")
    # A script that reads no time is the same in tests.
    assert {name for name in plain if plain[name] == moved[name]} == {
        name for name, text in plain.items() if "'TIME'" not in text
    }
    assert not any("read_server_time" in text for text in plain.values())


def test_only_the_prefix_of_a_cluster_changes_scripts():
    """Each script of a store on a cluster first makes sure that its slot does not move."""
    plain, probed = load_scripts(), load_scripts(cluster_prefix='{a"b}')
    probe = 'redis.call(\'EXISTS\', "{a\\"b}:-", "{a\\"b}:=")\n'
    assert probed == {name: probe + text for name, text in plain.items()}


def test_opening_a_store_connects_to_nothing():
    store = Store.open(UNREACHABLE, "mine", timeout=4.0)
    assert store.keys.run("r") == "mine:run:r"
    assert store.client.connection_pool.connection_kwargs["socket_timeout"] == 4.0
    store.close()


def test_opening_a_store_for_a_loop_connects_to_nothing():
    async def go():
        store = AsyncStore.open(UNREACHABLE, "mine", connections=3)
        assert store.keys.prefix == "mine"
        assert store.client.connection_pool.max_connections == 3
        await store.aclose()

    asyncio.run(go())


@pytest.mark.parametrize("fail_fast", [True, False])
def test_server_outage_raises_in_the_end_and_nothing_was_sent(fail_fast):
    store = Store.open(UNREACHABLE, "p", fail_fast=fail_fast)
    with pytest.raises(StoreUnavailableError) as caught:
        store.run(ReadOutcome("r"))
    assert not caught.value.was_sent
    store.close()


def test_server_outage_raises_in_the_end_in_a_loop():
    async def go():
        store = AsyncStore.open(UNREACHABLE, "p")
        answers = await asyncio.gather(store.run(PauseAPI(1)), store.run(ReadOutcome("r")), return_exceptions=True)
        await store.aclose()
        return answers

    assert [type(answer) for answer in asyncio.run(go())] == [StoreUnavailableError] * 2


def test_other_error_is_raised_unchanged(store):
    store.create_run()
    store.redis.set(store.keys.ledger(1), "text", ex=60)
    with pytest.raises(ResponseError):
        store.sync_store.run_all([ReadRun("r"), ReadLedgerDay(1)])


def test_a_pipeline_sends_a_lost_script_again(store):
    store.redis.script_flush()
    assert all(store.sync_store.run_all([PauseAPI(1), PauseAPI(2)]))


def test_a_lost_script_that_fails_again_fails_its_command_alone(store):
    async def go(store):
        await store.run(ReadOutcome("r"))
        await store.client.script_flush()

        send = store._send

        async def refuse(command):
            return ResponseError("no") if command.script == PauseAPI.script else await send(command)

        store._send = refuse
        commands = [PauseAPI(1), ReadOutcome("r")]
        return await asyncio.gather(*(store.run(command) for command in commands), return_exceptions=True)

    refused, outcome = store.run_async(go)
    assert isinstance(refused, ResponseError)
    assert outcome == (False, None)


class RefusingPipe:
    """A pipeline whose commands are refused the given number of times."""

    def __init__(self, refusals):
        self.refusals, self.sent, self._waiting = refusals, [], 0

    def evalsha(self, *_):
        self._waiting += 1

    def execute(self, **_):
        count, self._waiting = self._waiting, 0
        self.sent.append(count)
        if len(self.sent) > self.refusals:
            return [b"1.0"] * count
        refused = ReadOnlyError("You can't write against a read only replica.")
        return [b"2.0" if number else refused for number in range(count)]


def test_a_refused_command_is_sent_again_alone(store, monkeypatch):
    pipe, fresh = RefusingPipe(1), []
    monkeypatch.setattr(store.redis, "pipeline", lambda **_: pipe)
    monkeypatch.setattr(store.redis.connection_pool, "disconnect", lambda **options: fresh.append(options))
    monkeypatch.setattr(store.sync_store, "_send", lambda command: b"3.0")
    assert store.sync_store.run_all([PauseAPI(1), PauseAPI(2)]) == [3.0, 2.0]
    assert pipe.sent == [2]
    assert fresh == [{"inuse_connections": False}]


def test_a_pipeline_that_the_server_refuses_for_now_raises_store_unavailable(store, monkeypatch):
    pipe = RefusingPipe(1000)
    monkeypatch.setattr(store.redis, "pipeline", lambda **_: pipe)
    monkeypatch.setattr("scrape_do_celery.store.pending._ATTEMPTS", 1)
    with pytest.raises(StoreUnavailableError, match="READONLY You can't write") as caught:
        store.sync_store.run_all([PauseAPI(1), PauseAPI(2)])
    assert caught.value.reason == "READONLY"
    assert caught.value.was_sent


def test_a_lost_pipeline_fails_each_of_its_commands(store, monkeypatch):
    def fail(*_, **__):
        raise RedisConnectionError("lost")

    monkeypatch.setattr("redis.client.Pipeline.execute", fail)
    monkeypatch.setattr("scrape_do_celery.store.pending._ATTEMPTS", 1)
    with pytest.raises(StoreUnavailableError, match="lost"):
        store.sync_store.run_all([PauseAPI(1), PauseAPI(2)])
