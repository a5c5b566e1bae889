"""Test that each page is stored on arrival and only once, and that the part ends after its last page."""

from __future__ import annotations

import asyncio

import pytest
from redis.exceptions import RedisError, ResponseError

from scrape_do_celery import routing
from scrape_do_celery.errors import APIConnectionError, StoreUnavailableError
from scrape_do_celery.models import JobFailedError
from scrape_do_celery.rules.fetch import UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL
from scrape_do_celery.rules.polling import MAX_TASK_FETCHES, NOT_FOUND_GRACE, RETENTION
from scrape_do_celery.runs import RunHandle, StepMessage
from scrape_do_celery.steps import fetch_task
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.store_health import FULL_STORE_DELAY
from scrape_do_celery.store import CANCEL, AsyncStore, Claim, PartId, PartState
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.parts import PoisonPolicy, ReadJob, UpdatePart
from scrape_do_celery.store.commands.runs import RecordOutcome, RequestStop
from tests.unit.steps.conftest import HOUR, start_fetching

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)


@pytest.fixture
def collect(step_harness, make):
    """Return a run whose job has ended, and whose pages are not fetched yet."""

    def begin(job=None, count=4):
        step_harness.create_run(targets=count)
        step_harness.make_running(state=PartState.FETCHING)
        claim = step_harness.claim_part()
        step_harness.run(UpdatePart(claim, {}, job=job or make.job("success", count), after=0.0))
        return step_harness

    return begin


def page(make, **fields):
    return lambda _, task_id: make.task(int(task_id[1:]), **fields)


def stored(step_harness, count=4):
    return step_harness.run(ReadContents(PART_ID, range(count)))


def asked(step_harness):
    return sorted(task_id for _, task_id in step_harness.api.called("get_task"))


def cancel_running_job(step_harness, make):
    """Return a run whose job was canceled while its second task was running."""
    step_harness.create_run()
    step_harness.make_running()
    step_harness.run(RequestStop("r", "cancel"))
    step_harness.api.script(get_job=make.job("canceled", tasks=["success", "pending"]), get_task=make.refusal(500))
    step_harness.run_step(cancel_part, step_harness.claim_part())
    step_harness.api.calls.clear()


def test_the_cost_of_fetched_tasks_is_learned(collect, make):
    step_harness = collect()
    step_harness.set_fields(account=step_harness.account)
    step_harness.api.script(get_task=page(make, scrape_do_metadata={"Request-Cost": "30"}))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    prices = step_harness.fields(step_harness.keys.prices(step_harness.account))
    assert {key: text.split()[1:] for key, text in prices.items()} == {"shop.example": ["30000=4"]}


def test_all_tasks_are_fetched_and_the_part_ends(collect, make):
    step_harness = collect()
    step_harness.api.script(get_task=page(make))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert stored(step_harness) == [make.task(n) for n in range(4)]
    part = step_harness.part()
    assert (part.state, part.outcome, part.stored_ok, part.error) == (PartState.DONE, "succeeded", 4, None)
    assert asked(step_harness) == ["t0", "t1", "t2", "t3"]


def test_stored_page_is_not_fetched_again(collect, make):
    step_harness = collect()
    cut = APIConnectionError("cut", "GET", "/x", "ReadError")
    step_harness.api.script(get_task=lambda _, task_id: cut if task_id in {"t1", "t3"} else make.task(int(task_id[1:])))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
    part = step_harness.part()
    assert (part.state, part.stored_ok, part.api_failures, part.fetch_passes) == (PartState.FETCHING, 2, 1, 0)
    assert step_harness.due_times()["r:0"] > 0
    step_harness.clock.forward(5)
    step_harness.api.calls.clear()
    step_harness.api.script(get_task=page(make))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness) == ["t1", "t3"]


def test_fetch_resumes_at_the_next_missing_page(collect, make):
    step_harness = collect()
    step_harness.store_content(position=0)
    step_harness.store_content(position=2)
    step_harness.claim_part(seconds=30)
    step_harness.clock.forward(31)
    step_harness.api.script(get_task=page(make))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert asked(step_harness) == ["t1", "t3"]


