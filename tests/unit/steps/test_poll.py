"""Test polling of jobs, and how they are canceled."""

from __future__ import annotations

import time
from math import ceil

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import APIConnectionError, JobLostError
from scrape_do_celery.models import JobCanceledError, JobDetails, RunTimeoutError
from scrape_do_celery.rules.api_errors import LONGEST_PAUSE, REFUSAL_GRACE
from scrape_do_celery.rules.fetch import JOB_NOTE, UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL
from scrape_do_celery.rules.polling import NOT_FOUND_GRACE, RETENTION
from scrape_do_celery.runs import RunHandle, StepMessage
from scrape_do_celery.steps import fetch_task
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.fetch import fetch_part
from scrape_do_celery.steps.leases import LeaseLostError
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.parts import ReadJob, UpdatePart
from scrape_do_celery.store.commands.runs import ReadSpec, RequestStop
from tests.unit.steps.conftest import HOUR

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))


@pytest.fixture
def running(step_harness):
    step_harness.create_run(max_wait=600)
    step_harness.make_running()
    return step_harness


def kept(step_harness):
    return step_harness.run(ReadJob(PartId("r", 0)))


def wait(step_harness):
    return step_harness.due_times()["r:0"]


def test_running_job_is_polled_less_and_less_often(running, make):
    running.api.script(get_job=make.job("pending"))
    waits = []
    for looks in range(1, 8):
        assert running.run_step(poll_part, running.claim_part()) is None
        assert running.part().polls == looks
        waits.append(round(wait(running)))
        running.clock.forward(waits[-1] + 1)
    assert waits == [2, 4, 8, 16, 30, 30, 30]
    assert running.api.called("get_job")[0] == ["job-r-0"]


def test_progress_is_kept_and_the_job_only_where_something_moved(running, make, monkeypatch):
    jobs = [make.job("pending", tasks=["success", "pending"]), make.job("pending", tasks=["success", "error"])]
    running.api.script(get_job=[jobs[0], jobs[0], jobs[1]])
    written = []
    real = UpdatePart.encode
    monkeypatch.setattr(UpdatePart, "encode", lambda part, keys: written.append(part.job) or real(part, keys))
    for _ in range(3):
        running.run_step(poll_part, running.claim_part())
        running.clock.forward(100)
    assert written == [jobs[0], None, jobs[1]]
    part = running.part()
    assert (part.status, part.done, part.failed) == ("pending", 1, 1)
    assert kept(running) == jobs[1]


@pytest.mark.parametrize("status", ["success", "error"])
def test_ended_job_moves_to_fetching(running, make, status):
    running.api.script(get_job=make.job(status), get_task=make.refusal(500))
    assert running.run_step(poll_part, running.claim_part()) is None
    assert running.part().state is PartState.FETCHING
    assert kept(running) == make.job(status)
    assert wait(running) > 0


def test_pages_of_an_ended_job_are_fetched_at_once(running, make):
    running.api.script(get_job=make.job("success"), get_task=lambda _, task_id: make.task(int(task_id[1:])))
    assert running.run_step(poll_part, running.claim_part()) == AGGREGATE
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 2)


def test_a_step_that_lost_its_part_fetches_nothing(running, make):
    claim = running.claim_part()
    running.set_fields(fence=claim.part.fence + 1)
    running.api.script(get_job=make.job("success"))
    with pytest.raises(LeaseLostError):
        running.run_step(poll_part, claim)
    assert running.api.called("get_task") == []


def test_a_status_that_nobody_knows_is_not_the_end(running, make):
    running.api.script(get_job=make.job("hibernating"))
    assert running.run_step(poll_part, running.claim_part()) is None
    assert (running.part().state, running.part().status) == (PartState.RUNNING, "hibernating")


def test_job_without_task_ids_has_those_of_its_purchase(running, make):
    running.api.script(get_job=JobDetails(job_id="job-r-0", status="success"), get_task=make.refusal(500))
    assert running.run_step(poll_part, running.claim_part()) is None
    assert kept(running).task_ids == ["t0", "t1"]
    assert running.part().task_ids == ("t0", "t1")


def test_a_job_that_is_not_found_may_be_young(running, make):
    running.api.script(get_job=make.refusal(404))
    for _ in range(4):
        assert running.run_step(poll_part, running.claim_part()) is None
        running.clock.forward(5)
    assert running.part().not_found_polls == 0
    assert running.part().state is PartState.RUNNING


