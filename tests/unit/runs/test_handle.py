"""`RunHandle`: looking, waiting, reading, canceling, forgetting."""

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
from scrape_do_celery.store import PartState, RunSpec, RunState, ops
from scrape_do_celery.store.codec import pack


@pytest.fixture
def handle(plant):
    plant.begin()
    return RunHandle("r", producer=plant.producer)


@pytest.fixture
def finish(plant, make):
    """Ends run `r`: its job, the tasks that were fetched, its outcome and its error."""

    def end(outcome="succeeded", *, job=None, positions=(0, 1), error=None, urls=None):
        job = job or make.job("success")
        plant.buy(state=PartState.FETCHING)
        claim = plant.take()
        plant.run(ops.update_part(plant.keys, claim, {}, job=job))
        for position in positions:
            plant.put(position=position, **({"url": urls[position]} if urls else {}))
        plant.run(ops.finish_part(plant.keys, claim, outcome, error=error))
        fields = {"decided_by": 0, "result": pack({})}
        if error is not None:
            fields["error"] = json.dumps(error.to_json())
        plant.run(ops.record_outcome(plant.keys, "r", outcome, fields))

    return end


@pytest.mark.parametrize("run_id", ["", None, 7])
def test_an_id_is_a_text(run_id):
    with pytest.raises(ValueError, match="run_id"):
        RunHandle(run_id)


def test_handles_of_one_run_are_equal(plant, handle):
    assert handle == RunHandle("r", producer=plant.producer)
    assert handle != RunHandle("other", producer=plant.producer)
    assert handle != "r"
    assert repr(handle) == "RunHandle('r')"
    assert len({handle, RunHandle("r", producer=plant.producer)}) == 1


def test_a_handle_finds_its_own_way_to_the_store(plant, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context._current_app", lambda settings: plant.app)
    plant.begin()
    assert RunHandle("r").state is RunState.QUEUED


def test_states_and_progress_as_the_run_moves(plant, handle, make):
    assert (handle.state, handle.progress, handle.job, handle.jobs) == (RunState.QUEUED, Progress(0, 0, 2), None, [])
    claim = plant.take()
    plant.run(ops.write_intent(plant.keys, claim, "n", 100, account=plant.account))
    assert handle.state is RunState.SUBMITTING
    plant.update(claim, after=0, state="running", reported_ok=1, reported_failed=1)
    assert (handle.state, handle.progress) == (RunState.RUNNING, Progress(1, 1, 2))
    plant.run(ops.update_part(plant.keys, plant.take(), {"state": "fetching"}, after=0.0, job=make.job("success")))
    assert (handle.state, handle.job) == (RunState.FETCHING, make.job("success"))
    plant.put(position=0)
    plant.put(position=1, status="error")
    plant.finish()
    assert (handle.state, handle.progress) == (RunState.FETCHING, Progress(1, 1, 2))
    plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {}))
    assert handle.state is RunState.SUCCEEDED


def test_jobs_of_all_parts_and_the_one_that_decided(plant, make):
    plant.part_by_part(3)
    handle = RunHandle("r", producer=plant.producer)
    for n in (1, 2):
        claim = plant.take(part=n)
        plant.run(ops.update_part(plant.keys, claim, {}, job=make.job("success", job_id=f"j{n}")))
    assert [job.job_id for job in handle.jobs] == ["j1", "j2"]
    assert handle.job.job_id == "j1"
    plant.redis.hset(plant.keys.run("r"), "left", 0)
    plant.run(ops.record_outcome(plant.keys, "r", "failed", {"decided_by": 2}))
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
def test_a_run_that_is_not_there(plant, look):
    with pytest.raises(RunNotFoundError) as caught:
        look(RunHandle("nobody", producer=plant.producer))
    assert caught.value.run_id == "nobody"


def test_the_whole_result(plant, handle, finish, make):
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
def test_every_outcome_raises_its_error_and_keeps_what_was_fetched(plant, handle, finish, make, error):
    finish("failed", error=error, positions=[1])
    for read in (handle.result, lambda: asyncio.run(handle.aresult())):
        with pytest.raises(type(error)) as caught:
            read()
        assert caught.value.args == error.args
    assert [task.url for task in handle.iter_tasks()] == make.urls(1, 1)


