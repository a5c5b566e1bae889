"""What every step does: claim, renew the lease, work, publish; one loop and one set of connections a process."""

from __future__ import annotations

import asyncio
import os
import threading
from types import SimpleNamespace

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import routing
from scrape_do_celery.errors import ConfigurationError, PoisonedRunError
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runtime import WorkerContext, run_step
from scrape_do_celery.runtime.leases import LeaseLostError, with_lease
from scrape_do_celery.runtime.loop import LoopThread
from scrape_do_celery.store import PartState, ops
from scrape_do_celery.store.codec import pack
from scrape_do_celery.tasks import cancel_run, fetch_tasks, poll_jobs, reconcile_submit, submit_jobs


async def nothing(runtime, claim):
    await runtime.release_until(claim, {}, 60.0)


def test_parts_are_served_side_by_side_and_what_follows_is_published_once_a_step(plant):
    for run_id in ("a", "b", "c"):
        plant.begin(run_id)
    threads, together = set(), asyncio.Event()

    async def handler(runtime, claim):
        threads.add(threading.current_thread().name)
        if claim.part_id.run_id == "b":
            together.set()
        await asyncio.wait_for(together.wait(), 10)
        await runtime.release_until(claim, {}, 60.0)
        return StepMessage("next", (str(claim.part_id),)) if claim.part_id.run_id != "c" else None

    run_step(plant.app, ["a:0", "b:0", "c:0"], {PartState.QUEUED}, handler)
    assert plant.messages() == [("next", ["a:0", "b:0"])]
    assert threads == {"scrape-do-loop"}


def test_what_is_not_this_steps_turn_is_left_alone(plant):
    plant.begin("held")
    plant.take("held")
    plant.begin("other")
    plant.buy("other")
    seen = []

    async def handler(runtime, claim):
        seen.append(claim)

    run_step(plant.app, ["held:0", "other:0", "gone:0"], {PartState.QUEUED}, handler)
    assert seen == plant.sent == []


def test_a_lease_may_be_longer(plant):
    plant.begin()

    async def handler(runtime, claim):
        assert plant.looks()["r:0"] > 100

    run_step(plant.app, ["r:0"], {PartState.QUEUED}, handler, seconds=120.0)


def test_one_part_that_fails_does_not_keep_the_others(plant, caplog):
    errors = {
        "bug": ValueError("a bug"),
        "store": RedisConnectionError("away"),
        "lease": LeaseLostError("lease:0"),
        "fine": None,
    }
    for run_id in errors:
        plant.begin(run_id)

    async def handler(runtime, claim):
        if error := errors[claim.part_id.run_id]:
            raise error
        return StepMessage("next", (str(claim.part_id),))

    run_step(plant.app, [f"{run_id}:0" for run_id in errors], {PartState.QUEUED}, handler)
    assert plant.messages() == [("next", ["fine:0"])]
    levels = {record.args[0].run_id: (record.levelname, bool(record.exc_info)) for record in caplog.records}
    assert levels == {"bug": ("ERROR", True), "store": ("WARNING", False), "lease": ("WARNING", False)}
    assert plant.part("bug").attempts == 1


def test_a_part_whose_steps_die_again_and_again_is_taken_out_of_work(plant):
    plant.begin()
    deaths = plant.settings.poison_after
    for attempts in range(1, deaths + 1):
        assert plant.take(seconds=30).part.attempts == attempts
        plant.clock.forward(31)
    run_step(plant.app, ["r:0"], {PartState.QUEUED}, nothing)
    part = plant.part()
    assert (part.state, part.outcome) == (PartState.DONE, "poisoned")
    assert isinstance(part.error, PoisonedRunError)
    assert f"{deaths} steps" in str(part.error)
    assert plant.messages() == [(routing.AGGREGATE_RUN, ["r"])]


def test_progress_is_no_poison(plant):
    plant.begin()
    for _ in range(3 * plant.settings.poison_after):
        run_step(plant.app, ["r:0"], {PartState.QUEUED}, nothing)
        plant.clock.forward(61)
    assert plant.part().state is PartState.QUEUED