def test_job_not_found_three_times_is_lost(running, make):
    running.api.script(get_job=make.refusal(404))
    running.clock.forward(61)
    for misses in (1, 2):
        assert running.run_step(poll_part, running.claim_part()) is None
        assert running.part().not_found_polls == misses
        assert wait(running) > 0
        running.clock.forward(60)
    assert running.run_step(poll_part, running.claim_part()) == StepMessage(routing.AGGREGATE_RUN, ("r",))
    part = running.part()
    assert part.outcome == "lost"
    assert isinstance(part.error, JobLostError)
    assert "job-r-0" in str(part.error)
    assert part.error.run_id == "r"


def test_a_job_that_is_found_again_is_forgiven(running, make):
    running.api.script(get_job=[make.refusal(404), make.refusal(404), make.job("pending"), make.refusal(404)])
    running.clock.forward(61)
    for _ in range(4):
        running.run_step(poll_part, running.claim_part())
        running.clock.forward(60)
    assert running.part().not_found_polls == 1
    assert running.part().state is PartState.RUNNING


@pytest.mark.parametrize(
    "error", [APIConnectionError("cut", "GET", "/x", "ReadTimeout"), 500, 503], ids=["connection", "500", "503"]
)
def test_failing_server_is_polled_less_and_less_often(running, make, error):
    error = make.refusal(error) if isinstance(error, int) else error
    running.api.script(get_job=error)
    waits = []
    for troubles in range(1, 9):
        assert running.run_step(poll_part, running.claim_part()) is None
        part = running.part()
        assert (part.api_failures, part.state) == (troubles, PartState.RUNNING)
        assert part.refused_since is None
        # The clock goes on during the test, so round up.
        waits.append(ceil(wait(running)))
        running.clock.forward(waits[-1] + 1)
    assert waits == sorted(waits)
    assert waits[0] <= 1
    assert waits[-1] <= running.settings.poll_max_interval


def test_success_clears_api_failures(running, make):
    running.api.script(get_job=[make.refusal(500), make.job("pending")])
    running.run_step(poll_part, running.claim_part())
    assert (running.part().api_failures, "500" in running.part().api_error) == (1, True)
    running.clock.forward(10)
    running.run_step(poll_part, running.claim_part())
    assert (running.part().api_failures, running.part().api_error) == (0, None)


def test_a_refusal_is_over_once_another_answer_comes(running, make):
    running.api.script(get_job=[make.refusal(400), make.refusal(500), make.refusal(400), make.job("pending")])
    seen = []
    for _ in range(4):
        running.run_step(poll_part, running.claim_part())
        seen.append(running.part().refused_since is not None)
        running.clock.forward(REFUSAL_GRACE + 1)
    assert seen == [True, False, True, False]
    assert running.part().state is PartState.RUNNING


def test_a_pause_has_an_end(running, make):
    running.api.script(get_job=make.refusal(429, 86_400.0))
    running.run_step(poll_part, running.claim_part())
    assert wait(running) <= LONGEST_PAUSE


def test_a_pause_counts_from_the_answer(running, make):
    running.create_run("other")

    def slowly(_):
        running.clock.forward(20)
        return make.refusal(429, 10.0)

    running.api.script(get_job=slowly)
    running.run_step(poll_part, running.claim_part(seconds=300))
    assert running.try_claim_part("other") is None


@pytest.mark.parametrize("step", ["cancel", "poll"])
@pytest.mark.parametrize("known", [True, False])
def test_stopped_run_does_not_wait_for_the_api(running, make, step, known):
    if known:
        running.run(UpdatePart(running.claim_part(), {}, job=make.job("pending"), after=0.0))
    running.run(RequestStop("r", "deadline"))
    running.api.script(get_job=make.refusal(500), get_task=make.refusal(500))
    handler = {"cancel": cancel_part, "poll": poll_part}[step]
    assert running.run_step(handler, running.claim_part()) is None
    running.clock.forward(running.settings.cancel_grace + 1)
    # The tasks may be readable although the job is not.
    assert running.run_step(handler, running.claim_part()) is None
    assert running.part().state is PartState.FETCHING
    running.clock.forward(running.settings.cancel_grace + 1)
    assert running.run_step(fetch_part, running.claim_part()) == StepMessage(routing.AGGREGATE_RUN, ("r",))
    part = running.part()
    assert part.outcome == "timed_out"
    assert isinstance(part.error, RunTimeoutError)
    assert bool(part.error.job.tasks) is known