def test_a_result_that_is_not_ready(plant, handle):
    for read in (lambda: handle.result(timeout=0), lambda: asyncio.run(handle.aresult(timeout=0.01))):
        with pytest.raises(ResultNotReadyError, match=r"queued.*goes on") as caught:
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
def test_a_caller_that_waits_gets_the_result_when_it_comes(plant, handle, finish, timeout):
    timer = threading.Timer(0.15, finish)
    timer.start()
    assert handle.result(timeout).run_id == "r"
    timer.join()


def test_an_async_caller_that_waits_does_not_block_its_loop(plant, handle, finish):
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


def test_a_time_out_of_none_waits_on_between_looks(plant, handle, monkeypatch):
    naps = []
    monkeypatch.setattr("scrape_do_celery.runs.handle.time.sleep", lambda seconds: naps.append(seconds) or enough())

    def enough():
        if len(naps) == 12:
            plant.finish(outcome="lost")
            plant.run(
                ops.record_outcome(plant.keys, "r", "lost", {"error": json.dumps(JobLostError("x", "r").to_json())})
            )

    with pytest.raises(JobLostError):
        handle.result()
    assert naps == sorted(naps)
    assert naps[0] < 0.05
    assert naps[-1] <= 0.2


def test_tasks_come_in_input_order_whatever_the_order_of_the_job(plant, make):
    wanted = make.urls(4)
    plant.begin(each=wanted)
    handle = RunHandle("r", producer=plant.producer)
    shuffled = [wanted[n] for n in (2, 0, 3, 1)]
    job = make.job("success", 4)
    job = job.model_copy(
        update={"tasks": [t.model_copy(update={"url": u}) for t, u in zip(job.tasks, shuffled, strict=True)]}
    )
    plant.buy(state=PartState.FETCHING)
    claim = plant.take()
    plant.run(ops.update_part(plant.keys, claim, {}, job=job))
    for position, url in enumerate(shuffled):
        plant.put(position=position, url=url)
    plant.run(ops.finish_part(plant.keys, claim, "succeeded"))
    plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {}))
    assert [task.url for task in handle.iter_tasks()] == wanted
    assert handle.result().order_verified


def test_an_order_that_cannot_be_proven_is_the_order_of_the_job(plant, handle, finish, make):
    finish(urls=["https://else.example/1", "https://else.example/2"], job=make.job("success", 2, start=90))
    result = handle.result()
    assert not result.order_verified
    assert [task.url for task in result.tasks] == ["https://else.example/1", "https://else.example/2"]


def test_an_order_is_not_verified_if_the_tasks_contradict_the_job(plant, handle, finish, make):
    finish(urls=make.urls(2)[::-1])
    result = handle.result()
    assert not result.order_verified
    assert [task.task_id for task in result.tasks] == ["t0", "t1"]


def test_the_tasks_tell_the_order_if_the_job_does_not(plant, handle, finish, make):
    finish(job=make.job("success", summary=False), urls=make.urls(2)[::-1])
    result = handle.result()
    assert result.order_verified
    assert [task.url for task in result.tasks] == make.urls(2)


def test_a_task_that_is_gone_does_not_contradict_the_job(plant, handle, finish, make):
    finish(positions=[])
    plant.put(position=0)
    plant.put(position=1, url="", status="error", gone=True)
    assert handle.result().order_verified


def test_one_task_for_equal_targets_comes_at_each_of_them(plant, finish, make):
    plant.begin(each=[make.urls(1)[0], make.urls(2)[1], make.urls(1)[0]])
    finish()
    handle = RunHandle("r", producer=plant.producer)
    assert [task.task_id for task in handle.iter_tasks()] == ["t0", "t1", "t0"]
    assert [task.task_id for task in handle.result().tasks] == ["t0", "t1", "t0"]
    assert handle.result().order_verified
    plant.redis.hdel(plant.keys.contents("r", 0), "1")
    with pytest.raises(ResultExpiredError):
        handle.result()


def test_the_order_of_a_plugin_is_that_of_the_job(plant, finish):
    request = JobCreationRequest(plugin={"key": "k", "params": [{"q": "a"}, {"q": "b"}]})
    plant.run(ops.create_run(plant.keys, "r", RunSpec(request)))
    finish()
    result = RunHandle("r", producer=plant.producer).result()
    assert not result.order_verified
    assert [task.task_id for task in result.tasks] == ["t0", "t1"]