@pytest.mark.parametrize("status", [404, 410])
def test_a_task_that_is_gone_is_data(collect, make, status):
    step_harness = collect()
    step_harness.clock.forward(100)
    step_harness.api.script(get_task=lambda _, i: make.refusal(status) if i == "t1" else make.task(int(i[1:])))
    # A 404 may be temporary, so only the fifth one in a row counts.
    for _ in range(4 if status == 404 else 0):
        assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
        step_harness.clock.forward(60)
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    gone = stored(step_harness)[1]
    assert (gone.gone, gone.status, gone.url) == (True, "error", "https://shop.example/1")
    assert str(status) in gone.error_message
    part = step_harness.part()
    assert (part.outcome, part.stored_ok, part.stored_failed, part.gone) == ("succeeded", 3, 1, 1)


def test_task_not_found_yet_is_fetched_again(collect, make):
    step_harness = collect()
    step_harness.api.script(get_task=lambda _, i: make.refusal(404) if i == "t1" else make.task(int(i[1:])))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
    assert (step_harness.part().fetch_passes, step_harness.part().api_failures, step_harness.part().stored_ok) == (
        0,
        0,
        3,
    )
    assert step_harness.due_times()["r:0"] > 0
    step_harness.clock.forward(5)
    step_harness.api.script(get_task=page(make))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE


def test_task_that_does_not_end_is_fetched_five_times(collect, make):
    step_harness = collect()
    step_harness.api.script(get_task=lambda _, i: make.task(int(i[1:]), status="rotating" if i == "t1" else "success"))
    for looks in range(1, MAX_TASK_FETCHES):
        assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
        assert step_harness.part().fetch_passes == looks
        step_harness.clock.forward(100)
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness).count("t1") == MAX_TASK_FETCHES
    given_up = stored(step_harness)[1]
    assert (given_up.status, given_up.gone, given_up.given_up, given_up.content) == ("error", False, True, "<html>")
    assert "rotating" in given_up.error_message


def test_a_page_in_broken_base64_is_kept_as_it_came(collect, make):
    step_harness = collect(count=1)
    step_harness.api.script(get_task=make.task(0, content="QU*D\nRE", base64_encoded_content=True))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    (task,) = stored(step_harness, 1)
    assert task.content == "QU*D\nRE"
    with pytest.raises(ValueError, match="base64"):
        task.decoded_content()


def test_job_without_a_summary_gets_one_from_its_tasks(collect, make):
    step_harness = collect(make.job("success", 4, summary=False))
    order = [3, 1, 0, 2]
    step_harness.api.script(
        get_task=lambda _, i: make.task(int(i[1:]), url=f"https://shop.example/{order[int(i[1:])]}")
    )
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    job = step_harness.run(ReadJob(PART_ID))
    assert [(task.task_id, task.url[-1], task.status) for task in job.tasks] == [
        *(("t0", "3", "success"), ("t1", "1", "success")),
        *(("t2", "0", "success"), ("t3", "2", "success")),
    ]
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    result = RunHandle("r", app_context=step_harness.app_context).result()
    assert [task.url for task in result.tasks] == make.urls(4)
    assert result.order_verified


def test_fetches_only_paid_tasks_of_a_canceled_job(collect, make):
    step_harness = collect(make.job("canceled", tasks=["success", "canceled", "error", "success"]))
    step_harness.api.script(get_task=page(make))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness) == ["t0", "t3"]
    assert step_harness.part().outcome == "canceled"


def test_a_summary_names_only_what_is_known(collect, make):
    job = make.job("canceled", tasks=["success", "canceled", "canceled", "canceled"])
    step_harness = collect(job.model_copy(update={"tasks": job.tasks[:1]}))
    stopped = {"status": "canceled", "content": None}
    step_harness.api.script(get_task=lambda _, i: make.task(int(i[1:]), **({} if i == "t0" else stopped)))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness) == ["t0", "t1", "t2", "t3"]
    assert step_harness.part().stored_ok + step_harness.part().stored_failed == 1
    assert [task.task_id for task in step_harness.run(ReadJob(PART_ID)).tasks] == ["t0"]