def test_a_job_that_names_no_task_at_all_is_lost(running):
    running.set_fields(tasks=pack([]))
    running.api.script(get_job=JobDetails(job_id="job-r-0", status="success"))
    for _ in range(UNREADABLE_ATTEMPTS - 1):
        assert running.run_step(poll_part, running.claim_part()) is None
        running.clock.forward(UNREADABLE_INTERVAL + 1)
    assert running.run_step(poll_part, running.claim_part()) == StepMessage(routing.AGGREGATE_RUN, ("r",))
    assert running.part().outcome == "lost"
    assert "names none of its tasks" in str(running.part().error)


def test_too_many_requests_stops_all_workers(running, make):
    running.create_run("other")
    running.api.script(get_job=make.refusal(429, 20.0))
    running.run_step(poll_part, running.claim_part())
    assert running.try_claim_part("other") is None
    assert wait(running) == pytest.approx(20, abs=1)
    running.clock.forward(21)
    assert running.try_claim_part("other") is not None


def test_job_refused_for_long_is_fetched_by_purchased_ids(running, make):
    running.api.script(get_job=make.refusal(400), get_task=lambda _, i: make.task(int(i[1:])))
    for attempts in range(1, UNREADABLE_ATTEMPTS):
        assert running.run_step(poll_part, running.claim_part()) is None
        assert running.part().notes[JOB_NOTE].attempts == attempts
        running.note_worker()
        assert "400" in RunHandle("r", app_context=running.app_context).status.waiting_for.text
        running.clock.forward(UNREADABLE_INTERVAL + 1)
    assert running.run_step(poll_part, running.claim_part()) == StepMessage(routing.AGGREGATE_RUN, ("r",))
    assert (running.part().outcome, running.part().stored_ok) == ("succeeded", 2)


@pytest.fixture
def stopped(running):
    assert running.run(RequestStop("r", "cancel")) == [PartId("r", 0)]
    return running


def test_stop_request_reads_the_job_and_deletes_it(stopped, make):
    stopped.api.script(get_job=make.job("pending"), cancel_job=make.job("pending"))
    assert stopped.run_step(cancel_part, stopped.claim_part()) is None
    assert [name for name, *_ in stopped.api.calls] == ["get_job", "cancel_job"]
    part = stopped.part()
    assert (part.state, part.polls) == (PartState.RUNNING, 0)
    assert part.cancel_sent_at == pytest.approx(stopped.clock.time(), abs=5)
    assert 0 < wait(stopped) <= 1
    stopped.clock.forward(1)
    assert stopped.claim_due().parts[0].cancel_sent


def test_a_job_that_has_ended_before_is_not_deleted(stopped, make):
    stopped.api.script(get_job=make.job("success"), get_task=lambda _, task_id: make.task(int(task_id[1:])))
    assert stopped.run_step(cancel_part, stopped.claim_part()) == AGGREGATE
    assert stopped.api.called("cancel_job") == []
    assert stopped.part().outcome == "succeeded"


def test_a_job_that_ends_just_before_its_delete_is_polled(stopped, make):
    stopped.api.script(get_job=make.job("pending"), cancel_job=make.refusal(406))
    assert stopped.run_step(cancel_part, stopped.claim_part()) is None
    assert stopped.part().cancel_sent_at is not None


def test_cancel_counts_a_job_not_found(stopped, make):
    stopped.api.script(get_job=make.refusal(404))
    stopped.clock.forward(61)
    for _ in range(3):
        answer = stopped.run_step(cancel_part, stopped.claim_part())
        stopped.clock.forward(60)
    assert answer == StepMessage(routing.AGGREGATE_RUN, ("r",))
    assert stopped.part().outcome == "lost"


def test_failed_cancel_is_retried(stopped, make):
    stopped.api.script(get_job=[make.refusal(500), make.job("pending")], cancel_job=make.job("canceled"))
    assert stopped.run_step(cancel_part, stopped.claim_part()) is None
    assert (stopped.part().api_failures, stopped.part().cancel_sent_at) == (1, None)
    stopped.clock.forward(10)
    stopped.run_step(cancel_part, stopped.claim_part())
    assert (stopped.part().api_failures, stopped.part().cancel_sent_at is None) == (0, False)


