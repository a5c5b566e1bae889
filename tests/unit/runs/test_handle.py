"""Test `RunHandle`: its status, waiting, reading, canceling, forgetting."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import (
    JobLostError,
    PoisonedRunError,
    ResultExpiredError,
    ResultNotReadyError,
    RunError,
    RunNotFoundError,
    SubmitInDoubtError,
)
from scrape_do_celery.models import (
    JobCanceledError,
    JobCreationRequest,
    JobFailedError,
    RunTimeoutError,
    TaskFailedError,
)
from scrape_do_celery.runs import Progress, RunHandle
from scrape_do_celery.runs import handle as handle_module
from scrape_do_celery.store import PartState, RunSpec, RunState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import ReadContents
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, RecordOutcome
from scrape_do_celery.store.part_ids import PartId
from tests.support.module_sleep import replace_sleep


@pytest.fixture
def handle(step_harness):
    step_harness.create_run()
    return RunHandle("r", app_context=step_harness.app_context)


@pytest.fixture
def finish(step_harness, make):
    """Return a function that ends run `r` with its job, fetched tasks, outcome and error."""

    def end(outcome="succeeded", *, job=None, positions=(0, 1), error=None, urls=None):
        job = job or make.job("success")
        step_harness.make_running(state=PartState.FETCHING)
        claim = step_harness.claim_part()
        step_harness.run(UpdatePart(claim, {}, job=job))
        for position in positions:
            step_harness.store_content(position=position, **({"url": urls[position]} if urls else {}))
        step_harness.run(FinishPart(claim, outcome, error=error))
        fields = {"decided_by": 0, "result": pack({})}
        if error is not None:
            fields["error"] = json.dumps(error.to_json())
        step_harness.run(RecordOutcome("r", outcome, fields))

    return end


@pytest.mark.parametrize("run_id", ["", None, 7])
def test_an_id_is_a_text(run_id):
    with pytest.raises(ValueError, match="run_id"):
        RunHandle(run_id)


def test_handles_of_one_run_are_equal(step_harness, handle):
    assert handle == RunHandle("r", app_context=step_harness.app_context)
    assert handle != RunHandle("other", app_context=step_harness.app_context)
    assert handle != "r"
    assert repr(handle) == "RunHandle('r')"
    assert len({handle, RunHandle("r", app_context=step_harness.app_context)}) == 1


def test_a_handle_finds_its_own_way_to_the_store(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)
    step_harness.create_run()
    assert RunHandle("r").state is RunState.QUEUED


def test_states_and_progress_as_the_run_moves(step_harness, handle, make):
    assert (handle.state, handle.progress, handle.job, handle.jobs) == (RunState.QUEUED, Progress(0, 0, 2), None, [])
    claim = step_harness.claim_part()
    step_harness.run(WriteIntent(claim, "n", 100, account=step_harness.account))
    assert handle.state is RunState.SUBMITTING
    step_harness.update_part(claim, after=0, to="running", reported_ok=1, reported_failed=1)
    assert (handle.state, handle.progress) == (RunState.RUNNING, Progress(1, 1, 2))
    step_harness.run(UpdatePart(step_harness.claim_part(), {}, to="fetching", after=0.0, job=make.job("success")))
    assert (handle.state, handle.job) == (RunState.FETCHING, make.job("success"))
    step_harness.store_content(position=0)
    step_harness.store_content(position=1, status="error")
    step_harness.finish_part()
    assert (handle.state, handle.progress) == (RunState.FETCHING, Progress(1, 1, 2))
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    assert handle.state is RunState.SUCCEEDED


def test_jobs_of_all_parts_and_the_one_that_decided(step_harness, make):
    step_harness.create_multi_part_run(3)
    handle = RunHandle("r", app_context=step_harness.app_context)
    for n in (1, 2):
        claim = step_harness.claim_part(part=n)
        step_harness.run(UpdatePart(claim, {}, job=make.job("success", job_id=f"j{n}")))
    assert [job.job_id for job in handle.jobs] == ["j1", "j2"]
    assert handle.job.job_id == "j1"
    step_harness.redis.hset(step_harness.keys.run("r"), "left", 0)
    step_harness.run(RecordOutcome("r", "failed", {"decided_by": 2}))
    assert handle.job.job_id == "j2"


@pytest.mark.parametrize(
    "look",
    [
        lambda handle: handle.state,
        lambda handle: handle.progress,
        lambda handle: handle.job,
        lambda handle: handle.jobs,
        lambda handle: handle.result(),
        lambda handle: asyncio.run(handle.aresult()),
        lambda handle: list(handle.iter_tasks()),
        lambda handle: handle.cancel(),
    ],
)
def test_a_run_that_is_not_there(step_harness, look):
    with pytest.raises(RunNotFoundError) as caught:
        look(RunHandle("nobody", app_context=step_harness.app_context))
    assert caught.value.run_id == "nobody"


def test_the_whole_result(step_harness, handle, finish, make):
    finish()
    result = handle.result()
    assert result.run_id == "r"
    assert result.job == make.job("success")
    assert result.jobs == [result.job]
    assert [task.url for task in result.tasks] == make.urls(2)
    assert [task.content for task in result.tasks] == ["<html>"] * 2
    assert result.order_verified
    assert asyncio.run(handle.aresult()) == result


@pytest.mark.parametrize(
    "error",
    [
        JobFailedError({"JobID": "j", "Status": "error"}, "r"),
        JobCanceledError(None, "r"),
        TaskFailedError({"TaskID": "t", "JobID": "j", "Status": "error"}, "r"),
        RunTimeoutError("late", "r", 5.0),
        SubmitInDoubtError("lost", 2, 1.5),
        JobLostError("gone", "r"),
        PoisonedRunError("died", "r"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_every_outcome_raises_its_error_and_keeps_what_was_fetched(step_harness, handle, finish, make, error):
    finish("failed", error=error, positions=[1])
    for read in (handle.result, lambda: asyncio.run(handle.aresult())):
        with pytest.raises(type(error)) as caught:
            read()
        assert caught.value.args == error.args
    assert [task.url for task in handle.iter_tasks()] == make.urls(1, 1)


def test_a_result_that_is_not_ready(step_harness, handle):
    for read in (lambda: handle.result(timeout=0), lambda: asyncio.run(handle.aresult(timeout=0.01))):
        with pytest.raises(ResultNotReadyError, match=r"still queued.*try again later") as caught:
            read()
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.run_id == "r"
    with pytest.raises(ResultNotReadyError):
        next(handle.iter_tasks())


def test_a_time_out_is_kept(handle):
    began = time.monotonic()
    with pytest.raises(ResultNotReadyError):
        handle.result(timeout=0.3)
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("timeout", [None, 30])
def test_a_caller_that_waits_gets_the_result_when_it_comes(step_harness, handle, finish, timeout):
    timer = threading.Timer(0.15, finish)
    timer.start()
    assert handle.result(timeout).run_id == "r"
    timer.join()


def test_an_async_caller_that_waits_does_not_block_its_loop(step_harness, handle, finish):
    timer = threading.Timer(0.2, finish)
    timer.start()

    async def go():
        beats, waiting = 0, asyncio.ensure_future(handle.aresult(30))
        while not waiting.done():
            await asyncio.sleep(0.01)
            beats += 1
        return beats, waiting.result()

    beats, result = asyncio.run(go())
    timer.join()
    assert beats > 3
    assert result.run_id == "r"


def test_a_time_out_of_none_waits_on_between_looks(step_harness, handle, monkeypatch):
    naps = []
    replace_sleep(monkeypatch, handle_module, lambda seconds: naps.append(seconds) or enough())

    def enough():
        if len(naps) == 12:
            step_harness.finish_part(outcome="lost")
            step_harness.run(RecordOutcome("r", "lost", {"error": json.dumps(JobLostError("x", "r").to_json())}))

    with pytest.raises(JobLostError):
        handle.result()
    assert naps == sorted(naps)
    assert naps[0] < 0.05
    assert naps[-1] <= 0.2


def test_tasks_come_in_input_order(step_harness, make):
    wanted = make.urls(4)
    step_harness.create_run(each=wanted)
    handle = RunHandle("r", app_context=step_harness.app_context)
    shuffled = [wanted[n] for n in (2, 0, 3, 1)]
    job = make.job("success", 4)
    job = job.model_copy(
        update={"tasks": [t.model_copy(update={"url": u}) for t, u in zip(job.tasks, shuffled, strict=True)]}
    )
    step_harness.make_running(state=PartState.FETCHING)
    claim = step_harness.claim_part()
    step_harness.run(UpdatePart(claim, {}, job=job))
    for position, url in enumerate(shuffled):
        step_harness.store_content(position=position, url=url)
    step_harness.run(FinishPart(claim, "succeeded"))
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    assert [task.url for task in handle.iter_tasks()] == wanted
    assert handle.result().order_verified


def test_unproven_order_is_the_order_of_the_job(step_harness, handle, finish, make):
    finish(urls=["https://else.example/1", "https://else.example/2"], job=make.job("success", 2, start=90))
    result = handle.result()
    assert not result.order_verified
    assert [task.url for task in result.tasks] == ["https://else.example/1", "https://else.example/2"]


def test_order_is_unverified_if_tasks_contradict_the_job(step_harness, handle, finish, make):
    finish(urls=make.urls(2)[::-1])
    result = handle.result()
    assert not result.order_verified
    assert [task.task_id for task in result.tasks] == ["t0", "t1"]


def test_the_tasks_tell_the_order_if_the_job_does_not(step_harness, handle, finish, make):
    finish(job=make.job("success", summary=False), urls=make.urls(2)[::-1])
    result = handle.result()
    assert result.order_verified
    assert [task.url for task in result.tasks] == make.urls(2)


def test_a_task_that_is_gone_does_not_contradict_the_job(step_harness, handle, finish, make):
    finish(positions=[])
    step_harness.store_content(position=0)
    step_harness.store_content(position=1, url="", status="error", gone=True)
    assert handle.result().order_verified


def test_one_task_for_equal_targets_comes_at_each_of_them(step_harness, finish, make):
    step_harness.create_run(each=[make.urls(1)[0], make.urls(2)[1], make.urls(1)[0]])
    finish()
    handle = RunHandle("r", app_context=step_harness.app_context)
    assert [task.task_id for task in handle.iter_tasks()] == ["t0", "t1", "t0"]
    assert [task.task_id for task in handle.result().tasks] == ["t0", "t1", "t0"]
    assert handle.result().order_verified
    step_harness.redis.hdel(step_harness.keys.contents(PartId("r", 0)), "1")
    with pytest.raises(ResultExpiredError):
        handle.result()


def test_the_order_of_a_plugin_is_that_of_the_job(step_harness, finish):
    request = JobCreationRequest(plugin={"key": "google/search", "params": [{"q": "a"}, {"q": "b"}]})
    step_harness.run(CreateRun("r", RunSpec(request)))
    finish()
    result = RunHandle("r", app_context=step_harness.app_context).result()
    assert not result.order_verified
    assert [task.task_id for task in result.tasks] == ["t0", "t1"]


def test_parts_come_one_after_the_other(step_harness, make):
    step_harness.create_multi_part_run(2)
    for part, job in ((0, make.job("success", 1000)), (1, make.job("success", 1, start=1000))):
        step_harness.make_running(part=part, state=PartState.FETCHING)
        claim = step_harness.claim_part(part=part)
        step_harness.run(UpdatePart(claim, {}, job=job))
        for position in range(0, len(job.tasks), 250):
            step_harness.store_content(part=part, position=position, url=job.tasks[position].url)
        step_harness.run(FinishPart(claim, "succeeded"))
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    handle = RunHandle("r", app_context=step_harness.app_context)
    assert [task.url.rpartition("/")[2] for task in handle.iter_tasks()] == ["0", "250", "500", "750", "1000"]


def test_a_run_is_streamed_a_few_pages_at_a_time(step_harness, make, monkeypatch):
    step_harness.create_run(targets=100)
    step_harness.make_running(state=PartState.FETCHING)
    claim = step_harness.claim_part()
    step_harness.run(UpdatePart(claim, {}, job=make.job("success", 100)))
    for position in range(100):
        step_harness.store_content(position=position)
    step_harness.run(FinishPart(claim, "succeeded"))
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    asked = []
    real = ReadContents.encode

    def encode(command, keys):
        asked.append(list(command.positions))
        return real(command, keys)

    monkeypatch.setattr(ReadContents, "encode", encode)
    tasks = RunHandle("r", app_context=step_harness.app_context).iter_tasks()
    next(tasks)
    assert len(asked) == 1
    assert 1 + len(list(tasks)) == 100
    assert max(map(len, asked)) <= 50
    assert sum(asked, []) == list(range(100))  # noqa: RUF017


def test_contents_that_are_past_their_life(step_harness, handle, finish):
    finish()
    step_harness.redis.delete(step_harness.keys.contents(PartId("r", 0)))
    with pytest.raises(ResultExpiredError) as caught:
        handle.result()
    assert caught.value.run_id == "r"
    with pytest.raises(ResultExpiredError):
        list(handle.iter_tasks())
    assert handle.state is RunState.SUCCEEDED


def test_run_ended_before_a_purchase_has_no_tasks(step_harness, handle):
    step_harness.finish_part(outcome="failed")
    step_harness.run(RecordOutcome("r", "failed", {}))
    assert list(handle.iter_tasks()) == []


def test_canceling_what_was_not_sent_ends_it(step_harness, handle):
    assert handle.cancel() is True
    assert step_harness.step_messages() == []
    assert step_harness.part().outcome == "canceled"
    assert step_harness.due_parts()["r:run"] <= 0


def test_canceling_what_runs_publishes_for_it(step_harness, handle):
    step_harness.make_running()
    assert handle.cancel() is True
    assert step_harness.step_messages() == [(routing.CANCEL_RUN, ["r:0"])]
    assert step_harness.read_run().stop_reason == "cancel"
    assert handle.state is RunState.RUNNING


@pytest.mark.parametrize("state", [PartState.SUBMITTING, PartState.RECONCILING, PartState.FETCHING])
def test_canceling_in_between_is_a_stop_request(step_harness, handle, state):
    step_harness.make_running(state=state)
    assert handle.cancel() is True
    assert step_harness.step_messages() == []
    assert step_harness.read_run().stop_reason == "cancel"


def test_canceling_what_has_ended(step_harness, handle, finish):
    finish()
    assert handle.cancel() is False
    assert step_harness.read_run().stop_reason is None


def test_forgetting_frees_everything(step_harness, handle, finish):
    step_harness.app.backend.store_result("r", {"a": 1}, "SUCCESS")
    finish()
    step_harness.run(AcknowledgeDelivery("r", "r", step_harness.app_context.retention))
    handle.forget()
    assert None not in step_harness.ttls().values()
    assert (
        not {
            step_harness.keys.part(PartId("r", 0)),
            step_harness.keys.contents(PartId("r", 0)),
            step_harness.keys.job(PartId("r", 0)),
        }
        & step_harness.ttls().keys()
    )
    assert handle.async_result.state == "PENDING"
    with pytest.raises(RunNotFoundError):
        handle.result()


def test_forgetting_without_a_result_backend(step_harness, handle, finish, monkeypatch):
    finish()
    step_harness.run(AcknowledgeDelivery("r", "r", step_harness.app_context.retention))
    monkeypatch.setattr(step_harness.app, "_local", threading.local())
    monkeypatch.setattr(step_harness.app, "backend_cls", "disabled")
    monkeypatch.setattr(step_harness.app, "_backend_cache", None, raising=False)
    handle.forget()
    assert step_harness.read_run() is None


def test_live_run_cannot_be_forgotten(step_harness, handle):
    with pytest.raises(RunError, match="or cancel it if you do not need its pages"):
        handle.forget()
    assert handle.state is RunState.QUEUED


def test_the_celery_result_has_the_id_of_the_run(step_harness, handle):
    assert handle.async_result.id == "r"
    assert handle.async_result.app is step_harness.app
