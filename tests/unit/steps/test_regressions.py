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
def start(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context._current_app", lambda settings: step_harness.app)
    return enqueue


@pytest.mark.parametrize("status", [500, 404, 429, 401])
def test_cancel_in_trouble_must_back_off(step_harness, make, status):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    step_harness.api.script(get_job=make.refusal(status), get_user_info=make.refusal(status))
    step_harness.run_step(cancel, step_harness.claim_part())
    assert step_harness.due_times()["r:0"] > 0.1


def collecting(step_harness, make, n=1):
    step_harness.create_run(targets=n)
    step_harness.make_running(state=PartState.FETCHING)
    step_harness.run(
        ops.update_part(step_harness.keys, step_harness.claim_part(), {}, job=make.job("success", n), after=0.0)
    )


def test_surrogate_page(step_harness, make):
    collecting(step_harness, make)
    step_harness.api.script(get_task=make.task(0, content="<p>\ud800</p>"))
    step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.part().outcome == "succeeded"


def test_surrogate_message(step_harness, make):
    collecting(step_harness, make)
    step_harness.api.script(get_task=make.task(0, content="<p>", error_message="\ud800"))
    step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.part().outcome == "succeeded"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "5", True, "x"], ids=str)
def test_max_wait(step_harness, start, value):
    with pytest.raises(ValueError, match="max_wait"):
        start([URL], max_wait=value)
    assert step_harness.redis.keys() == []


def test_digest(step_harness, start):
    assert start([URL], max_wait=60, idempotency_key="k") == start([URL], max_wait=60.0, idempotency_key="k")


def test_digest_bool(step_harness, start):
    assert start([URL], raise_on_task_failure=1, idempotency_key="k") == start(
        [URL], raise_on_task_failure=True, idempotency_key="k"
    )