def test_a_cancel_message_without_a_stop_request_is_a_poll(running):
    assert running.run_step(cancel_part, running.claim_part()) == StepMessage(routing.POLL_JOBS, ("r:0",))
    assert running.api.calls == []


def test_a_cancel_message_that_comes_twice_is_a_poll(stopped, make):
    stopped.api.script(get_job=make.job("pending"), cancel_job=make.job("pending"))
    stopped.run_step(cancel_part, stopped.claim_part())
    stopped.clock.forward(2)
    assert stopped.run_step(cancel_part, stopped.claim_part()) == StepMessage(routing.POLL_JOBS, ("r:0",))
    assert len(stopped.api.called("cancel_job")) == 1


def test_job_that_does_not_stop_is_given_up(stopped, make):
    job = make.job("pending", tasks=["success", "pending"])
    stopped.api.script(get_job=job, cancel_job=job)
    stopped.run_step(cancel_part, stopped.claim_part())
    stopped.clock.forward(2)
    assert stopped.run_step(poll_part, stopped.claim_part()) is None
    stopped.clock.forward(stopped.settings.cancel_grace + 1)
    stopped.api.script(get_task=lambda _, task_id: make.task(int(task_id[1:])))
    assert stopped.run_step(poll_part, stopped.claim_part()) == AGGREGATE
    # The second task was running at the last poll. If it succeeded, its page is paid.
    assert stopped.api.called("get_task") == [["job-r-0", "t0"], ["job-r-0", "t1"]]
    part = stopped.part()
    assert part.outcome == "canceled"
    assert isinstance(part.error, JobCanceledError)
    assert part.error.run_id == "r"
    assert part.stored_ok == 2


def test_a_deadline_ends_as_a_time_out(running, make):
    running.run(RequestStop("r", "deadline"))
    job = make.job("canceled", tasks=["success", "canceled"])
    running.api.script(get_job=[make.job("pending"), job], cancel_job=job)
    running.run_step(cancel_part, running.claim_part())
    running.clock.forward(2)
    running.api.script(get_task=lambda _, task_id: make.task(int(task_id[1:])))
    assert running.run_step(poll_part, running.claim_part()) == AGGREGATE
    error = running.part().error
    assert isinstance(error, RunTimeoutError)
    assert (error.max_wait, error.run_id, error.job.status) == (600.0, "r", "canceled")


def test_job_that_never_answers_is_lost_after_retention(running, make):
    running.api.script(get_job=make.refusal(500))
    running.run_step(poll_part, running.claim_part())
    assert running.part().state is PartState.RUNNING
    running.clock.forward(RETENTION + 2 * 3600)
    running.run_step(poll_part, running.claim_part())
    assert running.part().outcome == "lost"
    assert isinstance(running.part().error, JobLostError)


# Tasks that end before their job


@pytest.fixture
def early(step_harness):
    step_harness.create_run(targets=3, early=True)
    step_harness.make_running()
    return step_harness


def pages(step_harness):
    return {
        position: task.task_id
        for position, task in enumerate(step_harness.run(ReadContents(PartId("r", 0), range(3))))
        if task
    }


def test_ended_task_is_fetched_while_its_job_runs(early, make):
    early.api.script(
        get_job=make.job("pending", tasks=["pending", "success", "error"]),
        get_task=lambda _, i: make.task(int(i[1:]), status="error" if i == "t2" else "success"),
    )
    assert early.run_step(poll_part, early.claim_part()) is None
    assert pages(early) == {1: "t1", 2: "t2"}
    part = early.part()
    assert (part.state, part.stored_ok, part.stored_failed) == (PartState.RUNNING, 1, 1)
    assert [task.task_id for task in RunHandle("r", app_context=early.app_context).iter_tasks(partial=True)] == [
        "t1",
        "t2",
    ]
    early.clock.forward(60)
    early.run_step(poll_part, early.claim_part())
    assert len(early.api.called("get_task")) == 2, "nothing is fetched twice"
    early.api.script(get_job=make.job("success", 3))
    early.clock.forward(60)
    assert early.run_step(poll_part, early.claim_part()) == AGGREGATE
    assert pages(early) == {0: "t0", 1: "t1", 2: "t2"}


