"""Fetching pages: each is stored as it arrives, none twice, and the job's end waits for the last."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import OutOfMemoryError, RedisError, ResponseError

from scrape_do_celery import routing
from scrape_do_celery.errors import APIConnectionError
from scrape_do_celery.models import JobFailedError
from scrape_do_celery.polling import MAX_TASK_FETCHES, RETENTION
from scrape_do_celery.rules.fetch import UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL
from scrape_do_celery.runs import RunHandle, StepMessage
from scrape_do_celery.runtime import collecting
from scrape_do_celery.runtime.collecting import fetch
from scrape_do_celery.runtime.store_health import FULL_STORE_DELAY
from scrape_do_celery.store import AsyncStore, Claim, PartId, PartState, ops
from scrape_do_celery.tasks.poll import poll

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)


@pytest.fixture
def collect(plant, make):
    """A run whose job has ended and waits to be fetched."""

    def begin(job=None, count=4):
        plant.begin(targets=count)
        plant.buy(state=PartState.FETCHING)
        claim = plant.take()
        plant.run(ops.update_part(plant.keys, claim, {}, job=job or make.job("success", count), after=0.0))
        return plant

    return begin


def page(make, **fields):
    return lambda _, task_id: make.task(int(task_id[1:]), **fields)


def stored(plant, count=4):
    return plant.run(ops.contents(plant.keys, PART_ID, range(count)))


def asked(plant):
    return sorted(task_id for _, task_id in plant.api.called("get_task"))


def test_all_tasks_are_fetched_and_the_part_ends(collect, make):
    plant = collect()
    plant.api.script(get_task=page(make))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert stored(plant) == [make.task(n) for n in range(4)]
    part = plant.part()
    assert (part.state, part.outcome, part.stored_ok, part.error) == (PartState.DONE, "succeeded", 4, None)
    assert asked(plant) == ["t0", "t1", "t2", "t3"]


def test_what_is_there_is_not_fetched_again(collect, make):
    plant = collect()
    cut = APIConnectionError("cut", "GET", "/x", "ReadError")
    plant.api.script(get_task=lambda _, task_id: cut if task_id in {"t1", "t3"} else make.task(int(task_id[1:])))
    assert plant.step(fetch, plant.take()) is None
    part = plant.part()
    assert (part.state, part.stored_ok, part.api_failures, part.fetch_passes) == (PartState.FETCHING, 2, 1, 0)
    assert plant.looks()["r:0"] > 0
    plant.clock.forward(5)
    plant.api.calls.clear()
    plant.api.script(get_task=page(make))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert asked(plant) == ["t1", "t3"]


def test_a_step_that_died_is_resumed_at_the_next_missing_page(collect, make):
    plant = collect()
    plant.put(position=0)
    plant.put(position=2)
    plant.take(seconds=30)
    plant.clock.forward(31)
    plant.api.script(get_task=page(make))
    plant.step(fetch, plant.take())
    assert asked(plant) == ["t1", "t3"]


@pytest.mark.parametrize("status", [404, 410])
def test_a_task_that_is_gone_is_data(collect, make, status):
    plant = collect()
    plant.clock.forward(100)
    plant.api.script(get_task=lambda _, i: make.refusal(status) if i == "t1" else make.task(int(i[1:])))
    # A 404 may be a moment's: it is believed after five looks.
    for _ in range(4 if status == 404 else 0):
        assert plant.step(fetch, plant.take()) is None
        plant.clock.forward(60)
    assert plant.step(fetch, plant.take()) == AGGREGATE
    gone = stored(plant)[1]
    assert (gone.gone, gone.status, gone.url) == (True, "error", "https://shop.example/1")
    assert str(status) in gone.error_message
    part = plant.part()
    assert (part.outcome, part.stored_ok, part.stored_failed, part.gone) == ("succeeded", 3, 1, 1)


def test_a_task_that_is_not_found_yet_is_looked_at_again(collect, make):
    plant = collect()
    plant.api.script(get_task=lambda _, i: make.refusal(404) if i == "t1" else make.task(int(i[1:])))
    assert plant.step(fetch, plant.take()) is None
    assert (plant.part().fetch_passes, plant.part().api_failures, plant.part().stored_ok) == (0, 0, 3)
    assert plant.looks()["r:0"] > 0
    plant.clock.forward(5)
    plant.api.script(get_task=page(make))
    assert plant.step(fetch, plant.take()) == AGGREGATE


def test_a_task_that_does_not_end_is_looked_at_five_times(collect, make):
    plant = collect()
    plant.api.script(get_task=lambda _, i: make.task(int(i[1:]), status="rotating" if i == "t1" else "success"))
    for looks in range(1, MAX_TASK_FETCHES):
        assert plant.step(fetch, plant.take()) is None
        assert plant.part().fetch_passes == looks
        plant.clock.forward(100)
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert asked(plant).count("t1") == MAX_TASK_FETCHES
    given_up = stored(plant)[1]
    assert (given_up.status, given_up.gone, given_up.given_up, given_up.content) == ("error", False, True, "<html>")
    assert "rotating" in given_up.error_message


def test_a_page_in_broken_base64_is_kept_as_it_came(collect, make):
    plant = collect(count=1)
    plant.api.script(get_task=make.task(0, content="QU*D\nRE", base64_encoded_content=True))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    (task,) = stored(plant, 1)
    assert task.content == "QU*D\nRE"
    with pytest.raises(ValueError, match="base64"):
        task.decoded_content()


def test_a_job_without_a_summary_gets_one_from_what_was_fetched(collect, make):
    plant = collect(make.job("success", 4, summary=False))
    order = [3, 1, 0, 2]
    plant.api.script(get_task=lambda _, i: make.task(int(i[1:]), url=f"https://shop.example/{order[int(i[1:])]}"))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    job = plant.run(ops.job(plant.keys, PART_ID))
    assert [(task.task_id, task.url[-1], task.status) for task in job.tasks] == [
        *(("t0", "3", "success"), ("t1", "1", "success")),
        *(("t2", "0", "success"), ("t3", "2", "success")),
    ]
    plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {}))
    result = RunHandle("r", producer=plant.producer).result()
    assert [task.url for task in result.tasks] == make.urls(4)
    assert result.order_verified


def test_of_a_job_that_was_stopped_only_what_was_paid_is_fetched(collect, make):
    plant = collect(make.job("canceled", tasks=["success", "canceled", "error", "success"]))
    plant.api.script(get_task=page(make))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert asked(plant) == ["t0", "t3"]
    assert plant.part().outcome == "canceled"


def test_a_summary_names_only_what_is_known(collect, make):
    job = make.job("canceled", tasks=["success", "canceled", "canceled", "canceled"])
    plant = collect(job.model_copy(update={"tasks": job.tasks[:1]}))
    stopped = {"status": "canceled", "content": None}
    plant.api.script(get_task=lambda _, i: make.task(int(i[1:]), **({} if i == "t0" else stopped)))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert asked(plant) == ["t0", "t1", "t2", "t3"]
    assert plant.part().stored_ok + plant.part().stored_failed == 1
    assert [task.task_id for task in plant.run(ops.job(plant.keys, PART_ID)).tasks] == ["t0"]


def test_of_a_job_that_was_stopped_everything_is_asked_for_where_nobody_says_what_was_paid(collect, make):
    plant = collect(make.job("canceled", 2, summary=False), count=2)
    plant.api.script(get_task=page(make, status="canceled"))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert asked(plant) == ["t0", "t1"]


def test_a_job_that_failed_keeps_its_pages_and_its_error(collect, make):
    plant = collect(make.job("error", tasks=["success", "error", "error", "success"]))
    plant.api.script(get_task=lambda _, i: make.task(int(i[1:]), status="error" if i in {"t1", "t2"} else "success"))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    part = plant.part()
    assert (part.outcome, part.stored_ok, part.stored_failed) == ("failed", 2, 2)
    assert isinstance(part.error, JobFailedError)
    assert part.error.counts == {"failed": 2, "canceled": 0, "total": 4}
    assert part.error.job.status == "error"


def test_too_many_requests_is_met_once_and_not_once_a_task(collect, make, settings):
    plant = collect(count=50, job=make.job("success", 50))
    plant.settings = settings.model_copy(update={"fetch_concurrency": 1})
    answers = [make.task(0), make.refusal(429, 30.0)]
    plant.api.script(get_task=lambda *_: answers.pop(0))
    assert plant.step(fetch, plant.take()) is None
    assert len(asked(plant)) == 2
    assert plant.part().stored_ok == 1
    plant.begin("other")
    assert plant.claim("other") is None


def test_no_more_are_fetched_at_once_than_set(collect, make, settings):
    plant = collect(count=30, job=make.job("success", 30))
    plant.settings = settings.model_copy(update={"fetch_concurrency": 3})
    now, most = 0, 0

    async def slowly(task_id):
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.001)
        now -= 1
        return make.task(int(task_id[1:]))

    plant.api.script(get_task=lambda _, task_id: slowly(task_id))
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert most == 3


def test_a_run_that_was_told_to_end_does_not_collect_for_ever(collect, make):
    plant = collect()
    plant.run(ops.request_stop(plant.keys, "r", "deadline"))
    plant.api.script(get_task=lambda _, i: make.refusal(500) if i == "t1" else make.task(int(i[1:])))
    assert plant.step(fetch, plant.take()) is None
    assert plant.looks()["r:0"] <= plant.settings.cancel_grace
    plant.clock.forward(3 * plant.settings.cancel_grace)
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert (plant.part().outcome, plant.part().stored_ok) == ("timed_out", 3)


@pytest.mark.parametrize("status", [400, 406, 422])
def test_a_task_that_the_api_refuses_is_given_up_after_five_attempts_ten_minutes_apart(collect, make, status):
    plant = collect()
    plant.api.script(get_task=lambda _, i: make.refusal(status) if i == "t1" else make.task(int(i[1:])))
    for attempts in range(1, UNREADABLE_ATTEMPTS):
        assert plant.step(fetch, plant.take()) is None
        assert (plant.part().notes[1].attempts, plant.part().fetch_passes) == (attempts, 0)
        plant.clock.forward(UNREADABLE_INTERVAL + 1)
    assert plant.step(fetch, plant.take()) == AGGREGATE
    refused = stored(plant)[1]
    assert (refused.gone, refused.status) == (True, "error")
    assert str(status) in refused.error_message


@pytest.mark.parametrize("status", [401, 403, 408, 425, 500])
def test_a_refusal_that_is_not_about_the_task_is_trouble(collect, make, status):
    plant = collect()
    plant.clock.forward(100)
    plant.api.script(get_task=make.refusal(status), get_user_info=make.refusal(status))
    for troubles in range(1, MAX_TASK_FETCHES + 2):
        plant.redis.delete(plant.keys.breaker(plant.account))
        assert plant.step(fetch, plant.take()) is None
        assert (plant.part().api_failures, plant.part().fetch_passes) == (troubles, 0)
        plant.clock.forward(40)
    assert stored(plant) == [None] * 4


def test_progress_is_the_end_of_trouble(collect, make):
    plant = collect()
    plant.api.script(get_task=make.refusal(408))
    plant.step(fetch, plant.take())
    assert plant.part().refused_since is not None
    plant.clock.forward(40)
    plant.api.script(get_task=lambda _, i: make.task(int(i[1:]), status="pending"))
    plant.step(fetch, plant.take())
    assert (plant.part().api_failures, plant.part().refused_since) == (0, None)


def test_a_part_that_collects_without_a_job_is_an_error(plant):
    plant.begin()
    plant.buy(state=PartState.FETCHING)
    with pytest.raises(LookupError, match="r:0"):
        plant.step(fetch, plant.take())


def test_a_job_without_tasks_ends_at_once(collect, make):
    plant = collect(make.job("success", 0), count=1)
    assert plant.step(fetch, plant.take()) == AGGREGATE
    assert plant.api.calls == []
    assert plant.part().outcome == "succeeded"


def test_a_store_that_is_away_stops_the_pass(collect, make):
    plant = collect()
    plant.api.script(get_task=page(make))
    with pytest.raises((RedisError, ExceptionGroup)):
        plant.step(fetch, plant.take(), broken="store_content", times=99)
    assert plant.part().state is PartState.FETCHING
    assert stored(plant) == [None] * 4


def test_a_run_that_was_forgotten_meanwhile_is_left_alone(collect, make):
    plant = collect()
    claim = plant.take()

    def forgotten(_, task_id):
        plant.redis.delete(plant.keys.part("r", 0), plant.keys.run("r"))
        return make.task(int(task_id[1:]))

    plant.api.script(get_task=forgotten)
    assert plant.step(fetch, claim) is None
    assert not plant.redis.exists(plant.keys.contents("r", 0))


FORGOTTEN = RETENTION + 2 * 3600


def test_nothing_is_fetched_into_a_full_store(collect):
    plant = collect()
    plant.health.used = 0.96
    assert plant.step(fetch, plant.take()) is None
    assert plant.api.called("get_task") == []
    assert plant.part().state is PartState.FETCHING
    assert 0 < plant.looks()["r:0"] <= 5


def test_what_the_api_has_forgotten_holds_no_run_open(collect, make):
    """It answers 500 for ever; three days after the purchase there is nothing left to wait for."""
    plant = collect()
    plant.api.script(get_task=make.refusal(500))
    plant.step(fetch, plant.take())
    assert plant.part().state is PartState.FETCHING
    plant.clock.forward(FORGOTTEN)
    plant.step(fetch, plant.take())
    assert plant.part().state is PartState.DONE
    assert plant.part().gone == 4


OLD = "Error running script (call to f_1): @user_script:9: @user_script: 9: -OOM command not allowed when used memory"


@pytest.fixture(params=[OutOfMemoryError("command not allowed"), ResponseError(OLD)], ids=["7", "6.2"])
def no_room(monkeypatch, request):
    """A store that is full, and whose user may not ask how full it is; what is gone is still written down."""
    run = AsyncStore.run

    async def refuse(store, command):
        if command.script == "store_content" and not command.args[4]:
            raise request.param
        return await run(store, command)

    monkeypatch.setattr(AsyncStore, "run", refuse)


def test_a_page_that_the_store_has_no_room_for_is_no_failure_of_the_run(collect, make, no_room):
    plant = collect()
    plant.api.script(get_task=page(make))
    for _ in range(plant.settings.poison_after + 2):
        claim = plant.claim(poison=ops.PoisonPolicy(plant.settings.poison_after, skip_unsent=False))
        assert isinstance(claim, Claim)
        assert plant.step(fetch, claim) is None
        plant.clock.forward(FULL_STORE_DELAY + 1)
    assert plant.part().state is PartState.FETCHING
    assert plant.health.refusals, "nobody here tries another for a while"


def test_nor_is_it_a_look_at_a_task_that_is_not_found(collect, make, no_room):
    plant = collect(count=2)
    plant.clock.forward(120)
    plant.api.script(get_task=lambda _, task: make.refusal(404) if task == "t0" else make.task(1))
    for _ in range(MAX_TASK_FETCHES + 1):
        plant.step(fetch, plant.take())
        plant.clock.forward(FULL_STORE_DELAY + 0.1)
    assert (plant.part().fetch_passes, plant.part().gone) == (0, 0)


def test_what_a_script_does_wrong_is_not_taken_for_a_full_store(collect, make, monkeypatch):
    run = AsyncStore.run

    async def fail(store, command):
        if command.script == "store_content":
            raise ResponseError("Error running script: attempt to index a nil value")
        return await run(store, command)

    monkeypatch.setattr(AsyncStore, "run", fail)
    plant = collect()
    plant.api.script(get_task=page(make))
    with pytest.raises(ResponseError):
        plant.step(fetch, plant.take())


def test_nor_of_one_whose_job_goes_on(plant, make, no_room):
    plant.begin(early=True)
    plant.buy()
    job = make.job("pending", tasks=["success", "pending"])
    plant.api.script(get_job=job, get_task=page(make))
    for _ in range(plant.settings.poison_after + 2):
        claim = plant.claim(poison=ops.PoisonPolicy(plant.settings.poison_after, skip_unsent=False))
        assert isinstance(claim, Claim)
        plant.step(poll, claim)
        plant.clock.forward(60)
    assert plant.part().state is PartState.RUNNING


def test_a_turn_that_is_over_publishes_for_the_next_one_and_is_not_published_for_twice(collect, make, monkeypatch):
    plant = collect()
    monkeypatch.setattr(collecting, "_SLICE", 0.02)
    plant.settings = plant.settings.model_copy(update={"fetch_concurrency": 1})

    async def slowly(_, task_id):
        await asyncio.sleep(0.03)
        return make.task(int(task_id[1:]))

    plant.api.script(get_task=slowly)
    assert plant.step(fetch, plant.take()) == StepMessage(routing.FETCH_TASKS, ("r:0",))
    assert 0 < len(asked(plant)) < 4
    for _ in range(10):
        plant.clock.forward(10)
        assert plant.look().parts == (), "a step message waits for long where there is a backlog"
    plant.clock.forward(30)
    assert [part.part_id for part in plant.look().parts] == [PART_ID], "a step message that was lost"
    while plant.part().state is not PartState.DONE:
        plant.step(fetch, plant.take())
    assert asked(plant) == ["t0", "t1", "t2", "t3"]