def test_fetches_all_tasks_of_a_canceled_job_without_summaries(collect, make):
    step_harness = collect(make.job("canceled", 2, summary=False), count=2)
    step_harness.api.script(get_task=page(make, status="canceled"))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert asked(step_harness) == ["t0", "t1"]


def test_a_job_that_failed_keeps_its_pages_and_its_error(collect, make):
    step_harness = collect(make.job("error", tasks=["success", "error", "error", "success"]))
    step_harness.api.script(
        get_task=lambda _, i: make.task(int(i[1:]), status="error" if i in {"t1", "t2"} else "success")
    )
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    part = step_harness.part()
    assert (part.outcome, part.stored_ok, part.stored_failed) == ("failed", 2, 2)
    assert isinstance(part.error, JobFailedError)
    assert part.error.counts == {"failed": 2, "canceled": 0, "total": 4}
    assert part.error.job.status == "error"


def test_429_stops_the_pass_at_once(collect, make, settings):
    step_harness = collect(count=50, job=make.job("success", 50))
    step_harness.settings = settings.model_copy(update={"fetch_concurrency": 1})
    answers = [make.task(0), make.refusal(429, 30.0)]
    step_harness.api.script(get_task=lambda *_: answers.pop(0))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
    assert len(asked(step_harness)) == 2
    assert step_harness.part().stored_ok == 1
    step_harness.create_run("other")
    assert step_harness.try_claim_part("other") is None


def test_no_more_are_fetched_at_once_than_set(collect, make, settings):
    step_harness = collect(count=30, job=make.job("success", 30))
    step_harness.settings = settings.model_copy(update={"fetch_concurrency": 3})
    now, most = 0, 0

    async def slowly(task_id):
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.001)
        now -= 1
        return make.task(int(task_id[1:]))

    step_harness.api.script(get_task=lambda _, task_id: slowly(task_id))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert most == 3


def test_stopped_run_does_not_fetch_for_ever(collect, make):
    step_harness = collect()
    step_harness.run(RequestStop("r", "deadline"))
    step_harness.api.script(get_task=lambda _, i: make.refusal(500) if i == "t1" else make.task(int(i[1:])))
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
    assert step_harness.due_times()["r:0"] <= step_harness.settings.cancel_grace
    step_harness.clock.forward(3 * step_harness.settings.cancel_grace)
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert (step_harness.part().outcome, step_harness.part().stored_ok) == ("timed_out", 3)


@pytest.mark.parametrize("status", [400, 406, 422])
def test_refused_task_is_given_up_after_five_attempts(collect, make, status):
    step_harness = collect()
    step_harness.api.script(get_task=lambda _, i: make.refusal(status) if i == "t1" else make.task(int(i[1:])))
    for attempts in range(1, UNREADABLE_ATTEMPTS):
        assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
        assert (step_harness.part().notes[1].attempts, step_harness.part().fetch_passes) == (attempts, 0)
        step_harness.clock.forward(UNREADABLE_INTERVAL + 1)
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    refused = stored(step_harness)[1]
    assert (refused.gone, refused.status) == (True, "error")
    assert str(status) in refused.error_message


@pytest.mark.parametrize("status", [401, 403, 408, 425, 500])
def test_refusal_not_about_the_task_is_retried(collect, make, status):
    step_harness = collect()
    step_harness.clock.forward(100)
    step_harness.api.script(get_task=make.refusal(status), get_user_info=make.refusal(status))
    for troubles in range(1, MAX_TASK_FETCHES + 2):
        step_harness.redis.delete(step_harness.keys.breaker(step_harness.account))
        assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
        assert (step_harness.part().api_failures, step_harness.part().fetch_passes) == (troubles, 0)
        step_harness.clock.forward(40)
    assert stored(step_harness) == [None] * 4


