"""Test unknown statuses: the pages are fetched, and the statuses are reported."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from scrape_do_celery import routing
from scrape_do_celery.models import JobCanceledError, JobFailedError, JobsListResponse
from scrape_do_celery.rules.lifecycle import UNKNOWN_STATUS_TIMEOUT
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.runs import RunHandle, StepMessage, retry_failed
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.once import OnceFilter
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.poll_list import poll_list
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome, RequestStop

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)


@pytest.fixture
def running(step_harness):
    step_harness.create_run()
    step_harness.make_running()
    return step_harness


def page(make, **fields):
    return lambda _, task_id: make.task(int(task_id[1:]), **fields)


def ended(job, step_harness, seconds=-1.0):
    return job.model_copy(update={"end_time": datetime.fromtimestamp(step_harness.clock.time() + seconds, UTC)})


def status(step_harness):
    return RunHandle("r", app_context=step_harness.app_context).status


def stored(step_harness, count=2):
    return step_harness.run(ReadContents(PART_ID, range(count)))


def poll_after(step_harness, seconds):
    step_harness.clock.forward(seconds)
    return step_harness.run_step(poll_part, step_harness.claim_part())


@pytest.mark.parametrize("word", ["queuing", "queued", "pending", "rotating"])
def test_open_job_with_all_tasks_ended_is_fetched(running, make, word):
    running.api.script(get_job=ended(make.job(word, tasks=["success", "error"]), running), get_task=page(make))
    assert running.run_step(poll_part, running.claim_part()) is None
    assert running.part().is_unlisted
    assert poll_after(running, 60) is None
    assert poll_after(running, UNKNOWN_STATUS_TIMEOUT) == AGGREGATE
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 2)


def test_job_with_a_retried_task_stays_open(running, make):
    job, again = (ended(make.job("pending", tasks=["success", one]), running) for one in ("error", "rotating"))
    running.api.script(get_job=[job, again, job, make.job("success")], get_task=page(make))
    assert running.run_step(poll_part, running.claim_part()) is None
    assert poll_after(running, 60) is None
    assert not running.part().is_unlisted
    assert poll_after(running, UNKNOWN_STATUS_TIMEOUT) is None
    assert running.part().state is PartState.RUNNING
    assert poll_after(running, 60) == AGGREGATE


def test_a_job_ends_by_its_end_time_in_two_answers(running, make):
    job = ended(make.job("archived", tasks=["pending", "pending"]), running)
    running.api.script(get_job=job, get_task=page(make))
    assert running.run_step(poll_part, running.claim_part()) is None
    assert running.part().state is PartState.RUNNING
    assert poll_after(running, 60) == AGGREGATE
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 2)


def test_a_job_ends_with_its_last_task(running, make):
    running.api.script(get_job=make.job("archived", tasks=["success", "error"]), get_task=page(make))
    assert running.run_step(poll_part, running.claim_part()) == AGGREGATE
    assert running.part().outcome == "succeeded"


def test_a_job_without_a_page_has_failed(running, make):
    job = make.job("archived", tasks=["error", "canceled"])
    running.api.script(get_job=job, get_task=lambda _, i: make.task(int(i[1:]), status=job.tasks[int(i[1:])].status))
    assert running.run_step(poll_part, running.claim_part()) == AGGREGATE
    part = running.part()
    assert (part.outcome, part.stored_failed) == ("failed", 2)
    assert isinstance(part.error, JobFailedError)


def test_a_job_that_says_that_it_was_canceled_was_canceled(running, make):
    job = make.job("archived", tasks=["success", "canceled"]).model_copy(update={"canceled": True})
    running.api.script(get_job=job, get_task=page(make))
    assert running.run_step(poll_part, running.claim_part()) == AGGREGATE
    assert running.part().outcome == "canceled"
    assert isinstance(running.part().error, JobCanceledError)


@pytest.mark.parametrize("early", [False, True])
def test_ended_tasks_of_a_stalled_job_are_stored(step_harness, make, early):
    step_harness.create_run(early=early)
    step_harness.make_running()
    step_harness.api.script(get_job=make.job("archived", tasks=["success", "pending"]), get_task=page(make))
    step_harness.run_step(poll_part, step_harness.claim_part())
    assert step_harness.part().stored_ok == early
    assert poll_after(step_harness, UNKNOWN_STATUS_TIMEOUT + 1) is None
    assert (step_harness.part().state, step_harness.part().stored_ok) == (PartState.RUNNING, 1)
    step_harness.api.script(get_job=make.job("archived", tasks=["success", "success"]))
    assert poll_after(step_harness, 60) == AGGREGATE
    assert step_harness.api.called("get_task") == [["job-r-0", "t0"], ["job-r-0", "t1"]]
    assert (step_harness.part().outcome, step_harness.part().stored_ok) == ("succeeded", 2)


def test_job_with_unknown_task_statuses_ends_with_pages(running, make):
    job = make.job("archived", tasks=["shelved", "shelved"])
    running.api.script(get_job=job, get_task=page(make, status="shelved"))
    running.run_step(poll_part, running.claim_part())
    assert poll_after(running, UNKNOWN_STATUS_TIMEOUT + 1) == AGGREGATE
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 2)
    assert [task.status for task in stored(running)] == ["success", "success"]


def test_task_of_a_stalled_job_ends_by_its_end_time(running, make):
    job = make.job("archived", tasks=["shelved", "success"])
    bare = ended(make.task(0, status="shelved", content=None), running)
    running.api.script(get_job=job, get_task=lambda _, i: bare if i == "t0" else make.task(1))
    running.run_step(poll_part, running.claim_part())
    assert poll_after(running, UNKNOWN_STATUS_TIMEOUT + 1) is None
    assert stored(running)[0] is None
    assert poll_after(running, 60) == AGGREGATE
    assert (stored(running)[0].status, stored(running)[0].gone) == ("error", False)
    assert "shelved" in stored(running)[0].error_message


def test_stalled_job_is_fetched_after_retention(running, make):
    running.api.script(get_job=make.job("archived", tasks=["success", "pending"]), get_task=page(make))
    running.run_step(poll_part, running.claim_part())
    poll_after(running, UNKNOWN_STATUS_TIMEOUT + 1)
    running.api.script(get_task=make.refusal(404))
    assert poll_after(running, RETENTION + 7200) == AGGREGATE
    part = running.part()
    assert (part.outcome, part.stored_ok, part.gone) == ("succeeded", 1, 1)


@pytest.mark.parametrize("answer", [404, 410, 500])
def test_unanswered_job_is_fetched_after_retention(running, make, answer):
    running.api.script(get_job=make.job("archived", tasks=["success", "pending"]), get_task=page(make))
    running.run_step(poll_part, running.claim_part())
    poll_after(running, UNKNOWN_STATUS_TIMEOUT + 1)
    running.api.script(get_job=make.refusal(answer), get_task=make.refusal(404))
    assert poll_after(running, RETENTION + 7200) == AGGREGATE
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 1)


def test_one_without_pages_is_lost(running, make):
    running.api.script(get_job=[make.job("archived"), make.refusal(410)])
    running.run_step(poll_part, running.claim_part())
    assert poll_after(running, 100) == AGGREGATE
    assert running.part().outcome == "lost"


def test_such_a_job_is_never_left_to_the_list(step_harness, make):
    step_harness.create_run()
    step_harness.run(WriteIntent(step_harness.claim_part(), "n", 100.0, account=step_harness.account))
    step_harness.set_fields(lease=0, token="")
    step_harness.make_running()
    step_harness.api.script(get_job=make.job("archived"))
    for _ in range(8):
        poll_after(step_harness, 40)
    assert "r:0" in step_harness.due_parts()
    step_harness.api.script(get_job=make.job("pending"))
    poll_after(step_harness, 40)
    assert "r:0" not in step_harness.due_parts()
    assert (step_harness.part().is_unlisted, "unknown_job" in step_harness.part_fields()) == (False, False)


def test_list_entry_with_unknown_status_is_not_running(step_harness, make):
    step_harness.create_run()
    step_harness.run(WriteIntent(step_harness.claim_part(), "n", 100.0, account=step_harness.account))
    step_harness.set_fields(lease=0, token="")
    step_harness.make_running()
    step_harness.api.script(get_job=make.job("pending"))
    step_harness.run_step(poll_part, step_harness.claim_part())
    step_harness.clock.forward(40)
    step_harness.api.script(list_jobs=JobsListResponse(jobs=[make.job("archived")], total_pages=1))

    async def go(context, _):
        await poll_list(context)

    step_harness.run_step(go, None)
    assert step_harness.due_parts()["r:0"] <= 5


def test_an_unknown_word_is_told(running, make, caplog):
    word = "archived" * 20
    running.api.script(get_job=make.job(word, tasks=["shelved", "pending"]))
    counted = {}

    async def and_count(context, claim):
        await poll_part(context, claim)
        for name, amount in context.rate_limiter.counters.drain().items():
            counted[name] = counted.get(name, 0) + amount

    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            running.clock.forward(60)
            running.run_step(and_count, running.claim_part())
    assert status(running).unknown_statuses == (word[:40], "shelved")
    assert status(running).to_json()["unknown_statuses"] == [word[:40], "shelved"]
    assert [record.message.count("run r:") for record in caplog.records if "unknown status" in record.message] == [1, 1]
    assert (counted["unknown_status:job"], counted["unknown_status:task"]) == (2, 2)
    assert running.part().status == word[:40]


def test_a_process_does_not_remember_words_without_end():
    once = OnceFilter()
    assert sum(once.is_first("status", "job", f"word {number}") for number in range(2_000)) == 1_000


def test_a_task_with_an_unknown_word_ends_by_its_content(running, make):
    running.api.script(get_job=make.job("success"), get_task=page(make, status="shelved"))
    assert running.run_step(poll_part, running.claim_part()) == AGGREGATE
    assert (running.part().stored_ok, status(running).unknown_statuses) == (2, ("shelved",))


def test_or_by_its_end_time_in_two_answers(running, make):
    bare = ended(make.task(0, status="shelved", content=None), running)
    running.api.script(get_job=make.job("success"), get_task=lambda _, i: bare if i == "t0" else make.task(1))
    assert running.run_step(poll_part, running.claim_part()) is None
    running.clock.forward(60)
    assert running.run_step(fetch_part, running.claim_part()) == AGGREGATE
    assert (running.part().stored_ok, running.part().stored_failed, running.part().gone) == (1, 1, 0)


def test_canceled_run_fetches_each_task_of_an_unknown_status(running, make):
    running.run(RequestStop("r", "cancel"))
    job = make.job("archived", tasks=["success", "canceled"])
    running.api.script(get_job=make.job("pending"), cancel_job=job)
    running.run_step(cancel_part, running.claim_part())
    running.api.script(get_job=job, get_task=lambda _, i: make.task(int(i[1:]), status=job.tasks[int(i[1:])].status))
    assert poll_after(running, 10) == AGGREGATE
    part = running.part()
    assert (part.outcome, part.stored_ok, part.stored_failed) == ("canceled", 1, 1)


def test_page_of_an_abandoned_task_is_not_bought_again(running, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: running.app)
    states = {"t0": "rotating", "t1": "error"}
    running.api.script(get_job=make.job("success"), get_task=lambda _, i: make.task(int(i[1:]), status=states[i]))
    running.run_step(poll_part, running.claim_part())
    while running.part().state is not PartState.DONE:
        running.clock.forward(100)
        running.run_step(fetch_part, running.claim_part())
    running.run(RecordOutcome("r", "succeeded", {}))
    assert (stored(running)[0].content, stored(running)[0].gone) == ("<html>", False)
    again = retry_failed("r")
    spec = running.run(ReadSpec(again.run_id, 1))
    assert spec.request.targets == make.urls(1, start=1)
