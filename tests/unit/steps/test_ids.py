"""The ids of a job's tasks: each that was ever named, none twice, and figures that add up."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.models import JobDetails, UndetailedTaskResponse
from scrape_do_celery.polling import RETENTION
from scrape_do_celery.rules.fetch import UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL
from scrape_do_celery.rules.ids import is_placeholder
from scrape_do_celery.runs import RunHandle, StepMessage, retry_failed
from scrape_do_celery.store import PartId, PartState, ops
from scrape_do_celery.store.codec import pack
from scrape_do_celery.tasks.cancel import cancel
from scrape_do_celery.tasks.poll import poll

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)


@pytest.fixture
def at_home(plant, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context._current_app", lambda settings: plant.app)


def begin(plant, targets=None, known=None, count=3):
    plant.begin(targets=count, each=targets)
    plant.buy()
    if known is not None:
        plant.force(tasks=pack(known))
    return plant


def page(make, urls=None):
    return lambda _, i: make.task(int(i[1:]), **({"url": urls[int(i[1:])]} if urls else {})).model_copy(
        update={"task_id": i}
    )


def poll_until_given_up(plant):
    """What the last poll answers, after as many attempts as an answer of no use has."""
    for _ in range(UNREADABLE_ATTEMPTS - 1):
        assert plant.step(poll, plant.take()) is None
        plant.clock.forward(UNREADABLE_INTERVAL + 1)
    return plant.step(poll, plant.take())


def asked(plant):
    return [task_id for _, task_id in plant.api.called("get_task")]


def adds_up(plant):
    part = plant.part()
    return part.state is PartState.DONE and part.done + part.failed == part.total


def result(plant):
    plant.run(ops.record_outcome(plant.keys, "r", plant.part().outcome, {}))
    return RunHandle("r", producer=plant.producer).result()


def test_a_job_that_ends_with_fewer_ids_has_those_of_its_purchase_as_well(plant, make):
    begin(plant)
    plant.api.script(get_job=make.job("success", 2), get_task=page(make))
    assert plant.step(poll, plant.take()) == AGGREGATE
    assert sorted(asked(plant)) == ["t0", "t1", "t2"]
    assert adds_up(plant)


def test_an_id_that_is_named_twice_or_in_another_case_is_one_id(plant, make):
    begin(plant)
    job = make.job("success", 3)
    job = job.model_copy(update={"task_ids": ["T1", "t1", "t0", "T0", "t2"]})
    plant.api.script(get_job=job, get_task=page(make))
    assert plant.step(poll, plant.take()) == AGGREGATE
    assert sorted(asked(plant)) == ["t0", "t1", "t2"]
    assert adds_up(plant)


def test_ids_beyond_the_targets_are_dropped_and_counted(plant, make):
    begin(plant, count=1, known=["t0"])
    ids = [f"t{n}" for n in range(1_000)]
    tasks = [UndetailedTaskResponse(task_id=i, url="https://shop.example/0", status="success") for i in ids]
    plant.api.script(
        get_job=JobDetails(job_id="job-r-0", status="success", task_ids=ids, tasks=tasks), get_task=page(make)
    )

    async def counted(runtime, claim):
        await poll(runtime, claim)
        return runtime.rate_limiter.counters.drain()["surplus_ids"]

    assert plant.step(counted, plant.take()) == 999
    assert asked(plant) == ["t0"]
    assert adds_up(plant)
    assert plant.run(ops.job(plant.keys, PART_ID)).task_ids == ["t0"]


def test_surplus_tasks_of_a_job_that_runs_are_not_kept(plant, make):
    begin(plant, count=1)
    plant.api.script(get_job=make.job("pending", 500))
    plant.step(poll, plant.take())
    kept = plant.run(ops.job(plant.keys, PART_ID))
    assert (kept.task_ids, len(kept.tasks)) == (["t0"], 1)


def test_ids_of_earlier_answers_are_remembered(plant, make):
    plant.begin(early=True)
    plant.buy()
    plant.force(tasks=pack([]))
    plant.api.script(
        get_job=[make.job("pending", 2), make.job("success", 2).model_copy(update={"task_ids": [], "tasks": []})],
        get_task=page(make),
    )
    plant.step(poll, plant.take())
    assert plant.part().task_ids == ("t0", "t1")
    plant.clock.forward(60)
    assert plant.step(poll, plant.take()) == AGGREGATE
    assert adds_up(plant)


def test_equal_targets_may_be_answered_with_one_task(plant, make):
    targets = ["https://a.example/", "https://b.example/", "https://a.example/"]
    begin(plant, targets, known=["t0", "t1"])
    job = make.job("success", 2)
    urls = [targets[1], targets[0]]
    tasks = [task.model_copy(update={"url": urls[n]}) for n, task in enumerate(job.tasks)]
    plant.api.script(get_job=job.model_copy(update={"tasks": tasks}), get_task=page(make, urls))
    assert plant.step(poll, plant.take()) == AGGREGATE
    assert (plant.part().total, adds_up(plant)) == (2, True)
    found = result(plant)
    assert [task.url for task in found.tasks] == targets
    assert found.order_verified


@pytest.mark.usefixtures("at_home")
def test_then_the_retry_has_each_target_that_failed(plant, make):
    targets = ["https://a.example/", "https://b.example/", "https://a.example/"]
    begin(plant, targets, known=["t0", "t1"])
    job = make.job("success", 2)
    tasks = [task.model_copy(update={"url": targets[n]}) for n, task in enumerate(job.tasks)]
    failed = make.task(0, status="error", url=targets[0])
    plant.api.script(
        get_job=job.model_copy(update={"tasks": tasks}),
        get_task=lambda _, i: failed if i == "t0" else make.task(1, url=targets[1]),
    )
    plant.step(poll, plant.take())
    plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {}))
    spec = plant.run(ops.spec(plant.keys, retry_failed("r").run_id, 1))
    assert spec.request.targets == [targets[0], targets[2]]


@pytest.mark.usefixtures("at_home")
def test_a_target_that_no_task_was_named_for_has_failed(plant, make):
    begin(plant, known=["t0", "t1"])
    plant.api.script(get_job=make.job("success", 2), get_task=page(make))
    assert poll_until_given_up(plant) == AGGREGATE
    assert sorted(asked(plant)) == ["t0", "t1"]
    assert adds_up(plant)
    found = result(plant)
    (missing,) = found.failed
    assert (missing.url, is_placeholder(missing.task_id)) == (make.urls(3)[2], True)
    assert "named no task" in missing.error_message
    spec = plant.run(ops.spec(plant.keys, retry_failed("r").run_id, 1))
    assert spec.request.targets == make.urls(1, start=2)


def test_a_job_that_was_stopped_has_only_the_tasks_that_it_names(plant, make):
    begin(plant, known=["t0"])
    plant.api.script(get_job=make.job("canceled", tasks=["success"]), get_task=page(make))
    assert poll_until_given_up(plant) == AGGREGATE
    assert (plant.part().outcome, plant.part().stored_ok, plant.part().stored_failed) == ("canceled", 1, 0)


@pytest.mark.parametrize("word", ["success", "error", "canceled"])
def test_one_answer_that_names_too_few_tasks_loses_none(plant, make, word):
    begin(plant, known=[])
    job = make.job(word, tasks=["success"] * 3)
    some = job.model_copy(update={"task_ids": ["t0"], "tasks": job.tasks[:1]})
    plant.api.script(get_job=[some, job], get_task=page(make))
    assert plant.step(poll, plant.take()) is None
    assert "names 1 of its tasks" in plant.part().api_error
    plant.clock.forward(5)
    assert plant.step(poll, plant.take()) == AGGREGATE
    assert (sorted(asked(plant)), plant.part().stored_ok) == (["t0", "t1", "t2"], 3)


def test_answers_that_name_other_tasks_each_complete_one_another(plant, make):
    begin(plant, known=[])
    job = make.job("success", 3)
    parts = [job.model_copy(update={"task_ids": [i], "tasks": []}) for i in job.task_ids]
    plant.api.script(get_job=parts, get_task=page(make))
    for answer in (None, None, AGGREGATE):
        assert plant.step(poll, plant.take()) == answer
        plant.clock.forward(40)
    assert plant.part().stored_ok == 3


def test_a_run_that_is_to_end_waits_for_further_tasks_as_long_as_for_its_job(plant, make):
    begin(plant, known=[])
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    plant.api.script(get_job=make.job("success", 2), get_task=page(make))
    assert plant.step(cancel, plant.take()) is None
    plant.clock.forward(plant.settings.cancel_grace + 1)
    assert plant.step(cancel, plant.take()) == AGGREGATE
    assert plant.part().stored_ok == 2


def test_a_part_without_an_id_is_lost_also_once_it_is_forgotten(plant):
    begin(plant, known=[])
    plant.clock.forward(RETENTION + 7200)
    plant.api.script(get_job=JobDetails(job_id="job-r-0", status="archived"))
    assert plant.step(poll, plant.take()) == AGGREGATE
    assert plant.part().outcome == "lost"
