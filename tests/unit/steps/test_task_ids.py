"""Test a job's task ids: every named id is kept, none twice, and the figures add up."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.models import JobDetails, UndetailedTaskResponse
from scrape_do_celery.rules.fetch import UNREADABLE_ATTEMPTS, UNREADABLE_INTERVAL
from scrape_do_celery.rules.ids import is_placeholder
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.runs import RunHandle, StepMessage, retry_failed
from scrape_do_celery.steps.cancel import cancel_part
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.parts import ReadJob
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome, RequestStop

AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))
PART_ID = PartId("r", 0)


@pytest.fixture
def own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


def begin(step_harness, targets=None, known=None, count=3):
    step_harness.create_run(targets=count, each=targets)
    step_harness.make_running()
    if known is not None:
        step_harness.set_fields(tasks=pack(known))
    return step_harness


def page(make, urls=None):
    return lambda _, i: make.task(int(i[1:]), **({"url": urls[int(i[1:])]} if urls else {})).model_copy(
        update={"task_id": i}
    )


def poll_until_given_up(step_harness):
    """Poll until unusable answers have used up their attempts. Return the last poll's answer."""
    for _ in range(UNREADABLE_ATTEMPTS - 1):
        assert step_harness.run_step(poll_part, step_harness.claim_part()) is None
        step_harness.clock.forward(UNREADABLE_INTERVAL + 1)
    return step_harness.run_step(poll_part, step_harness.claim_part())


def asked(step_harness):
    return [task_id for _, task_id in step_harness.api.called("get_task")]


def adds_up(step_harness):
    part = step_harness.part()
    return part.state is PartState.DONE and part.done + part.failed == part.total


def result(step_harness):
    step_harness.run(RecordOutcome("r", step_harness.part().outcome, {}))
    return RunHandle("r", app_context=step_harness.app_context).result()


def test_job_ending_with_fewer_ids_keeps_purchased_ids(step_harness, make):
    begin(step_harness)
    step_harness.api.script(get_job=make.job("success", 2), get_task=page(make))
    assert step_harness.run_step(poll_part, step_harness.claim_part()) == AGGREGATE
    assert sorted(asked(step_harness)) == ["t0", "t1", "t2"]
    assert adds_up(step_harness)


def test_repeated_id_in_any_case_is_one_id(step_harness, make):
    begin(step_harness)
    job = make.job("success", 3)
    job = job.model_copy(update={"task_ids": ["T1", "t1", "t0", "T0", "t2"]})
    step_harness.api.script(get_job=job, get_task=page(make))
    assert step_harness.run_step(poll_part, step_harness.claim_part()) == AGGREGATE
    assert sorted(asked(step_harness)) == ["t0", "t1", "t2"]
    assert adds_up(step_harness)


def test_ids_beyond_the_targets_are_dropped_and_counted(step_harness, make):
    begin(step_harness, count=1, known=["t0"])
    ids = [f"t{n}" for n in range(1_000)]
    tasks = [UndetailedTaskResponse(task_id=i, url="https://shop.example/0", status="success") for i in ids]
    step_harness.api.script(
        get_job=JobDetails(job_id="job-r-0", status="success", task_ids=ids, tasks=tasks), get_task=page(make)
    )

    async def counted(context, claim):
        await poll_part(context, claim)
        return context.rate_limiter.counters.drain()["surplus_ids"]

    assert step_harness.run_step(counted, step_harness.claim_part()) == 999
    assert asked(step_harness) == ["t0"]
    assert adds_up(step_harness)
    assert step_harness.run(ReadJob(PART_ID)).task_ids == ["t0"]


def test_surplus_tasks_of_a_job_that_runs_are_not_kept(step_harness, make):
    begin(step_harness, count=1)
    step_harness.api.script(get_job=make.job("pending", 500))
    step_harness.run_step(poll_part, step_harness.claim_part())
    kept = step_harness.run(ReadJob(PART_ID))
    assert (kept.task_ids, len(kept.tasks)) == (["t0"], 1)


def test_ids_of_earlier_answers_are_remembered(step_harness, make):
    step_harness.create_run(early=True)
    step_harness.make_running()
    step_harness.set_fields(tasks=pack([]))
    step_harness.api.script(
        get_job=[make.job("pending", 2), make.job("success", 2).model_copy(update={"task_ids": [], "tasks": []})],
        get_task=page(make),
    )
    step_harness.run_step(poll_part, step_harness.claim_part())
    assert step_harness.part().task_ids == ("t0", "t1")
    step_harness.clock.forward(60)
    assert step_harness.run_step(poll_part, step_harness.claim_part()) == AGGREGATE
    assert adds_up(step_harness)


