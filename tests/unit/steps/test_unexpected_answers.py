"""Test jobs and tasks that end in odd ways: paid pages are fetched, and the run ends before the API's retention."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIResponseError,
    AsyncAPITooLargeError,
    AsyncAPIUnparsableResponseError,
)
from scrape_do_celery.rules.lifecycle import UNKNOWN_STATUS_TIMEOUT
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.runs import RunHandle, StepMessage
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.fetch_task import FetchPass, fetch_task
from scrape_do_celery.steps.leases import LeaseLostError
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.runs import RecordOutcome, RequestStop

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)
BODY = b'{"TaskID": "t1", "Status": ["success"], "Content": "<html>"}'
STALLED = UNKNOWN_STATUS_TIMEOUT + 1


def answer(status, error="no"):
    return AsyncAPIResponseError.for_status(status)(f"GET /x: {status}", status, error, None, None, "")


def unreadable(body=BODY):
    error = AsyncAPIUnparsableResponseError("GET /x: 200, but unreadable: Status", 200, "", True)
    error.body = body
    return error


def too_large():
    return AsyncAPITooLargeError("GET /x: 200, but too large", 200, "", False, 64_000_000)


@pytest.fixture
def size():
    return 3


def pages(make, **others):
    return lambda _, task_id: others.get(task_id) or make.task(int(task_id[1:]))


def stored(step_harness):
    return step_harness.run(ReadContents(PART_ID, range(3)))


def asked(step_harness, task_id):
    return [one for _, one in step_harness.api.called("get_task")].count(task_id)


def poll_on(step_harness, times=10, seconds=STALLED):
    """Poll up to `times` more times, each `seconds` later. Return the last poll's answer."""
    message = step_harness.run_step(poll_part, step_harness.claim_part())
    for _ in range(times):
        if message is not None:
            break
        step_harness.clock.forward(seconds)
        message = step_harness.run_step(poll_part, step_harness.claim_part())
    return message


def end_on_stop_request(step_harness, stop_reason="cancel"):
    step_harness.run(RequestStop("r", stop_reason))
    for _ in range(20):
        part = step_harness.part()
        if part.state is PartState.DONE:
            break
        step = (
            fetch_part
            if part.state is PartState.FETCHING
            else cancel_part
            if part.cancel_sent_at is None
            else poll_part
        )
        step_harness.run_step(step, step_harness.claim_part())
        step_harness.clock.forward(70)
    return step_harness.part()


# Jobs with an unknown status that do not change


@pytest.mark.parametrize(
    ("bad", "field"), [(too_large(), "too_large"), (unreadable(), "unreadable"), (answer(410), "gone")]
)
def test_bad_task_does_not_keep_a_stalled_job_open(running, make, bad, field):
    running.api.script(get_job=make.job("archived", 3, summary=False), get_task=pages(make, t1=bad))
    assert poll_on(running) == AGGREGATE
    assert (running.part().stored_ok, getattr(stored(running)[1], field)) == (2, True)
    assert asked(running, "t1") <= 5


@pytest.mark.parametrize(
    "early", [unreadable(b'{"TaskID": "t1", "Status": null, "Content": null}'), answer(400), answer(404)]
)
def test_an_answer_without_content_may_have_come_too_early(running, make, early):
    running.api.script(get_job=make.job("archived", 3, summary=False), get_task=pages(make, t1=early))
    assert poll_on(running) is None
    running.clock.forward(STALLED)
    running.api.script(get_job=make.job("success", 3), get_task=pages(make))
    assert poll_on(running) == AGGREGATE
    assert running.part().stored_ok == 3


def test_the_order_of_its_tasks_is_no_change(running, make):
    job = make.job("archived", tasks=["success", "pending", "success"])
    turned = job.model_copy(update={"tasks": job.tasks[::-1]})
    running.api.script(get_job=[job, turned, job, turned], get_task=pages(make))
    assert poll_on(running, 2) is None
    assert running.part().stored_ok == 2


def test_moving_future_end_time_is_no_change(running, make):
    job = make.job("archived", tasks=["success", "pending", "success"])

    def moving(_):
        return job.model_copy(update={"end_time": datetime.fromtimestamp(running.clock.time() + 60, UTC)})

    running.api.script(get_job=moving, get_task=pages(make))
    assert poll_on(running, 2) is None
    assert running.part().stored_ok == 2


def test_job_without_all_tasks_is_not_ended_by_some(running, make):
    running.set_fields(tasks=pack([]))
    whole = make.job("archived", tasks=["success", "pending", "pending"])
    first = whole.model_copy(update={"task_ids": ["t0"], "tasks": whole.tasks[:1]})
    running.api.script(get_job=[first, make.job("success", 3)], get_task=pages(make))
    assert poll_on(running, 1, 60) == AGGREGATE
    assert (running.part().stored_ok, running.part().stored_failed) == (3, 0)