def test_pause_counts_from_the_answer(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.create_run("other")
    claim = step_harness.claim_part(seconds=300)

    def slow(_):
        step_harness.clock.forward(50)
        return make.refusal(429, 10.0)

    step_harness.api.script(get_job=slow)
    step_harness.run_step(poll, claim)
    assert step_harness.try_claim_part("other") is None


def test_pause_is_not_shortened(step_harness, make):
    for n in ("a", "b", "c"):
        step_harness.create_run(n)
    step_harness.make_running("a")
    step_harness.make_running("b")
    step_harness.api.script(get_job=[make.refusal(429, 60.0), make.refusal(429, None)])
    a, b = step_harness.claim_part("a"), step_harness.claim_part("b")
    step_harness.run_step(poll, a)
    step_harness.run_step(poll, b)
    step_harness.clock.forward(10)
    assert step_harness.try_claim_part("c") is None


def test_rate_limited_is_written_although_the_store_stumbles(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(429, 10.0))
    with contextlib.suppress(RedisError):
        step_harness.run_step(
            submit,
            step_harness.claim_part(seconds=120),
            broken="pause_api"
            if "pause" in __import__("scrape_do_celery.store.client", fromlist=["x"]).load_scripts()
            else "SET",
        )
    assert (step_harness.part().state, step_harness.part().refused) == (PartState.RECONCILING, True)


def test_auth_grace_counts_refusals_only(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.api.script(get_job=make.refusal(500))
    for _ in range(35):
        step_harness.run_step(poll, step_harness.claim_part())
        step_harness.clock.forward(31)
    step_harness.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    step_harness.run_step(poll, step_harness.claim_part())
    assert step_harness.part().state is PartState.RUNNING


@pytest.mark.parametrize("state", [PartState.RUNNING, PartState.FETCHING])
def test_a_deadline_ends_a_run_while_the_api_is_down(step_harness, make, state):
    step_harness.create_run(max_wait=10)
    step_harness.make_running(state=state)
    step_harness.run(
        ops.update_part(step_harness.keys, step_harness.claim_part(), {}, job=make.job("success"), after=0.0)
    )
    step_harness.clock.forward(11)
    step_harness.run(ops.request_stop(step_harness.keys, "r", "deadline"))
    step_harness.api.script(get_job=make.refusal(500), get_task=make.refusal(500))
    for _ in range(100):
        if step_harness.part().state is PartState.DONE:
            break
        c = step_harness.try_claim_part()
        if c:
            step_harness.run_step(cancel if state is PartState.RUNNING else fetch, c)
        step_harness.clock.forward(31)
    assert step_harness.part().state is PartState.DONE


def test_same_401_forever_during_cancel(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.run(ops.request_stop(step_harness.keys, "r", "cancel"))
    step_harness.api.script(get_job=make.refusal(401), get_user_info=make.refusal(401))
    step_harness.run_step(cancel, step_harness.claim_part())
    assert step_harness.due_times()["r:0"] > 0.1


def test_forget_leaves_no_key_for_ever(step_harness):
    step_harness.create_run(key="k")
    step_harness.make_running()
    step_harness.finish_part()
    step_harness.run(ops.record_outcome(step_harness.keys, "r", "succeeded", {}))
    step_harness.run(ops.acknowledge_delivery(step_harness.keys, "r", "r", step_harness.app_context.retention))
    RunHandle("r", app_context=step_harness.app_context).forget()
    assert step_harness.ttls()
    assert None not in step_harness.ttls().values()


def test_key_of_a_forgotten_run(step_harness, start):
    h = start([URL], idempotency_key="k")
    step_harness.finish_part(h.run_id)
    step_harness.run(ops.record_outcome(step_harness.keys, h.run_id, "succeeded", {}))
    step_harness.run(
        ops.acknowledge_delivery(step_harness.keys, h.run_id, h.run_id, step_harness.app_context.retention)
    )
    h.forget()
    again = start([URL], idempotency_key="k")
    assert again.state == "queued"


def test_hold_does_not_outlive_the_lease(store):
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


def test_no_thread_is_left_without_a_token(step_harness, settings):
    step_harness.app_context.settings = settings.model_copy(update={"api_key": None})
    before = threading.active_count()
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            WorkerContext.for_app(step_harness.app)
    time.sleep(0.1)
    assert threading.active_count() == before


def test_store_away_in_a_pass_is_a_redis_error(step_harness, make):
    collecting(step_harness, make, 4)
    step_harness.api.script(get_task=lambda _, i: make.task(int(i[1:])))
    with pytest.raises(RedisError):
        step_harness.run_step(fetch, step_harness.claim_part(), broken="store_content", times=99)


def test_canceled_draft_ends_now(step_harness):
    step_harness.create_run(start_delay=86400.0)
    RunHandle("r", app_context=step_harness.app_context).cancel()
    assert step_harness.due_parts()["r:run"] <= 1


def test_partial_progress_forgets_trouble(step_harness, make):
    collecting(step_harness, make, 2)
    step_harness.api.script(get_task=lambda _, i: make.refusal(500) if i == "t1" else make.task(0))
    step_harness.run_step(fetch, step_harness.claim_part())
    step_harness.clock.forward(1000)
    step_harness.api.script(get_task=make.refusal(401), get_user_info=make.refusal(401))
    step_harness.run_step(fetch, step_harness.claim_part())
    assert step_harness.part().state is PartState.FETCHING


def test_stop_request_in_doubtful_poison(step_harness):
    # taken out of work while the POST may have bought a job: that it is in doubt must not be lost
    step_harness.create_run()
    claim = step_harness.claim_part()
    step_harness.run(ops.write_intent(step_harness.keys, claim, "n", 100, account=step_harness.account))
    for _ in range(6):
        step_harness.clock.forward(200)
        step_harness.claim_part()
    step_harness.clock.forward(200)
    from scrape_do_celery.tasks.reconcile import reconcile

    run_step(step_harness.app, ["r:0"], {PartState.SUBMITTING, PartState.RECONCILING}, reconcile)
    assert step_harness.part().outcome == "poisoned"
    (purchase,) = step_harness.run(ops.ledger(step_harness.keys, int(step_harness.part().intent // 86_400)))
    assert purchase.status == "in_doubt"
    assert step_harness.redis.keys(f"{step_harness.keys.prefix}:unresolved:*")
