"""Test the memory of a fetching process: one large page at a time, and no deadlock."""

from __future__ import annotations

import asyncio
import random
from contextvars import Context

import pytest

from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.page_memory import LARGE, PageMemory
from scrape_do_celery.store import PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.tasks import fetch_tasks

CHUNK = LARGE // 4


def cut():
    raise ConnectionError("cut")


class Process:
    """Fetches that count bytes instead of reading them, in the way of the client and the fetch step."""

    def __init__(self, **options):
        self.memory, self.held, self.peak, self.stored = PageMemory(**options), 0, 0, []

    async def read(self, size, *, fails=None):
        """Read a body, asking for the slot before it passes `LARGE`; return the bytes that are held."""
        mine, asked = 0, False
        try:
            while mine < size:
                if mine + CHUNK > LARGE and not asked:
                    await self.memory.grow()
                    asked = True
                mine += CHUNK
                self.held += CHUNK
                self.peak = max(self.peak, self.held)
                await asyncio.sleep(0)
                if fails is not None and mine >= fails:
                    cut()
        except BaseException:
            self.held -= mine
            raise
        return mine

    async def fetch(self, name, size, *, fails=None):
        async with self.memory.page():
            mine = await self.read(size, fails=fails)
            try:
                await asyncio.sleep(0.001)
                self.stored.append(name)
            finally:
                self.held -= mine


def played(story, **options):
    """Play a story in a process, and require that all fetches end."""

    async def go():
        process = Process(**options)
        async with asyncio.timeout(20):
            await story(process)
        assert process.held == 0
        assert not process.memory._slot.locked()
        return process

    return asyncio.run(go())


def test_only_one_large_page_is_in_memory():
    async def story(process):
        await asyncio.gather(*(process.fetch(n, 16 * LARGE) for n in range(50)))

    process = played(story)
    assert sorted(process.stored) == list(range(50))
    assert process.peak <= 16 * LARGE + 50 * LARGE


def test_small_pages_do_not_wait_for_a_large_one():
    async def story(process):
        async with process.memory.page():
            await process.memory.grow()
            small = [asyncio.create_task(process.fetch(n, LARGE), context=Context()) for n in range(50)]
            await asyncio.wait(small)
            assert len(process.stored) == 50

    played(story)


def test_a_large_page_keeps_the_slot_until_it_is_stored():
    async def story(process):
        async with process.memory.page():
            await process.read(2 * LARGE)
            next_one = asyncio.create_task(process.fetch("next", 2 * LARGE), context=Context())
            await asyncio.sleep(0.02)
            assert process.held == 3 * LARGE
            process.held -= 2 * LARGE
        await next_one

    assert played(story).stored == ["next"]


@pytest.mark.parametrize("seed", range(10))
def test_pages_that_fail_or_are_cancelled_give_the_slot_back(seed):
    dice = random.Random(seed)

    async def story(process):
        works = []
        for n in range(50):
            size = dice.choice([CHUNK, LARGE, 2 * LARGE, 8 * LARGE])
            fails = dice.choice([None, None, CHUNK, LARGE, LARGE + CHUNK, size])
            works.append(asyncio.ensure_future(process.fetch(n, size, fails=fails)))
        for _ in range(40):
            await asyncio.sleep(dice.choice([0, 0, 0.001]))
            dice.choice(works).cancel()
        ends = await asyncio.gather(*works, return_exceptions=True)
        assert {type(end) for end in ends} <= {type(None), ConnectionError, asyncio.CancelledError}
        assert sorted(process.stored) == [n for n, end in enumerate(ends) if end is None]

    assert played(story).peak <= 8 * LARGE + 50 * LARGE


def test_page_waiting_too_long_is_fetched_again():
    async def story(process):
        async with process.memory.page():
            await process.memory.grow()
            with pytest.raises(TimeoutError):
                await asyncio.create_task(process.fetch("late", 2 * LARGE), context=Context())
        await process.fetch("again", 2 * LARGE)

    assert played(story, timeout=0.02).stored == ["again"]


def test_an_inner_scope_is_part_of_the_outer_one():
    async def story(process):
        async with process.memory.page():
            async with process.memory.page():
                await process.memory.grow()
                await process.memory.grow()
            assert process.memory._slot.locked()

    played(story)


def test_a_task_that_outlives_its_scope_keeps_no_slot():
    async def story(process):
        async with process.memory.page():
            await process.memory.grow()
            async with process.memory.page():
                early = asyncio.ensure_future(process.memory.grow())
        await early
        begun = asyncio.Event()

        async def child():
            begun.set()
            await process.memory.grow()

        holder = asyncio.create_task(process.fetch("holder", 8 * LARGE), context=Context())
        while not process.memory._slot.locked():
            await asyncio.sleep(0)
        async with process.memory.page():
            waiting = asyncio.ensure_future(child())
            await begun.wait()
        await asyncio.gather(waiting, holder)
        await process.fetch("next", 2 * LARGE)

    assert played(story).stored == ["holder", "next"]


def test_an_answer_without_a_scope_takes_no_slot():
    async def story(process):
        await process.memory.grow()

    played(story)


def test_large_page_is_stored_before_the_next_is_read(step_harness, make):
    step_harness.create_run(targets=8)
    step_harness.make_running(state=PartState.FETCHING)
    step_harness.redis.set(
        step_harness.keys.job(PartId("r", 0)), pack(make.job("success", 8).model_dump(mode="json", by_alias=True))
    )
    grown = []

    async def large(task_id):
        await WorkerContext.for_app(step_harness.app).page_memory.grow()
        stored = step_harness.redis.hlen(step_harness.keys.contents(PartId("r", 0)))
        grown.append(stored)
        await asyncio.sleep(0)
        return make.task(int(task_id[1:]))

    step_harness.api.script(get_task=lambda _, task_id: large(task_id))
    step_harness.app.tasks[fetch_tasks.name].run(["r:0"])
    assert step_harness.part().outcome == "succeeded"
    assert grown == list(range(8))