def test_equal_targets_may_have_one_task_that_ends_it(step_harness, make):
    step_harness.create_run(each=["https://shop.example/0"] * 3)
    step_harness.make_running()
    step_harness.set_fields(tasks=pack([]))
    step_harness.clock.forward(100)
    step_harness.api.script(get_job=make.job("archived", tasks=["success"]), get_task=pages(make))
    assert poll_on(step_harness, 1, 60) == AGGREGATE
    assert (step_harness.part().stored_ok, step_harness.part().stored_failed) == (1, 0)


# Jobs that go on


def test_oversized_page_is_read_once_while_its_job_runs(early, make):
    early.api.script(
        get_job=make.job("pending", tasks=["success", "success", "pending"]), get_task=pages(make, t1=too_large())
    )
    assert poll_on(early, 3, 60) is None
    assert (asked(early, "t1"), stored(early)[1].too_large) == (1, True)


@pytest.mark.parametrize("bad", [unreadable(), answer(410)])
def test_unreadable_early_task_waits_for_the_end(early, make, bad):
    early.api.script(get_job=make.job("pending", tasks=["success", "success", "pending"]), get_task=pages(make, t1=bad))
    assert poll_on(early, 3, 60) is None
    assert (early.part().notes, early.part().stored_ok, early.part().stored_failed) == ({}, 1, 0)


def test_step_without_a_lease_stores_no_page(early, make):
    early.set_fields(tasks=pack([]))
    job = make.job("pending", tasks=["pending", "success", "pending"])
    part = job.model_copy(update={"task_ids": ["t1"], "tasks": job.tasks[1:2]})

    def late(_):
        early.redis.hincrby(early.keys.part(PartId("r", 0)), "fence", 1)
        return part

    early.api.script(get_job=late, get_task=pages(make))
    with pytest.raises(LeaseLostError):
        early.run_step(poll_part, early.claim_part())
    assert stored(early) == [None] * 3


def read(step_harness):
    step_harness.run(RecordOutcome("r", step_harness.part().outcome, {}))
    return [task.task_id for task in RunHandle("r", app_context=step_harness.app_context).iter_tasks()]


def test_pages_that_a_step_stored_before_it_died_are_found(early, make):
    dies = {"t0": make.task(0), "t1": RuntimeError("dies")}
    early.api.script(
        get_job=make.job("pending", tasks=["success", "success", "pending"]), get_task=lambda _, i: dies[i]
    )
    with pytest.raises(RuntimeError):
        early.run_step(poll_part, early.claim_part())
    early.clock.forward(60)
    early.api.script(get_job=answer(410))
    assert early.run_step(poll_part, early.claim_part()) == AGGREGATE
    assert read(early) == ["t0"]


def test_pages_are_found_though_later_answers_name_fewer_tasks(running, make):
    job = make.job("archived", tasks=["success", "pending", "success"])
    running.api.script(get_job=job, get_task=pages(make))
    assert poll_on(running, 2) is None
    fewer = job.model_copy(update={"status": "pending", "task_ids": ["t2"], "tasks": job.tasks[2:]})
    running.api.script(get_job=[fewer, answer(410)])
    running.clock.forward(60)
    assert poll_on(running, 1) == AGGREGATE
    assert (running.part().outcome, read(running)) == ("lost", ["t0", "t2"])


# Runs with a stop request


@pytest.mark.parametrize(("stop_reason", "outcome"), [("cancel", "canceled"), ("deadline", "timed_out")])
def test_unreadable_job_is_canceled_and_fetched(running, make, stop_reason, outcome):
    stopped = make.task(2, status="canceled", content=None)
    running.api.script(get_job=unreadable(), get_task=pages(make, t2=stopped), cancel_job=unreadable())
    part = end_on_stop_request(running, stop_reason)
    assert (part.outcome, part.stored_ok) == (outcome, 2)
    assert len(running.api.called("cancel_job")) == 1


@pytest.mark.parametrize("readable", [True, False])
def test_pages_of_a_job_that_cannot_be_stopped_are_fetched(running, make, readable):
    job = make.job("pending", tasks=["success", "success", "pending"]) if readable else unreadable()
    goes_on = make.task(2, status="pending", content=None)
    blocked = answer(405, None)
    running.api.script(get_job=job, get_task=pages(make, t2=goes_on), cancel_job=blocked)
    part = end_on_stop_request(running)
    assert (part.outcome, part.stored_ok) == ("canceled", 2)


@pytest.mark.parametrize("stop_reason", ["cancel", "deadline"])
def test_last_pass_of_a_stopped_run_keeps_unreadable_tasks(running, make, stop_reason):
    running.api.script(get_job=make.job("success", 3), get_task=pages(make, t1=unreadable()))
    end_on_stop_request(running, stop_reason)
    assert (running.part().stored_ok, stored(running)[1].unreadable) == (2, True)