@pytest.mark.parametrize(
    ("step", "states"),
    [
        (submit_jobs, {"queued"}),
        (reconcile_submit, {"submitting", "reconciling"}),
        (poll_jobs, {"running"}),
        (cancel_run, {"running"}),
        (fetch_tasks, {"fetching"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_step_serves_its_states_under_its_name(plant, monkeypatch, step, states):
    served = []
    module = type(plant.app.tasks[step.name]).__module__
    monkeypatch.setattr(
        f"{module}.run_step", lambda app, names, states, handler, **_: served.append((app, names, states))
    )
    plant.app.tasks[step.name].run(["r:0"])
    assert served == [(plant.app, ["r:0"], states)]


def test_a_whole_run_step_by_step(plant, make):
    plant.begin()
    plant.api.script(
        create_job=make.created(), get_job=make.job("success"), get_task=lambda _, i: make.task(int(i[1:]))
    )
    plant.app.tasks[submit_jobs.name].run(["r:0"])
    plant.clock.forward(2)
    plant.app.tasks[poll_jobs.name].run(["r:0"])
    assert plant.part().outcome == "succeeded"
    assert [name for name, _ in plant.messages()] == [routing.AGGREGATE_RUN]


def test_what_a_step_left_to_be_fetched_is_fetched(plant, make):
    plant.begin(targets=1)
    plant.buy(state=PartState.FETCHING)
    plant.redis.set(plant.keys.job("r", 0), pack(make.job("success", 1).model_dump(mode="json", by_alias=True)))
    plant.api.script(get_task=make.task())
    plant.app.tasks[fetch_tasks.name].run(["r:0"])
    assert plant.part().outcome == "succeeded"


def test_a_process_has_one_runtime(plant, monkeypatch):
    runtime = WorkerContext.for_app(plant.app)
    assert WorkerContext.for_app(plant.app) is runtime
    assert WorkerContext.apps() == [plant.app]
    assert plant.client_options["max_retries"] == 0
    assert plant.client_options["base_url"] == plant.settings.api_url
    WorkerContext.close_for_app(plant.app)
    assert plant.api.calls == [("aclose",)] * 2
    assert WorkerContext.apps() == []
    WorkerContext.close_for_app(plant.app)


def test_a_fork_has_a_runtime_of_its_own_and_leaves_the_old_one_alone(plant, monkeypatch):
    runtime = WorkerContext.for_app(plant.app)
    runtime.pid = os.getpid() + 1
    assert WorkerContext.for_app(plant.app) is not runtime
    WorkerContext.close_for_app(plant.app)
    assert plant.api.calls == [("aclose",)] * 2
    plant.app.__dict__["scrape_do_worker_context"] = runtime
    WorkerContext.close_for_app(plant.app)
    assert plant.api.calls == [("aclose",)] * 2
    runtime.close()


def test_without_a_token_there_is_no_runtime(plant, settings):
    plant.producer.settings = settings.model_copy(update={"api_key": None})
    with pytest.raises(ConfigurationError, match="SCRAPE_DO_API_KEY"):
        WorkerContext.for_app(plant.app)
    for thread in threading.enumerate():
        if thread.name == "scrape-do-loop":
            thread.join(0)


def test_jitter_shortens_an_interval(plant, settings):
    runtime = WorkerContext.__new__(WorkerContext)
    runtime.settings = settings
    assert runtime.interval(2) == 4.0
    runtime.settings = settings.model_copy(update={"poll_jitter": True})
    assert all(2.0 <= runtime.interval(2) <= 4.0 for _ in range(50))


# Leases


def holding(shelf, work, *, seconds=0.15, store=None):
    claim = shelf.take(seconds=30)
    return shelf.with_async(lambda real: with_lease((store or (lambda s: s))(real), claim, seconds, work(real)))


def test_work_that_ends_returns_its_value(shelf):
    shelf.begin()

    async def work():
        return 7

    assert holding(shelf, lambda _: work()) == 7


def test_work_that_fails_raises_its_error(shelf):
    shelf.begin()

    async def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        holding(shelf, lambda _: work())


def test_long_work_keeps_its_lease(shelf):
    shelf.begin()

    async def work():
        before = shelf.part_fields()
        shelf.clock.forward(100)
        while shelf.part_fields()["lease"] == before["lease"]:
            await asyncio.sleep(0.01)
        return shelf.part_fields()["fence"] == before["fence"]

    assert holding(shelf, lambda _: work())


def test_a_lease_that_another_step_has_cancels_the_work(shelf):
    shelf.begin()
    ends = []

    async def work():
        shelf.clock.forward(31)
        shelf.take(seconds=300)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    with pytest.raises(LeaseLostError, match="r:0"):
        holding(shelf, lambda _: work())
    assert ends == ["cancelled"]


def test_a_store_that_does_not_answer_for_the_life_of_a_lease_cancels_the_work(shelf):
    shelf.begin()
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
        holding(shelf, lambda _: work(), store=failing)
    assert set(asked) == {"renew_lease"}


def test_a_store_that_comes_back_in_time_keeps_the_lease(shelf):
    shelf.begin()
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

    assert holding(shelf, lambda _: work(), store=stumbling) == "done"


def test_work_is_cancelled_with_its_step(shelf):
    shelf.begin()
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

    claim = shelf.take()
    shelf.with_async(go)
    assert ends == ["cancelled"]


# The loop


@pytest.fixture
def loop():
    made = LoopThread()
    yield made
    if not made._loop.is_closed():
        made.close()


def test_a_loop_serves_many_threads(loop):
    async def work(number):
        await asyncio.sleep(0.001)
        return number, threading.current_thread().name

    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(loop.run(work(n)))) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(n, "scrape-do-loop") for n in range(10)]


def test_an_error_comes_back_to_its_thread(loop):
    async def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        loop.run(work())


def test_a_caller_that_is_interrupted_cancels_its_work(loop, monkeypatch):
    started, ended = threading.Event(), threading.Event()

    async def work():
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    real = asyncio.run_coroutine_threadsafe

    def interrupted(coroutine, running):
        future = real(coroutine, running)

        def result(timeout=None):
            assert started.wait(10)
            raise KeyboardInterrupt

        return SimpleNamespace(result=result, cancel=future.cancel)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            loop.run(work())
    assert ended.wait(10)


def test_closing_a_loop_cancels_what_still_runs_on_it(loop):
    ended = threading.Event()

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def begin():
        begin.task = asyncio.ensure_future(work())
        await asyncio.sleep(0)

    loop.run(begin())
    loop.close()
    assert ended.is_set()
    assert not loop._thread.is_alive()


def test_a_message_is_a_value():
    assert StepMessage("a", ("b",)) == StepMessage("a", ("b",))
    assert ops.REDISPATCH_MIN < ops.REDISPATCH_MAX
