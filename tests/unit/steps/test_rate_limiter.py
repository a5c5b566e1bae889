"""Test the request quota that all processes share: slots, rate, and the pause after a 429."""

from __future__ import annotations

import asyncio
import time

import fakeredis
import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery.errors import AsyncAPIRateLimitError
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.steps import rate_limiter as module
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.rate_limiter import RateLimiter
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.store import CANCEL, AsyncStore, Keys
from scrape_do_celery.store.commands.limits import AllocateRequests, PauseAPI
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop

NOTHING = JobsListResponse.model_validate({"Jobs": [], "TotalPages": 1})
LEASE = 200.0
KEYS = Keys("p")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_EVERY", 0.05)
    monkeypatch.setattr(module, "_HURRY", 0.01)


class Office:
    """Several processes' rate limiters over one store, and their requests under way."""

    def __init__(self):
        self.server, self.stores, self.budgets = fakeredis.FakeServer(), [], []
        self.now = self.most = 0
        self.starts = []

    def process(self, **options):
        store = AsyncStore(fakeredis.FakeAsyncRedis(server=self.server), KEYS)
        self.stores.append(store)
        self.budgets.append(RateLimiter(store, **{"here": 50, "limit": 4, **options}))
        return self.budgets[-1]

    async def request(self, rate_limiter, seconds=0.005, *, urgent=False):
        module.is_stopping.set(urgent)
        async with rate_limiter.acquire():
            self.now += 1
            self.most = max(self.most, self.now)
            self.starts.append(time.monotonic())
            await asyncio.sleep(seconds)
            self.now -= 1

    async def close(self):
        for rate_limiter, store in zip(self.budgets, self.stores, strict=True):
            await rate_limiter.aclose()
            await store.aclose()


def play(work):
    async def go():
        office = Office()
        try:
            return await asyncio.wait_for(work(office), 30)
        finally:
            await office.close()

    return asyncio.run(go())


def test_all_processes_together_keep_the_limit():
    async def work(office):
        budgets = [office.process() for _ in range(3)]
        await asyncio.gather(*(office.request(rate_limiter) for rate_limiter in budgets for _ in range(40)))
        return office.most, len(office.starts)

    assert play(work) == (4, 120)


def test_single_process_may_use_all_up_to_its_bound():
    async def work(office):
        rate_limiter = office.process(here=3)
        await asyncio.gather(*(office.request(rate_limiter) for _ in range(20)))
        return office.most

    assert play(work) == 3


def test_later_process_gets_its_share():
    async def work(office):
        first, second = office.process(), office.process()
        crowd = [asyncio.ensure_future(office.request(first, 0.02)) for _ in range(400)]
        await asyncio.sleep(0.2)
        await asyncio.wait_for(asyncio.gather(*(office.request(second) for _ in range(4))), 10)
        left = sum(not one.done() for one in crowd)
        await asyncio.gather(*crowd)
        return left, office.most

    left, most = play(work)
    assert left > 0, "it did not have to wait for the whole crowd"
    assert most <= 4


def test_more_processes_than_requests_take_turns():
    async def work(office):
        budgets = [office.process(limit=1) for _ in range(3)]
        await asyncio.gather(*(office.request(rate_limiter) for rate_limiter in budgets for _ in range(5)))
        return office.most

    assert play(work) == 1


def test_share_of_a_dead_process_expires(clock, store):
    assert store.run(AllocateRequests("dead", 4, 0, limit=4)).requests == 4
    assert store.run(AllocateRequests("alive", 4, 0, limit=4)).requests == 0
    clock.forward(11)
    assert store.run(AllocateRequests("alive", 4, 0, limit=4)).requests == 4


def test_released_request_is_free_at_once(store):
    store.run(AllocateRequests("a", 4, 4, limit=4))
    store.run(AllocateRequests("a", 0, 0, limit=4))
    assert store.run(AllocateRequests("b", 9, 0, limit=4)).requests == 4
    assert store.fields(KEYS.quota).keys() == {"b"}


def test_starts_keep_the_pace(clock, store):
    def starts():
        return store.run(AllocateRequests("a", 50, 0, limit=50, rate=10)).starts

    assert starts() == 2, "a quarter of a second's worth at once"
    assert starts() == 0
    clock.forward(0.1)
    assert starts() == 1
    clock.forward(60)
    assert starts() == 2, "what was not used is not saved up"