def test_equal_targets_may_be_answered_with_one_task(step_harness, make):
    targets = ["https://a.example/", "https://b.example/", "https://a.example/"]
    begin(step_harness, targets, known=["t0", "t1"])
    job = make.job("success", 2)
    urls = [targets[1], targets[0]]
    tasks = [task.model_copy(update={"url": urls[n]}) for n, task in enumerate(job.tasks)]
    step_harness.api.script(get_job=job.model_copy(update={"tasks": tasks}), get_task=page(make, urls))
    assert step_harness.run_step(poll_part, step_harness.claim_part()) == AGGREGATE
    assert (step_harness.part().total, adds_up(step_harness)) == (2, True)
    found = result(step_harness)
    assert [task.url for task in found.tasks] == targets
    assert found.order_verified


@pytest.mark.usefixtures("own_app")
def test_then_the_retry_has_each_target_that_failed(step_harness, make):
    targets = ["https://a.example/", "https://b.example/", "https://a.example/"]
    begin(step_harness, targets, known=["t0", "t1"])
    job = make.job("success", 2)
    tasks = [task.model_copy(update={"url": targets[n]}) for n, task in enumerate(job.tasks)]
    failed = make.task(0, status="error", url=targets[0])
    step_harness.api.script(
        get_job=job.model_copy(update={"tasks": tasks}),
        get_task=lambda _, i: failed if i == "t0" else make.task(1, url=targets[1]),
    )
    step_harness.run_step(poll_part, step_harness.claim_part())
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    spec = step_harness.run(ReadSpec(retry_failed("r").run_id, 1))
    assert spec.request.targets == [targets[0], targets[2]]


@pytest.mark.usefixtures("own_app")
def test_a_target_that_no_task_was_named_for_has_failed(step_harness, make):
    begin(step_harness, known=["t0", "t1"])
    step_harness.api.script(get_job=make.job("success", 2), get_task=page(make))
    assert poll_until_given_up(step_harness) == AGGREGATE
    assert sorted(asked(step_harness)) == ["t0", "t1"]
    assert adds_up(step_harness)
    found = result(step_harness)
    (missing,) = found.failed
    assert (missing.url, is_placeholder(missing.task_id)) == (make.urls(3)[2], True)
    assert "named no task" in missing.error_message
    spec = step_harness.run(ReadSpec(retry_failed("r").run_id, 1))
    assert spec.request.targets == make.urls(1, start=2)


def test_canceled_job_has_only_its_named_tasks(step_harness, make):
    begin(step_harness, known=["t0"])
    step_harness.api.script(get_job=make.job("canceled", tasks=["success"]), get_task=page(make))
    assert poll_until_given_up(step_harness) == AGGREGATE
    assert (step_harness.part().outcome, step_harness.part().stored_ok, step_harness.part().stored_failed) == (
        "canceled",
        1,
        0,
    )


@pytest.mark.parametrize("word", ["success", "error", "canceled"])
def test_one_answer_that_names_too_few_tasks_loses_none(step_harness, make, word):
    begin(step_harness, known=[])
    job = make.job(word, tasks=["success"] * 3)
    some = job.model_copy(update={"task_ids": ["t0"], "tasks": job.tasks[:1]})
    step_harness.api.script(get_job=[some, job], get_task=page(make))
    assert step_harness.run_step(poll_part, step_harness.claim_part()) is None
    assert "names 1 of its tasks" in step_harness.part().api_error
    step_harness.clock.forward(5)
    assert step_harness.run_step(poll_part, step_harness.claim_part()) == AGGREGATE
    assert (sorted(asked(step_harness)), step_harness.part().stored_ok) == (["t0", "t1", "t2"], 3)


def test_answers_that_name_other_tasks_each_complete_one_another(step_harness, make):
    begin(step_harness, known=[])
    job = make.job("success", 3)
    parts = [job.model_copy(update={"task_ids": [i], "tasks": []}) for i in job.task_ids]
    step_harness.api.script(get_job=parts, get_task=page(make))
    for answer in (None, None, AGGREGATE):
        assert step_harness.run_step(poll_part, step_harness.claim_part()) == answer
        step_harness.clock.forward(40)
    assert step_harness.part().stored_ok == 3


def test_stopped_run_waits_equally_for_tasks_and_job(step_harness, make):
    begin(step_harness, known=[])
    step_harness.run(RequestStop("r", "cancel"))
    step_harness.api.script(get_job=make.job("success", 2), get_task=page(make))
    assert step_harness.run_step(cancel_part, step_harness.claim_part()) is None
    step_harness.clock.forward(step_harness.settings.cancel_grace + 1)
    assert step_harness.run_step(cancel_part, step_harness.claim_part()) == AGGREGATE
    assert step_harness.part().stored_ok == 2


def test_part_without_ids_is_lost_after_retention(step_harness):
    begin(step_harness, known=[])
    step_harness.clock.forward(RETENTION + 7200)
    step_harness.api.script(get_job=JobDetails(job_id="job-r-0", status="archived"))
    assert step_harness.run_step(poll_part, step_harness.claim_part()) == AGGREGATE
    assert step_harness.part().outcome == "lost"