def test_progress_clears_the_error(collect, make):
    step_harness = collect()
    step_harness.api.script(get_task=make.refusal(408))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().refused_since is not None
    step_harness.clock.forward(40)
    step_harness.api.script(get_task=lambda _, i: make.task(int(i[1:]), status="pending"))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert (step_harness.part().api_failures, step_harness.part().refused_since) == (0, None)


def test_fetching_part_without_a_job_is_an_error(step_harness):
    step_harness.create_run()
    step_harness.make_running(state=PartState.FETCHING)
    with pytest.raises(LookupError, match="r:0"):
        step_harness.run_step(fetch_part, step_harness.claim_part())


def test_a_job_without_tasks_ends_at_once(collect, make):
    step_harness = collect(make.job("success", 0), count=1)
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == AGGREGATE
    assert step_harness.api.calls == []
    assert step_harness.part().outcome == "succeeded"


def test_a_store_that_is_away_stops_the_pass(collect, make):
    step_harness = collect()
    step_harness.api.script(get_task=page(make))
    with pytest.raises((RedisError, ExceptionGroup)):
        step_harness.run_step(fetch_part, step_harness.claim_part(), broken="store_content", times=99)
    assert step_harness.part().state is PartState.FETCHING
    assert stored(step_harness) == [None] * 4


def test_a_run_that_was_forgotten_meanwhile_is_left_alone(collect, make):
    step_harness = collect()
    claim = step_harness.claim_part()

    def forgotten(_, task_id):
        step_harness.redis.delete(step_harness.keys.part(PartId("r", 0)), step_harness.keys.run("r"))
        return make.task(int(task_id[1:]))

    step_harness.api.script(get_task=forgotten)
    assert step_harness.run_step(fetch_part, claim) is None
    assert not step_harness.redis.exists(step_harness.keys.contents(PartId("r", 0)))


FORGOTTEN = RETENTION + 2 * 3600


def test_nothing_is_fetched_into_a_full_store(collect):
    step_harness = collect()
    step_harness.health.used = 0.96
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) is None
    assert step_harness.api.called("get_task") == []
    assert step_harness.part().state is PartState.FETCHING
    assert 0 < step_harness.due_times()["r:0"] <= 5


def test_task_past_its_retention_does_not_keep_the_run(collect, make):
    """End the run three days after the purchase, although the task still answers 500."""
    step_harness = collect()
    step_harness.api.script(get_task=make.refusal(500))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().state is PartState.FETCHING
    step_harness.clock.forward(FORGOTTEN)
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().state is PartState.DONE
    assert step_harness.part().gone == 4


@pytest.fixture
def no_room(monkeypatch):
    """Fill the store, whose user may not read its memory usage. Tasks that are gone can still be recorded."""
    run = AsyncStore.run

    async def refuse(store, command):
        if command.script == "store_content" and not command.task.gone:
            raise StoreUnavailableError("the store: OOM command not allowed", "OOM")
        return await run(store, command)

    monkeypatch.setattr(AsyncStore, "run", refuse)


def test_full_store_does_not_fail_the_run(collect, make, no_room):
    step_harness = collect()
    step_harness.api.script(get_task=page(make))
    for _ in range(step_harness.settings.poison_after + 2):
        claim = step_harness.try_claim_part(poison=PoisonPolicy(step_harness.settings.poison_after, skip_unsent=False))
        assert isinstance(claim, Claim)
        assert step_harness.run_step(fetch_part, claim) is None
        step_harness.clock.forward(FULL_STORE_DELAY + 1)
    assert step_harness.part().state is PartState.FETCHING
    assert step_harness.health.refusals, "nobody here tries another for a while"


def test_full_store_does_not_count_as_a_fetch_attempt(collect, make, no_room):
    step_harness = collect(count=2)
    step_harness.clock.forward(120)
    step_harness.api.script(get_task=lambda _, task: make.refusal(404) if task == "t0" else make.task(1))
    for _ in range(MAX_TASK_FETCHES + 1):
        step_harness.run_step(fetch_part, step_harness.claim_part())
        step_harness.clock.forward(FULL_STORE_DELAY + 0.1)
    assert (step_harness.part().fetch_passes, step_harness.part().gone) == (0, 0)


