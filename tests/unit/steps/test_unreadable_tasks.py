"""Test unreadable answers of the API: a few attempts, far apart, and no served page is lost."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import AsyncAPITooLargeError, AsyncAPIUnparsableResponseError, JobLostError
from scrape_do_celery.rules.fetch import JOB_NOTE, UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL, UNREADABLE_RECHECK
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.runs import RunHandle, StepMessage, retry_failed
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome, RequestStop

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
    return step_harness.run(ReadContents(PART_ID, range(3)))


def asked(step_harness):
    return sorted(task_id for _, task_id in step_harness.api.called("get_task"))


def wait(step_harness):
    return step_harness.due_times()["r:0"]


def test_unreadable_task_is_retried_and_kept_unchanged(fetching, make):
    fetching.api.script(get_task=one_bad(make, unreadable()))
    # The first answer is checked again soon, and then more rarely. Such rechecks are no further attempts.
    soon = [(1, UNREADABLE_RECHECK * 2**n - (n > 0) * UNREADABLE_RECHECK * 2 ** (n - 1)) for n in range(7)]
    last = UNREADABLE_INTERVAL - UNREADABLE_RECHECK * 2**6
    for attempts, seconds in [*soon, (1, last), *((n, UNREADABLE_INTERVAL) for n in range(2, UNREADABLE_ATTEMPTS))]:
        assert fetching.run_step(fetch_part, fetching.claim_part()) is None
        part = fetching.part()
        assert (part.stored_ok, part.notes[1].attempts, part.fetch_passes) == (2, attempts, 0)
        assert wait(fetching) == pytest.approx(seconds, abs=10)
        fetching.note_worker()
        waiting_for = RunHandle("r", app_context=fetching.app_context).status.waiting_for
        assert (waiting_for.kind, "unreadable" in waiting_for.text) == ("api_error", True)
        fetching.clock.forward(wait(fetching) + 1)
    assert fetching.run_step(fetch_part, fetching.claim_part()) == AGGREGATE
    assert asked(fetching) == ["t0", *["t1"] * (UNREADABLE_ATTEMPTS + 7), "t2"]
    task = stored(fetching)[1]
    assert (task.status, task.unreadable, task.gone, task.content) == ("error", True, False, BODY.decode())
    assert "unreadable" in task.error_message
    part = fetching.part()
    assert (part.outcome, part.stored_ok, part.stored_failed, part.gone) == ("succeeded", 2, 1, 0)


def test_a_message_that_comes_too_soon_asks_for_nothing(fetching, make):
    fetching.api.script(get_task=one_bad(make, unreadable()))
    for seconds in (UNREADABLE_RECHECK, 1):
        fetching.run_step(fetch_part, fetching.claim_part())
        fetching.clock.forward(seconds)
        fetching.set_fields(due_at=0)
    fetching.run_step(fetch_part, fetching.claim_part())
    assert asked(fetching) == ["t0", "t1", "t1", "t2"]
    assert fetching.part().api_error is not None
    assert wait(fetching) > 1


def test_one_answer_of_no_use_costs_seconds_only(fetching, make):
    fetching.api.script(get_task=one_bad(make, unreadable()))
    fetching.run_step(fetch_part, fetching.claim_part())
    fetching.clock.forward(wait(fetching))
    fetching.api.script(get_task=one_bad(make, None, bad=""))
    assert fetching.run_step(fetch_part, fetching.claim_part()) == AGGREGATE
    assert fetching.part().stored_ok == 3


def test_task_readable_in_time_is_a_page(fetching, make):
    fetching.api.script(get_task=one_bad(make, unreadable()))
    fetching.run_step(fetch_part, fetching.claim_part())
    fetching.clock.forward(UNREADABLE_INTERVAL + 1)
    fetching.api.script(get_task=one_bad(make, None, bad=""))
    assert fetching.run_step(fetch_part, fetching.claim_part()) == AGGREGATE
    assert fetching.part().stored_ok == 3


def test_answer_not_from_the_api_is_retried(fetching, make):
    fetching.api.script(get_task=one_bad(make, unreadable(own=False)))
    fetching.run_step(fetch_part, fetching.claim_part())
    assert (fetching.part().api_failures, fetching.part().notes) == (1, {})
    assert wait(fetching) < 60


def test_stopped_run_does_not_wait_for_retries(fetching, make):
    fetching.run(RequestStop("r", "cancel"))
    fetching.api.script(get_task=one_bad(make, unreadable()))
    fetching.run_step(fetch_part, fetching.claim_part())
    assert wait(fetching) <= fetching.settings.cancel_grace


def test_task_near_its_retention_is_kept_at_once(fetching, make):
    fetching.clock.forward(RETENTION + 7200)
    fetching.api.script(get_task=one_bad(make, unreadable()))
    assert fetching.run_step(fetch_part, fetching.claim_part()) == AGGREGATE
    assert (stored(fetching)[1].unreadable, fetching.part().gone) == (True, 0)


def test_oversized_page_fails_at_once_and_blocks_no_other(fetching, make):
    fetching.api.script(get_task=one_bad(make, too_large()))
    assert fetching.run_step(fetch_part, fetching.claim_part()) == AGGREGATE
    task = stored(fetching)[1]
    assert (task.too_large, task.gone, task.content) == (True, False, None)
    assert "64000000 bytes" in task.error_message
    assert fetching.part().stored_ok == 2


def test_unreadable_and_oversized_tasks_are_not_retried(fetching, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: fetching.app)
    answers = {"t0": too_large(), "t1": unreadable(), "t2": make.task(2, status="error")}
    fetching.api.script(get_task=lambda _, task_id: answers[task_id])
    for _ in range(UNREADABLE_ATTEMPTS):
        fetching.run_step(fetch_part, fetching.claim_part())
        fetching.clock.forward(UNREADABLE_INTERVAL + 1)
    fetching.run(RecordOutcome("r", "succeeded", {}))
    again = retry_failed("r")
    spec = fetching.run(ReadSpec(again.run_id, 1))
    assert spec.request.targets == make.urls(1, start=2)


# Jobs


def test_unreadable_job_is_fetched_by_purchased_ids(running, make):
    running.api.script(get_job=unreadable(), get_task=lambda _, i: make.task(int(i[1:])))
    looks = 0
    while running.part().state is PartState.RUNNING:
        answer = running.run_step(poll_part, running.claim_part())
        looks += 1
        running.clock.forward(40)
    assert looks >= (UNREADABLE_ATTEMPTS - 1) * UNREADABLE_INTERVAL / 41
    assert answer == AGGREGATE
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 3)


def test_last_readable_answer_of_the_job_is_used(running, make):
    running.api.script(get_job=make.job("pending", 3))
    running.run_step(poll_part, running.claim_part())
    running.api.script(get_job=unreadable(), get_task=make.refusal(410))
    for _ in range(UNREADABLE_ATTEMPTS):
        running.clock.forward(UNREADABLE_INTERVAL + 1)
        running.run_step(poll_part, running.claim_part())
    assert running.part().outcome == "failed"
    assert [task.url for task in stored(running)] == make.urls(3)


def test_an_answer_that_can_be_read_forgives_the_others(running, make):
    running.api.script(get_job=[unreadable(), make.job("pending", 3), unreadable()])
    for attempts in (1, 0, 1):
        running.run_step(poll_part, running.claim_part())
        note = running.part().notes.get(JOB_NOTE)
        assert (note.attempts if note else 0) == attempts
        running.clock.forward(UNREADABLE_INTERVAL + 1)


def test_job_without_ids_is_lost_and_its_answer_kept(running):
    running.set_fields(tasks=pack([]))
    running.api.script(get_job=unreadable(b'{"JobID": "job-r-0", "Status": 7}'))
    for _ in range(UNREADABLE_ATTEMPTS):
        answer = running.run_step(poll_part, running.claim_part())
        running.clock.forward(UNREADABLE_INTERVAL + 1)
    assert answer == AGGREGATE
    part = running.part()
    assert part.outcome == "lost"
    assert isinstance(part.error, JobLostError)
    assert "cannot be used" in str(part.error)
    running.run(RecordOutcome("r", "lost", {}))
    (kept,) = RunHandle("r", app_context=running.app_context).iter_tasks(partial=True)
    assert (kept.unreadable, kept.content) == (True, '{"JobID": "job-r-0", "Status": 7}')


def test_job_unreadable_until_retention_is_lost(running):
    running.api.script(get_job=unreadable())
    running.clock.forward(RETENTION + 7200)
    assert running.run_step(poll_part, running.claim_part()) == AGGREGATE
    assert running.part().outcome == "lost"


def test_attempts_are_counted(running):
    running.api.script(get_job=unreadable())

    async def counted(context, claim):
        await poll_part(context, claim)
        return context.rate_limiter.counters.drain().get("unreadable:job")

    assert running.run_step(counted, running.claim_part()) == 1
    running.clock.forward(60)
    assert running.run_step(counted, running.claim_part()) is None