def test_a_slow_pace_is_one_at_a_time(clock, store):
    def starts(process):
        return store.run(AllocateRequests(process, 5, 0, limit=50, rate=0.5)).starts

    assert (starts("a"), starts("b")) == (1, 0)
    clock.forward(1)
    assert starts("b") == 0
    clock.forward(1)
    assert (starts("b"), starts("a")) == (1, 0)


def test_the_pace_is_kept_by_all_processes_together():
    async def work(office):
        budgets = [office.process(rate=100) for _ in range(2)]
        await asyncio.gather(*(office.request(rate_limiter, 0) for rate_limiter in budgets for _ in range(30)))
        return office.starts

    starts = sorted(play(work))
    # 25 requests may start at once. Each of the other 35 takes a hundredth of a second.
    assert starts[-1] - starts[0] >= 0.3


def test_while_a_429_stands_nothing_starts_anywhere(monkeypatch):
    async def work(office):
        first, second = office.process(), office.process()
        running = asyncio.ensure_future(office.request(first, 0.3))
        while not office.now:
            await asyncio.sleep(0.01)
        await office.stores[1].run(PauseAPI(60))
        with pytest.raises(AsyncAPIRateLimitError, match="the request was not sent") as raised:
            await office.request(second)
        assert 0 < raised.value.retry_after <= 60
        await running
        with pytest.raises(AsyncAPIRateLimitError):
            await office.request(first)
        await asyncio.create_task(office.request(first, urgent=True))
        return len(office.starts)

    assert play(work) == 2


def test_waiting_request_sees_the_pause():
    async def work(office):
        rate_limiter = office.process(limit=1)
        running = asyncio.ensure_future(office.request(rate_limiter, 0.2))
        while not office.now:
            await asyncio.sleep(0.01)
        waiting = [asyncio.ensure_future(office.request(rate_limiter, urgent=urgent)) for urgent in (False, True)]
        await asyncio.sleep(0.02)
        rate_limiter.pause(30)
        return await asyncio.gather(running, *waiting, return_exceptions=True)

    done, refused, urgent = play(work)
    assert done is None
    assert isinstance(refused, AsyncAPIRateLimitError)
    assert urgent is None


def test_canceled_request_frees_its_slot():
    async def work(office):
        rate_limiter = office.process(limit=1)
        running = asyncio.ensure_future(office.request(rate_limiter, 60))
        while not office.now:
            await asyncio.sleep(0.01)
        waiting = asyncio.ensure_future(office.request(rate_limiter))
        await asyncio.sleep(0.02)
        for one in (waiting, running):
            one.cancel()
        await asyncio.gather(running, waiting, return_exceptions=True)
        await office.request(rate_limiter)
        return rate_limiter._running

    assert play(work) == 0


def test_store_outage_does_not_block_requests_for_ever():
    async def work(office):
        rate_limiter = office.process()
        run, failures = office.stores[0].run, [RedisConnectionError("away")] * 3

        async def sometimes(command):
            if failures:
                raise failures.pop()
            return await run(command)

        office.stores[0].run = sometimes
        await office.request(rate_limiter)
        return len(failures)

    assert play(work) == 0


def test_low_priority_request_comes_last():
    async def work(office):
        rate_limiter, order = office.process(limit=1), []

        async def ask(name, *, low_priority):
            async with rate_limiter.acquire(low_priority=low_priority):
                order.append(name)

        running = asyncio.ensure_future(office.request(rate_limiter, 0.1))
        while not office.now:
            await asyncio.sleep(0.01)
        waiting = [asyncio.ensure_future(ask(f"page {n}", low_priority=True)) for n in range(20)]
        await asyncio.sleep(0.02)
        waiting.append(asyncio.ensure_future(ask("look", low_priority=False)))
        await asyncio.gather(running, *waiting)
        return order

    assert play(work) == ["look", *(f"page {n}" for n in range(20))]