def test_script_error_is_not_taken_for_a_full_store(collect, make, monkeypatch):
    run = AsyncStore.run

    async def fail(store, command):
        if command.script == "store_content":
            raise ResponseError("Error running script: attempt to index a nil value")
        return await run(store, command)

    monkeypatch.setattr(AsyncStore, "run", fail)
    step_harness = collect()
    step_harness.api.script(get_task=page(make))
    with pytest.raises(ResponseError):
        step_harness.run_step(fetch_part, step_harness.claim_part())


def test_full_store_does_not_poison_an_early_fetch(step_harness, make, no_room):
    step_harness.create_run(early=True)
    step_harness.make_running()
    job = make.job("pending", tasks=["success", "pending"])
    step_harness.api.script(get_job=job, get_task=page(make))
    for _ in range(step_harness.settings.poison_after + 2):
        claim = step_harness.try_claim_part(poison=PoisonPolicy(step_harness.settings.poison_after, skip_unsent=False))
        assert isinstance(claim, Claim)
        step_harness.run_step(poll_part, claim)
        step_harness.clock.forward(60)
    assert step_harness.part().state is PartState.RUNNING


def test_end_of_a_slice_publishes_one_message(collect, make, monkeypatch):
    step_harness = collect()
    monkeypatch.setattr(fetch_task, "SLICE", 0.02)
    step_harness.settings = step_harness.settings.model_copy(update={"fetch_concurrency": 1})

    async def slowly(_, task_id):
        await asyncio.sleep(0.03)
        return make.task(int(task_id[1:]))

    step_harness.api.script(get_task=slowly)
    assert step_harness.run_step(fetch_part, step_harness.claim_part()) == StepMessage(routing.FETCH_TASKS, ("r:0",))
    assert 0 < len(asked(step_harness)) < 4
    for _ in range(10):
        step_harness.clock.forward(10)
        assert step_harness.claim_due().parts == (), "a step message waits for long where there is a backlog"
    step_harness.clock.forward(30)
    assert [part.part_id for part in step_harness.claim_due().parts] == [PART_ID], "a step message that was lost"
    while step_harness.part().state is not PartState.DONE:
        step_harness.run_step(fetch_part, step_harness.claim_part())
    assert asked(step_harness) == ["t0", "t1", "t2", "t3"]


def test_page_with_lone_surrogate_is_stored(step_harness, make):
    start_fetching(step_harness, make, 1)
    step_harness.api.script(get_task=make.task(0, content="<p>\ud800</p>"))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().outcome == "succeeded"


def test_error_message_with_lone_surrogate_is_stored(step_harness, make):
    start_fetching(step_harness, make, 1)
    step_harness.api.script(get_task=make.task(0, content="<p>", error_message="\ud800"))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().outcome == "succeeded"


def test_store_outage_during_a_fetch_raises_redis_error(step_harness, make):
    start_fetching(step_harness, make, 4)
    step_harness.api.script(get_task=lambda _, i: make.task(int(i[1:])))
    with pytest.raises(RedisError):
        step_harness.run_step(fetch_part, step_harness.claim_part(), broken="store_content", times=99)


def test_partial_progress_clears_api_failures(step_harness, make):
    start_fetching(step_harness, make, 2)
    step_harness.api.script(get_task=lambda _, i: make.refusal(500) if i == "t1" else make.task(0))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    step_harness.clock.forward(1000)
    step_harness.api.script(get_task=make.refusal(401), get_user_info=make.refusal(401))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().state is PartState.FETCHING


def test_single_404_does_not_mark_a_task_gone(step_harness, make):
    start_fetching(step_harness, make)
    step_harness.clock.forward(61)
    step_harness.api.script(get_task=make.refusal(404))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert (step_harness.part().state, step_harness.part().gone) == (PartState.FETCHING, 0)