def test_parts_come_one_after_the_other(plant, make):
    plant.part_by_part(2)
    for part, job in ((0, make.job("success", 1000)), (1, make.job("success", 1, start=1000))):
        plant.buy(part=part, state=PartState.FETCHING)
        claim = plant.take(part=part)
        plant.run(ops.update_part(plant.keys, claim, {}, job=job))
        for position in range(0, len(job.tasks), 250):
            plant.put(part=part, position=position, url=job.tasks[position].url)
        plant.run(ops.finish_part(plant.keys, claim, "succeeded"))
    plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {}))
    handle = RunHandle("r", producer=plant.producer)
    assert [task.url.rpartition("/")[2] for task in handle.iter_tasks()] == ["0", "250", "500", "750", "1000"]


def test_a_run_is_streamed_a_few_pages_at_a_time(plant, make, monkeypatch):
    plant.begin(targets=100)
    plant.buy(state=PartState.FETCHING)
    claim = plant.take()
    plant.run(ops.update_part(plant.keys, claim, {}, job=make.job("success", 100)))
    for position in range(100):
        plant.put(position=position)
    plant.run(ops.finish_part(plant.keys, claim, "succeeded"))
    plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {}))
    asked = []
    real = ops.contents

    def contents(keys, part_id, positions):
        asked.append(list(positions))
        return real(keys, part_id, positions)

    monkeypatch.setattr(ops, "contents", contents)
    tasks = RunHandle("r", producer=plant.producer).iter_tasks()
    next(tasks)
    assert len(asked) == 1
    assert 1 + len(list(tasks)) == 100
    assert max(map(len, asked)) <= 50
    assert sum(asked, []) == list(range(100))  # noqa: RUF017


def test_contents_that_are_past_their_life(plant, handle, finish):
    finish()
    plant.redis.delete(plant.keys.contents("r", 0))
    with pytest.raises(ResultExpiredError) as caught:
        handle.result()
    assert caught.value.run_id == "r"
    with pytest.raises(ResultExpiredError):
        list(handle.iter_tasks())
    assert handle.state is RunState.SUCCEEDED


def test_a_run_that_ended_before_a_job_was_bought_has_no_tasks(plant, handle):
    plant.finish(outcome="failed")
    plant.run(ops.record_outcome(plant.keys, "r", "failed", {}))
    assert list(handle.iter_tasks()) == []


def test_canceling_what_was_not_sent_ends_it(plant, handle):
    assert handle.cancel() is True
    assert plant.messages() == []
    assert plant.part().outcome == "canceled"
    assert plant.due()["r:run"] <= 0


def test_canceling_what_runs_publishes_for_it(plant, handle):
    plant.buy()
    assert handle.cancel() is True
    assert plant.messages() == [(routing.CANCEL_RUN, ["r:0"])]
    assert plant.view().stop_reason == "cancel"
    assert handle.state is RunState.RUNNING


@pytest.mark.parametrize("state", [PartState.SUBMITTING, PartState.RECONCILING, PartState.FETCHING])
def test_canceling_in_between_is_a_stop_request(plant, handle, state):
    plant.buy(state=state)
    assert handle.cancel() is True
    assert plant.messages() == []
    assert plant.view().stop_reason == "cancel"


def test_canceling_what_has_ended(plant, handle, finish):
    finish()
    assert handle.cancel() is False
    assert plant.view().stop_reason is None


def test_forgetting_frees_everything(plant, handle, finish):
    plant.app.backend.store_result("r", {"a": 1}, "SUCCESS")
    finish()
    plant.run(ops.acknowledge_delivery(plant.keys, "r", "r", plant.producer.retention))
    handle.forget()
    assert None not in plant.ttls().values()
    assert not {plant.keys.part("r", 0), plant.keys.contents("r", 0), plant.keys.job("r", 0)} & plant.ttls().keys()
    assert handle.async_result.state == "PENDING"
    with pytest.raises(RunNotFoundError):
        handle.result()


def test_forgetting_without_a_result_backend(plant, handle, finish, monkeypatch):
    finish()
    plant.run(ops.acknowledge_delivery(plant.keys, "r", "r", plant.producer.retention))
    monkeypatch.setattr(plant.app, "_local", threading.local())
    monkeypatch.setattr(plant.app, "backend_cls", "disabled")
    monkeypatch.setattr(plant.app, "_backend_cache", None, raising=False)
    handle.forget()
    assert plant.view() is None


def test_what_lives_is_not_forgotten(plant, handle):
    with pytest.raises(RunError, match="cancel it first"):
        handle.forget()
    assert handle.state is RunState.QUEUED


def test_the_celery_result_has_the_id_of_the_run(plant, handle):
    assert handle.async_result.id == "r"
    assert handle.async_result.app is plant.app