def test_low_priority_request_is_not_starved():
    async def work(office):
        rate_limiter, order, over = office.process(limit=2), [], asyncio.Event()

        async def ask(name, *, low_priority):
            while not over.is_set():
                async with rate_limiter.acquire(low_priority=low_priority):
                    order.append(name)
                    await asyncio.sleep(0.001)

        crowd = [asyncio.ensure_future(ask("look", low_priority=False)) for _ in range(10)]
        crowd += [asyncio.ensure_future(ask("page", low_priority=True)) for _ in range(10)]
        while len(order) < 400:
            await asyncio.sleep(0.01)
        over.set()
        await asyncio.gather(*crowd)
        return order.count("page") / len(order)

    assert 0.2 < play(work) < 0.3


def test_unused_share_goes_to_others(store):
    wants = {f"small{n}": 1 for n in range(30)} | {"big0": 50, "big1": 50}
    for _ in range(4):
        got = {name: store.run(AllocateRequests(name, want, 0, limit=100)).requests for name, want in wants.items()}
    assert got == dict.fromkeys(wants, 1) | {"big0": 35, "big1": 35}


def test_released_request_waits_for_the_sync_reply():
    async def work(office):
        first, second = (office.process(limit=20) for _ in range(2))
        run, lull = office.stores[0].run, asyncio.Event()

        async def slowly(command):
            answer = await run(command)
            if command.script == "allocate_requests" and command.wanted <= 1:
                lull.set()
            await asyncio.sleep(0.03)
            return answer

        office.stores[0].run = slowly
        *short, long = [asyncio.ensure_future(office.request(first, seconds)) for seconds in (0.3,) * 19 + (1.5,)]
        await asyncio.gather(*short)
        lull.clear()
        await lull.wait()
        crowd = [asyncio.ensure_future(office.request(one, 0.3)) for one in (first, second) for _ in range(19)]
        await asyncio.gather(long, *crowd)
        return office.most

    assert play(work) <= 20


def test_pause_starts_when_the_answer_arrives(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.create_run("other")
    claim = step_harness.claim_part(seconds=300)

    def slow(_):
        step_harness.clock.forward(50)
        return make.refusal(429, 10.0)

    step_harness.api.script(get_job=slow)
    step_harness.run_step(poll_part, claim)
    assert step_harness.try_claim_part("other") is None


def test_shorter_pause_does_not_replace_a_longer_one(step_harness, make):
    for n in ("a", "b", "c"):
        step_harness.create_run(n)
    step_harness.make_running("a")
    step_harness.make_running("b")
    step_harness.api.script(get_job=[make.refusal(429, 60.0), make.refusal(429, None)])
    a, b = step_harness.claim_part("a"), step_harness.claim_part("b")
    step_harness.run_step(poll_part, a)
    step_harness.run_step(poll_part, b)
    step_harness.clock.forward(10)
    assert step_harness.try_claim_part("c") is None


def test_pause_does_not_delay_the_search_of_a_canceled_run(step_harness, make):
    step_harness.create_run("r")
    claim = step_harness.claim_part("r", seconds=LEASE)
    step_harness.run(WriteIntent(claim, "n", LEASE, account=step_harness.account))
    step_harness.update_part(claim, after=0.0, to="reconciling", submit_error="{}")
    step_harness.run(RequestStop("r", CANCEL))
    step_harness.api.script(list_jobs=NOTHING)

    async def paused(context, claim):
        context.rate_limiter.pause(600.0)
        return await reconcile_part(context, claim)

    step_harness.run_step(paused, step_harness.claim_part("r"))
    assert step_harness.api.called("list_jobs")


def test_request_not_sent_does_not_extend_the_pause(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.clock.forward(2)
    step_harness.run(PauseAPI(0.5))
    until = step_harness.redis.get("p:pause")

    async def paused(context, claim):
        context.rate_limiter.pause(600.0)
        return await poll_part(context, claim)

    step_harness.clock.forward(1)
    step_harness.run_step(paused, step_harness.claim_part())
    assert step_harness.redis.get("p:pause") in {None, until}


def test_unexpected_error_leaves_no_request_waiting(store):
    async def go(store):
        rate_limiter, run, errors = RateLimiter(store, here=10, limit=10), store.run, [ValueError("unforeseen")]

        async def once(command):
            if errors:
                raise errors.pop()
            return await run(command)

        store.run = once
        async with asyncio.timeout(10), rate_limiter.acquire():
            return "went"

    assert store.run_async(go) == "went"