def test_unreadable_task_of_a_canceled_job_is_kept(running, make):
    goes_on = make.task(1, status="pending", content=None)
    running.api.script(get_job=make.job("canceled", tasks=["pending"] * 3))
    running.api.script(get_task=pages(make, t0=unreadable(), t1=goes_on, t2=goes_on))
    assert running.run_step(poll_part, running.claim_part()) is None
    for _ in range(10):
        if running.part().state is PartState.DONE:
            break
        running.clock.forward(700)
        running.run_step(fetch_part, running.claim_part())
    assert (running.part().outcome, stored(running)[0].unreadable) == ("canceled", True)


# Accounts


def test_an_account_without_credits_loses_no_page(running, make):
    running.api.script(get_job=make.job("success", 3), get_task=answer(402, "no credits"))
    running.run_step(poll_part, running.claim_part())
    for _ in range(6):
        running.clock.forward(700)
        running.run_step(fetch_part, running.claim_part())
    assert "no credits" in running.part().api_error or "402" in running.part().api_error
    running.api.script(get_task=pages(make))
    running.clock.forward(700)
    assert running.run_step(fetch_part, running.claim_part()) == AGGREGATE
    assert (running.part().stored_ok, running.part().gone) == (3, 0)


# Memory


@pytest.mark.parametrize("own", [True, False])
def test_a_pass_keeps_no_answer_that_was_of_no_use(running, make, own):
    error = AsyncAPIUnparsableResponseError("GET /x: 200, but unreadable", 200, "", own)
    error.body, error.__cause__ = BODY, ValueError("its frames hold the answer")
    running.api.script(get_task=error)
    found = {}

    async def one(context, claim):
        found["pass"] = FetchPass()
        await fetch_task(context, claim, make.job("success", 3), 1, found["pass"])

    running.run_step(one, running.claim_part())
    if own:
        assert found["pass"].unusable.startswith("AsyncAPIUnparsableResponseError: GET /x: 200")
    else:
        kept = found["pass"].trouble
        assert (kept.body, kept.__traceback__, kept.__cause__, kept.__context__) == (b"", None, None, None)


def test_cut_answer_leaves_no_reference_in_the_pass(running, make):
    error = APIConnectionError("GET /x", "DecodingError", "its gzip body ends too early")
    error.__cause__ = ValueError("a frame that holds the answer")
    running.api.script(get_task=error)
    found = {}

    async def one(context, claim):
        found["pass"] = FetchPass()
        await fetch_task(context, claim, make.job("success", 3), 1, found["pass"])

    running.run_step(one, running.claim_part())
    assert (found["pass"].trouble.__cause__, found["pass"].trouble.__traceback__) == (None, None)


def collect_all(step_harness, times=30, seconds=700):
    for _ in range(times):
        if step_harness.part().state is PartState.DONE:
            break
        step_harness.clock.forward(seconds)
        step_harness.run_step(
            poll_part if step_harness.part().state is PartState.RUNNING else fetch_part, step_harness.claim_part()
        )


def sequence(make, *answers):
    left = list(answers)
    return lambda _, i: (left.pop(0) if len(left) > 1 else left[0]) if i == "t1" else make.task(int(i[1:]))


def test_content_missing_from_a_later_answer_is_not_gone(running, make):
    running.api.script(
        get_job=make.job("success", 3),
        get_task=sequence(make, make.task(1, status="rotating"), make.task(1, status="rotating", content=None)),
    )
    collect_all(running)
    assert running.part().gone == 0


def test_content_before_a_410_is_not_gone(running, make):
    running.api.script(
        get_job=make.job("success", 3), get_task=sequence(make, make.task(1, status="rotating"), answer(410))
    )
    collect_all(running)
    assert running.part().gone == 0


def test_raw_answer_before_a_410_is_kept(running, make):
    running.api.script(get_job=make.job("success", 3), get_task=sequence(make, unreadable(), unreadable(), answer(410)))
    collect_all(running)
    assert running.part().gone == 0


def test_one_answer_without_ids_does_not_lose_the_job(running, make):
    running.set_fields(tasks=pack([]))
    bare = make.job("success", 3).model_copy(update={"task_ids": [], "tasks": []})
    running.api.script(get_job=[bare, make.job("success", 3)], get_task=pages(make))
    collect_all(running)
    assert running.part().outcome == "succeeded"


def test_a_job_that_is_pending_for_a_month_ends(running, make):
    running.api.script(get_job=make.job("pending", tasks=["success", "success", "pending"]), get_task=pages(make))
    collect_all(running, 10, RETENTION)
    assert running.part().state is PartState.DONE


def test_deadline_fetches_pages_if_only_the_job_fails(running, make):
    running.api.script(get_job=answer(500), cancel_job=answer(500), get_task=pages(make))
    assert end_on_stop_request(running, "deadline").stored_ok == 3
