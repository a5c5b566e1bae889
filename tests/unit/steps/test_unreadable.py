"""Answers that are the API's own and cannot be read: a few attempts, far apart, and nothing that was served is lost."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import AsyncAPITooLargeError, AsyncAPIUnparsableResponseError, JobLostError
from scrape_do_celery.polling import RETENTION
from scrape_do_celery.rules.fetch import JOB_NOTE, UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL, UNREADABLE_RECHECK
from scrape_do_celery.runs import RunHandle, StepMessage, retry_failed
from scrape_do_celery.runtime.collecting import fetch
from scrape_do_celery.store import PartId, PartState, ops
from scrape_do_celery.store.codec import pack
from scrape_do_celery.tasks.poll import poll

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)
BODY = b'{"TaskID": "t1", "Status": ["success"], "Content": "<html>"}'


def unreadable(body=BODY, *, own=True):
    error = AsyncAPIUnparsableResponseError("GET /x: 200, but unreadable: Status", 200, body[:9].decode(), own)
    error.body = body
    return error


def too_large():
    return AsyncAPITooLargeError("GET /x: 200, but too large", 200, "", False, 64_000_000)


@pytest.fixture
def size():
    return 3


def one_bad(make, error, bad="t1"):
    return lambda _, task_id: error if task_id == bad else make.task(int(task_id[1:]))


def stored(step_harness):
    return step_harness.run(ops.contents(step_harness.keys, PART_ID, range(3)))


def asked(step_harness):
    return sorted(task_id for _, task_id in step_harness.api.called("get_task"))


def wait(step_harness):
    return step_harness.due_times()["r:0"]


def test_a_task_that_cannot_be_read_waits_by_itself_and_is_kept_as_it_came(collecting, make):
    collecting.api.script(get_task=one_bad(make, unreadable()))
    # The first answer is asked for again soon, and then more rarely. Those answers are no further attempts.
    soon = [(1, UNREADABLE_RECHECK * 2**n - (n > 0) * UNREADABLE_RECHECK * 2 ** (n - 1)) for n in range(7)]
    last = UNREADABLE_INTERVAL - UNREADABLE_RECHECK * 2**6
    for attempts, seconds in [*soon, (1, last), *((n, UNREADABLE_INTERVAL) for n in range(2, UNREADABLE_ATTEMPTS))]:
        assert collecting.run_step(fetch, collecting.claim_part()) is None
        part = collecting.part()
        assert (part.stored_ok, part.notes[1].attempts, part.fetch_passes) == (2, attempts, 0)
        assert wait(collecting) == pytest.approx(seconds, abs=10)
        assert "unreadable" in RunHandle("r", app_context=collecting.app_context).status.waiting_for
        collecting.clock.forward(wait(collecting) + 1)
    assert collecting.run_step(fetch, collecting.claim_part()) == AGGREGATE
    assert asked(collecting) == ["t0", *["t1"] * (UNREADABLE_ATTEMPTS + 7), "t2"]
    task = stored(collecting)[1]
    assert (task.status, task.unreadable, task.gone, task.content) == ("error", True, False, BODY.decode())
    assert "unreadable" in task.error_message
    part = collecting.part()
    assert (part.outcome, part.stored_ok, part.stored_failed, part.gone) == ("succeeded", 2, 1, 0)


def test_a_message_that_comes_too_soon_asks_for_nothing(collecting, make):
    collecting.api.script(get_task=one_bad(make, unreadable()))
    for seconds in (UNREADABLE_RECHECK, 1):
        collecting.run_step(fetch, collecting.claim_part())
        collecting.clock.forward(seconds)
        collecting.set_fields(due_at=0)
    collecting.run_step(fetch, collecting.claim_part())
    assert asked(collecting) == ["t0", "t1", "t1", "t2"]
    assert collecting.part().api_error is not None
    assert wait(collecting) > 1


def test_one_answer_of_no_use_costs_seconds_only(collecting, make):
    collecting.api.script(get_task=one_bad(make, unreadable()))
    collecting.run_step(fetch, collecting.claim_part())
    collecting.clock.forward(wait(collecting))
    collecting.api.script(get_task=one_bad(make, None, bad=""))
    assert collecting.run_step(fetch, collecting.claim_part()) == AGGREGATE
    assert collecting.part().stored_ok == 3


def test_a_task_that_can_be_read_in_time_is_a_page(collecting, make):
    collecting.api.script(get_task=one_bad(make, unreadable()))
    collecting.run_step(fetch, collecting.claim_part())
    collecting.clock.forward(UNREADABLE_INTERVAL + 1)
    collecting.api.script(get_task=one_bad(make, None, bad=""))
    assert collecting.run_step(fetch, collecting.claim_part()) == AGGREGATE
    assert collecting.part().stored_ok == 3


def test_what_is_not_the_apis_own_is_trouble(collecting, make):
    collecting.api.script(get_task=one_bad(make, unreadable(own=False)))
    collecting.run_step(fetch, collecting.claim_part())
    assert (collecting.part().api_failures, collecting.part().notes) == (1, {})
    assert wait(collecting) < 60


def test_a_run_that_is_to_end_does_not_wait_for_ten_minutes(collecting, make):
    collecting.run(ops.request_stop(collecting.keys, "r", "cancel"))
    collecting.api.script(get_task=one_bad(make, unreadable()))
    collecting.run_step(fetch, collecting.claim_part())
    assert wait(collecting) <= collecting.settings.cancel_grace


def test_what_the_api_is_about_to_forget_is_kept_at_once(collecting, make):
    collecting.clock.forward(RETENTION + 7200)
    collecting.api.script(get_task=one_bad(make, unreadable()))
    assert collecting.run_step(fetch, collecting.claim_part()) == AGGREGATE
    assert (stored(collecting)[1].unreadable, collecting.part().gone) == (True, 0)


def test_a_page_that_is_too_large_is_told_at_once_and_hinders_no_other(collecting, make):
    collecting.api.script(get_task=one_bad(make, too_large()))
    assert collecting.run_step(fetch, collecting.claim_part()) == AGGREGATE
    task = stored(collecting)[1]
    assert (task.too_large, task.gone, task.content) == (True, False, None)
    assert "64000000 bytes" in task.error_message
    assert collecting.part().stored_ok == 2


def test_neither_is_bought_again(collecting, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context._current_app", lambda settings: collecting.app)
    answers = {"t0": too_large(), "t1": unreadable(), "t2": make.task(2, status="error")}
    collecting.api.script(get_task=lambda _, task_id: answers[task_id])
    for _ in range(UNREADABLE_ATTEMPTS):
        collecting.run_step(fetch, collecting.claim_part())
        collecting.clock.forward(UNREADABLE_INTERVAL + 1)
    collecting.run(ops.record_outcome(collecting.keys, "r", "succeeded", {}))
    again = retry_failed("r")
    spec = collecting.run(ops.spec(collecting.keys, again.run_id, 1))
    assert spec.request.targets == make.urls(1, start=2)


# Jobs


def test_a_job_that_cannot_be_read_is_collected_by_the_ids_of_its_purchase(running, make):
    running.api.script(get_job=unreadable(), get_task=lambda _, i: make.task(int(i[1:])))
    looks = 0
    while running.part().state is PartState.RUNNING:
        answer = running.run_step(poll, running.claim_part())
        looks += 1
        running.clock.forward(40)
    assert looks >= (UNREADABLE_ATTEMPTS - 1) * UNREADABLE_INTERVAL / 41
    assert answer == AGGREGATE
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 3)


def test_its_last_answer_that_could_be_read_is_used(running, make):
    running.api.script(get_job=make.job("pending", 3))
    running.run_step(poll, running.claim_part())
    running.api.script(get_job=unreadable(), get_task=make.refusal(410))
    for _ in range(UNREADABLE_ATTEMPTS):
        running.clock.forward(UNREADABLE_INTERVAL + 1)
        running.run_step(poll, running.claim_part())
    assert running.part().outcome == "failed"
    assert [task.url for task in stored(running)] == make.urls(3)


def test_an_answer_that_can_be_read_forgives_the_others(running, make):
    running.api.script(get_job=[unreadable(), make.job("pending", 3), unreadable()])
    for attempts in (1, 0, 1):
        running.run_step(poll, running.claim_part())
        note = running.part().notes.get(JOB_NOTE)
        assert (note.attempts if note else 0) == attempts
        running.clock.forward(UNREADABLE_INTERVAL + 1)


def test_a_job_without_any_id_is_lost_and_its_answer_is_kept(running):
    running.set_fields(tasks=pack([]))
    running.api.script(get_job=unreadable(b'{"JobID": "job-r-0", "Status": 7}'))
    for _ in range(UNREADABLE_ATTEMPTS):
        answer = running.run_step(poll, running.claim_part())
        running.clock.forward(UNREADABLE_INTERVAL + 1)
    assert answer == AGGREGATE
    part = running.part()
    assert part.outcome == "lost"
    assert isinstance(part.error, JobLostError)
    assert "cannot be used" in str(part.error)
    running.run(ops.record_outcome(running.keys, "r", "lost", {}))
    (kept,) = RunHandle("r", app_context=running.app_context).iter_tasks(partial=True)
    assert (kept.unreadable, kept.content) == (True, '{"JobID": "job-r-0", "Status": 7}')


def test_a_job_that_cannot_be_read_before_it_is_forgotten_is_lost(running):
    running.api.script(get_job=unreadable())
    running.clock.forward(RETENTION + 7200)
    assert running.run_step(poll, running.claim_part()) == AGGREGATE
    assert running.part().outcome == "lost"


def test_attempts_are_counted(running):
    running.api.script(get_job=unreadable())

    async def counted(context, claim):
        await poll(context, claim)
        return context.rate_limiter.counters.drain().get("unreadable:job")

    assert running.run_step(counted, running.claim_part()) == 1
    running.clock.forward(60)
    assert running.run_step(counted, running.claim_part()) is None