def test_early_fetch_that_the_time_has_cut_goes_on_at_once(step_harness, make, monkeypatch):
    step_harness.create_run(targets=30, early=True)
    step_harness.make_running()

    def get_task(_, task_id):
        time.sleep(0.02)
        return make.task(int(task_id[1:]))

    step_harness.api.script(get_job=make.job("pending", tasks=["success"] * 30), get_task=get_task)
    monkeypatch.setattr(fetch_task, "SLICE", 0.01)
    passes = 0
    while step_harness.run_step(poll_part, step_harness.claim_part()) is not None:
        part, passes = step_harness.part(), passes + 1
        assert (part.polls, part.due_at <= step_harness.clock.time()) == (0, True)
    assert (passes > 0, step_harness.part().stored_ok) == (True, 30)
    assert len(step_harness.api.called("get_task")) == 30, "nothing is fetched twice"


@pytest.mark.parametrize("cause", ["time", "errors"])
def test_early_fetch_that_stored_nothing_waits_for_the_next_poll(step_harness, make, monkeypatch, cause):
    step_harness.create_run(targets=30, early=True)
    step_harness.make_running()

    def get_task(*_):
        time.sleep(0.02)
        raise make.refusal(500)

    step_harness.api.script(get_job=make.job("pending", tasks=["success"] * 30), get_task=get_task)
    monkeypatch.setattr(fetch_task, "SLICE", -1.0 if cause == "time" else 0.01)
    assert step_harness.run_step(poll_part, step_harness.claim_part()) is None
    assert (len(step_harness.api.called("get_task")) > 0) == (cause == "errors")
    assert step_harness.part().due_at > step_harness.clock.time()


def test_job_with_early_fetch_is_polled_by_itself(early, make):
    early.api.script(get_job=make.job("pending", 3))
    early.run_step(poll_part, early.claim_part())
    assert "r:0" in early.due_parts()


def test_an_answer_that_shuffles_the_tasks_moves_no_page(early, make):
    job = make.job("pending", tasks=["success", "pending", "pending"])
    job = job.model_copy(update={"task_ids": ["t2", "t1", "t0"]})
    early.api.script(get_job=job, get_task=lambda _, i: make.task(int(i[1:])))
    early.run_step(poll_part, early.claim_part())
    assert pages(early) == {0: "t0"}
    assert [task.task_id for task in RunHandle("r", app_context=early.app_context).iter_tasks(partial=True)] == ["t0"]
    ended = make.job("success", 3).model_copy(update={"task_ids": ["t1", "t2", "t0"]})
    early.api.script(get_job=ended)
    early.clock.forward(60)
    early.run_step(poll_part, early.claim_part())
    assert pages(early) == {0: "t0", 1: "t1", 2: "t2"}


@pytest.mark.parametrize("answer", [404, 410, 429, 500, "pending"])
def test_task_that_fails_early_is_fetched_at_the_end(early, make, answer):
    early.api.script(
        get_job=make.job("pending", tasks=["success", "pending", "pending"]),
        get_task=make.task(0, status=answer) if answer == "pending" else make.refusal(answer),
    )
    assert early.run_step(poll_part, early.claim_part()) is None
    assert pages(early) == {}
    part = early.part()
    assert (part.state, part.api_failures, part.gone) == (PartState.RUNNING, 0, 0)


def test_nothing_is_fetched_early_into_a_full_store(early, make):
    early.health.used = 0.99
    early.api.script(get_job=make.job("pending", tasks=["success", "pending", "pending"]))
    early.run_step(poll_part, early.claim_part())
    assert early.api.called("get_task") == []


@pytest.mark.parametrize(
    ("targets", "option", "expected"), [(49, None, False), (50, None, True), (1, True, True), (50, False, False)]
)
def test_large_runs_are_fetched_early(step_harness, make, targets, option, expected):
    step_harness.create_run(targets=targets, early=option)
    step_harness.make_running()
    assert step_harness.claim_part().run_options.get("early", False) is expected
    assert step_harness.run(ReadSpec("r", 1)).early is expected


def test_job_is_lost_only_after_the_not_found_grace(step_harness, make):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.clock.forward(HOUR)
    step_harness.api.script(get_job=make.refusal(404))
    began = step_harness.clock.time()
    while step_harness.part().state is PartState.RUNNING:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.05)
        step_harness.run_step(poll_part, step_harness.claim_part())
    assert step_harness.part().outcome == "lost"
    assert NOT_FOUND_GRACE < step_harness.clock.time() - began < 2 * NOT_FOUND_GRACE