def test_task_is_gone_only_after_the_not_found_grace(step_harness, make):
    start_fetching(step_harness, make)
    step_harness.clock.forward(HOUR)
    step_harness.api.script(get_task=make.refusal(404))
    began = step_harness.clock.time()
    while step_harness.part().state is PartState.FETCHING:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.05)
        step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().gone == 2
    assert step_harness.clock.time() - began > NOT_FOUND_GRACE


def test_fetch_attempts_are_counted_per_task(step_harness, make):
    start_fetching(step_harness, make)
    step_harness.clock.forward(61)
    step_harness.api.script(get_task=lambda _, t: make.task(0, status="pending") if t == "t0" else make.refusal(429))
    for _ in range(4):
        step_harness.run_step(fetch_part, step_harness.claim_part())
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.1)
    step_harness.api.script(get_task=lambda _, t: make.task(0) if t == "t0" else make.refusal(404))
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().gone == 0


def test_page_finished_while_its_job_was_canceled_is_fetched(step_harness, make):
    cancel_running_job(step_harness, make)
    step_harness.api.script(get_task=lambda _, task_id: make.task(int(task_id[1:])))
    step_harness.clock.forward(6)
    step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.part().stored_ok == 2


def test_pending_task_of_a_canceled_job_is_fetched_twice(step_harness, make):
    cancel_running_job(step_harness, make)
    goes_on = make.task(1, status="pending", content=None)
    step_harness.api.script(get_task=lambda _, t: make.task(0) if t == "t0" else goes_on)
    while step_harness.part().state is PartState.FETCHING:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.1)
        step_harness.run_step(fetch_part, step_harness.claim_part())
    assert step_harness.api.called("get_task").count(["job-r-0", "t1"]) == 2
    part = step_harness.part()
    assert (part.outcome, part.stored_ok, part.stored_failed, part.gone) == ("canceled", 1, 0, 0)


def test_end_of_a_slice_loses_no_page(step_harness, make, monkeypatch):
    monkeypatch.setattr(fetch_task, "SLICE", 0.1)
    step_harness.create_run("r", 40)
    step_harness.make_running("r")
    step_harness.clock.forward(2)
    claim = step_harness.claim_part("r")
    step_harness.run(UpdatePart(claim, {}, to="fetching", after=0.0, job=make.job("success", count=40)))
    step_harness.run(RequestStop("r", CANCEL))
    step_harness.claim_part("r", seconds=0.0)
    step_harness.clock.forward(2 * step_harness.settings.cancel_grace + 1)

    async def page(_, task_id):
        await asyncio.sleep(0.15)
        return make.task(int(task_id[1:]))

    step_harness.api.script(get_task=page)
    while step_harness.part("r").state is PartState.FETCHING:
        step_harness.run_step(fetch_part, step_harness.claim_part("r"))
    assert step_harness.part("r").stored_ok == 40


def test_429_of_an_early_fetch_pauses_all_workers(step_harness, make):
    step_harness.create_run("r", 60, early=True)
    step_harness.make_running("r")
    step_harness.clock.forward(2)
    step_harness.api.script(get_job=make.job("pending", tasks=["success"] * 60), get_task=make.refusal(429, 120.0))
    step_harness.run_step(poll_part, step_harness.claim_part("r"))
    assert step_harness.redis.get("p:pause")
    assert len(step_harness.api.called("get_task")) < 10


def test_401_of_an_early_fetch_opens_the_breaker(step_harness, make):
    step_harness.create_run("r", 60, early=True)
    step_harness.make_running("r")
    step_harness.clock.forward(2)
    step_harness.api.script(get_job=make.job("pending", tasks=["success"] * 60), get_task=make.refusal(401))
    step_harness.api.script(get_user_info=make.refusal(401))
    step_harness.run_step(poll_part, step_harness.claim_part("r"))
    assert step_harness.redis.exists(step_harness.keys.breaker(step_harness.account))
    assert len(step_harness.api.called("get_user_info")) == 1
