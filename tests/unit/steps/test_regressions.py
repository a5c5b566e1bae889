"""Faults that were once there, each with the smallest scene that showed it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from types import SimpleNamespace

import pytest
from redis.exceptions import RedisError

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs import RunHandle, enqueue
from scrape_do_celery.runtime import WorkerContext, run_step
from scrape_do_celery.runtime.collecting import fetch
from scrape_do_celery.runtime.leases import LeaseLostError, with_lease
from scrape_do_celery.store import PartState, ops
from scrape_do_celery.tasks.cancel import cancel
from scrape_do_celery.tasks.poll import poll
from scrape_do_celery.tasks.submit import submit

URL = "https://shop.example/0"


@pytest.fixture
def start(plant, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context._current_app", lambda settings: plant.app)
    return enqueue


@pytest.mark.parametrize("status", [500, 404, 429, 401])
def test_cancel_in_trouble_must_back_off(plant, make, status):
    plant.begin()
    plant.buy()
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.api.script(get_job=make.refusal(status), get_user_info=make.refusal(status))
    plant.step(cancel, plant.take())
    assert plant.looks()["r:0"] > 0.1


def collecting(plant, make, n=1):
    plant.begin(targets=n)
    plant.buy(state=PartState.FETCHING)
    plant.run(ops.update_part(plant.keys, plant.take(), {}, job=make.job("success", n), after=0.0))


def test_surrogate_page(plant, make):
    collecting(plant, make)
    plant.api.script(get_task=make.task(0, content="<p>\ud800</p>"))
    plant.step(fetch, plant.take())
    assert plant.part().outcome == "succeeded"


def test_surrogate_message(plant, make):
    collecting(plant, make)
    plant.api.script(get_task=make.task(0, content="<p>", error_message="\ud800"))
    plant.step(fetch, plant.take())
    assert plant.part().outcome == "succeeded"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "5", True, "x"], ids=str)
def test_max_wait(plant, start, value):
    with pytest.raises(ValueError, match="max_wait"):
        start([URL], max_wait=value)
    assert plant.redis.keys() == []


def test_digest(plant, start):
    assert start([URL], max_wait=60, idempotency_key="k") == start([URL], max_wait=60.0, idempotency_key="k")


def test_digest_bool(plant, start):
    assert start([URL], raise_on_task_failure=1, idempotency_key="k") == start(
        [URL], raise_on_task_failure=True, idempotency_key="k"
    )


def test_pause_counts_from_the_answer(plant, make):
    plant.begin()
    plant.buy()
    plant.begin("other")
    claim = plant.take(seconds=300)

    def slow(_):
        plant.clock.forward(50)
        return make.refusal(429, 10.0)

    plant.api.script(get_job=slow)
    plant.step(poll, claim)
    assert plant.claim("other") is None


def test_pause_is_not_shortened(plant, make):
    for n in ("a", "b", "c"):
        plant.begin(n)
    plant.buy("a")
    plant.buy("b")
    plant.api.script(get_job=[make.refusal(429, 60.0), make.refusal(429, None)])
    a, b = plant.take("a"), plant.take("b")
    plant.step(poll, a)
    plant.step(poll, b)
    plant.clock.forward(10)
    assert plant.claim("c") is None


def test_rate_limited_is_written_although_the_store_stumbles(plant, make):
    plant.begin()
    plant.api.script(create_job=make.refusal(429, 10.0))
    with contextlib.suppress(RedisError):
        plant.step(
            submit,
            plant.take(seconds=120),
            broken="pause_api"
            if "pause" in __import__("scrape_do_celery.store.client", fromlist=["x"]).scripts()
            else "SET",
        )
    assert (plant.part().state, plant.part().refused) == (PartState.RECONCILING, True)


def test_auth_grace_counts_refusals_only(plant, make):
    plant.begin()
    plant.buy()
    plant.api.script(get_job=make.refusal(500))
    for _ in range(35):
        plant.step(poll, plant.take())
        plant.clock.forward(31)
    plant.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    plant.step(poll, plant.take())
    assert plant.part().state is PartState.RUNNING


@pytest.mark.parametrize("state", [PartState.RUNNING, PartState.FETCHING])
def test_a_deadline_ends_a_run_while_the_api_is_down(plant, make, state):
    plant.begin(max_wait=10)
    plant.buy(state=state)
    plant.run(ops.update_part(plant.keys, plant.take(), {}, job=make.job("success"), after=0.0))
    plant.clock.forward(11)
    plant.run(ops.request_stop(plant.keys, "r", "deadline"))
    plant.api.script(get_job=make.refusal(500), get_task=make.refusal(500))
    for _ in range(100):
        if plant.part().state is PartState.DONE:
            break
        c = plant.claim()
        if c:
            plant.step(cancel if state is PartState.RUNNING else fetch, c)
        plant.clock.forward(31)
    assert plant.part().state is PartState.DONE


def test_same_401_forever_during_cancel(plant, make):
    plant.begin()
    plant.buy()
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    plant.step(cancel, plant.take())
    assert plant.looks()["r:0"] > 0.1


def test_forget_leaves_no_key_for_ever(plant):
    plant.begin(key="k")
    plant.buy()
    plant.finish()
    plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {}))
    plant.run(ops.acknowledge_delivery(plant.keys, "r", "r", plant.producer.retention))
    RunHandle("r", producer=plant.producer).forget()
    assert plant.ttls()
    assert None not in plant.ttls().values()


def test_key_of_a_forgotten_run(plant, start):
    h = start([URL], idempotency_key="k")
    plant.finish(h.run_id)
    plant.run(ops.record_outcome(plant.keys, h.run_id, "succeeded", {}))
    plant.run(ops.acknowledge_delivery(plant.keys, h.run_id, h.run_id, plant.producer.retention))
    h.forget()
    again = start([URL], idempotency_key="k")
    assert again.state == "queued"


def test_hold_does_not_outlive_the_lease(shelf):
    shelf.begin()
    claim = shelf.take()

    def hanging(store):
        async def run(command):
            await asyncio.sleep(60)

        return SimpleNamespace(run=run, keys=store.keys)

    async def go():
        began = asyncio.get_running_loop().time()
        with pytest.raises(LeaseLostError):
            await with_lease(hanging(shelf), claim, 30, asyncio.sleep(600))
        return asyncio.get_running_loop().time() - began

    with asyncio.Runner(loop_factory=_LoopWithoutWaiting) as runner:
        assert runner.run(go()) == pytest.approx(30)


class _LoopWithoutWaiting(asyncio.SelectorEventLoop):
    """A loop whose clock jumps to the next thing to do: seconds are counted, none passes."""

    def __init__(self):
        super().__init__()
        self._ahead, wait = 0.0, self._selector.select

        def select(timeout=None):
            self._ahead += timeout or 0.0
            return wait(0)

        self._selector.select = select

    def time(self):
        return self._ahead


def test_no_thread_is_left_without_a_token(plant, settings):
    plant.producer.settings = settings.model_copy(update={"api_key": None})
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            WorkerContext.for_app(plant.app)
    time.sleep(0.1)
    assert threading.active_count() == before


def test_store_away_in_a_pass_is_a_redis_error(plant, make):
    collecting(plant, make, 4)
    plant.api.script(get_task=lambda _, i: make.task(int(i[1:])))
    with pytest.raises(RedisError):
        plant.step(fetch, plant.take(), broken="store_content", times=99)


def test_canceled_draft_ends_now(plant):
    plant.begin(start_delay=86400.0)
    RunHandle("r", producer=plant.producer).cancel()
    assert plant.due()["r:run"] <= 1


def test_partial_progress_forgets_trouble(plant, make):
    collecting(plant, make, 2)
    plant.api.script(get_task=lambda _, i: make.refusal(500) if i == "t1" else make.task(0))
    plant.step(fetch, plant.take())
    plant.clock.forward(1000)
    plant.api.script(get_task=make.refusal(401), get_user_info=make.refusal(401))
    plant.step(fetch, plant.take())
    assert plant.part().state is PartState.FETCHING


def test_stop_request_in_doubtful_poison(plant):
    # taken out of work while the POST may have bought a job: that it is in doubt must not be lost
    plant.begin()
    claim = plant.take()
    plant.run(ops.write_intent(plant.keys, claim, "n", 100, account=plant.account))
    for _ in range(6):
        plant.clock.forward(200)
        plant.take()
    plant.clock.forward(200)
    from scrape_do_celery.tasks.reconcile import reconcile

    run_step(plant.app, ["r:0"], {PartState.SUBMITTING, PartState.RECONCILING}, reconcile)
    assert plant.part().outcome == "poisoned"
    (purchase,) = plant.run(ops.ledger(plant.keys, int(plant.part().intent // 86_400)))
    assert purchase.status == "in_doubt"
    assert plant.redis.keys(f"{plant.keys.prefix}:unresolved:*")
