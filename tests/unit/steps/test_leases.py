"""Test that a step works under a lease only: it renews the lease, or it is canceled."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery.steps.leases import LeaseLostError, with_lease


class _LoopWithoutWaiting(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next timer: seconds are counted without waiting."""

    def __init__(self):
        super().__init__()
        self._ahead, wait = 0.0, self._selector.select

        def select(timeout=None):
            self._ahead += timeout or 0.0
            return wait(0)

        self._selector.select = select

    def time(self):
        return self._ahead


def holding(store, work, *, seconds=0.15, wrap=lambda real: real):
    claim = store.claim_part(seconds=30)
    return store.run_async(lambda real: with_lease(wrap(real), claim, seconds, work(real)))


def test_work_is_canceled_if_the_renewal_hangs(store):
    store.create_run()
    claim = store.claim_part()

    def hanging(store):
        async def run(command):
            await asyncio.sleep(60)

        return SimpleNamespace(run=run, keys=store.keys)

    async def go():
        began = asyncio.get_running_loop().time()
        with pytest.raises(LeaseLostError):
            await with_lease(hanging(store), claim, 30, asyncio.sleep(600))
        return asyncio.get_running_loop().time() - began

    with asyncio.Runner(loop_factory=_LoopWithoutWaiting) as runner:
        assert runner.run(go()) == pytest.approx(30)


def test_work_returns_its_value(store):
    store.create_run()

    async def work():
        return 7

    assert holding(store, lambda _: work()) == 7


def test_failed_work_raises_its_error(store):
    store.create_run()

    async def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        holding(store, lambda _: work())


def test_long_work_keeps_its_lease(store):
    store.create_run()

    async def work():
        before = store.part_fields()
        store.clock.forward(100)
        while store.part_fields()["lease"] == before["lease"]:
            await asyncio.sleep(0.01)
        return store.part_fields()["fence"] == before["fence"]

    assert holding(store, lambda _: work())


def test_lost_lease_cancels_the_work(store):
    store.create_run()
    ends = []

    async def work():
        store.clock.forward(31)
        store.claim_part(seconds=300)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    with pytest.raises(LeaseLostError, match="r:0"):
        holding(store, lambda _: work())
    assert ends == ["cancelled"]


def test_store_outage_longer_than_the_lease_cancels_the_work(store):
    store.create_run()
    asked = []

    def failing(store):
        async def run(command):
            asked.append(command.script)
            if len(asked) % 2:
                raise RedisConnectionError("away")
            await asyncio.sleep(60)

        return SimpleNamespace(run=run, keys=store.keys)

    async def work():
        await asyncio.sleep(60)

    with pytest.raises(LeaseLostError):
        holding(store, lambda _: work(), wrap=failing)
    assert set(asked) == {"renew_lease"}


def test_short_store_outage_keeps_the_lease(store):
    store.create_run()
    asked = []

    def stumbling(store):
        async def run(command):
            asked.append(command.script)
            if len(asked) % 2:
                raise RedisConnectionError("away")
            return True

        return SimpleNamespace(run=run, keys=store.keys)

    async def work():
        while len(asked) < 8:
            await asyncio.sleep(0.01)
        return "done"

    assert holding(store, lambda _: work(), wrap=stumbling) == "done"


def test_work_is_canceled_with_its_step(store):
    store.create_run()
    ends = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ends.append("cancelled")

    async def go(store):
        task = asyncio.ensure_future(with_lease(store, claim, 30.0, work()))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    claim = store.claim_part()
    store.run_async(go)
    assert ends == ["cancelled"]
