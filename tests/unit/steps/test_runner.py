"""Test the common part of all steps: claim, renew the lease, work and publish, in one loop per process."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import routing
from scrape_do_celery.errors import ConfigurationError, PoisonedRunError
from scrape_do_celery.routing import Step
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.leases import LeaseLostError
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.store import PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands import dispatch
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MAX
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.tasks import cancel_run, fetch_tasks, poll_jobs, reconcile_submit, submit_jobs


async def nothing(context, claim):
    await context.release_until(claim, {}, 60.0)


def test_parts_run_concurrently_with_one_message_per_step(step_harness):
    for run_id in ("a", "b", "c"):
        step_harness.create_run(run_id)
    threads, together = set(), asyncio.Event()

    async def handler(context, claim):
        threads.add(threading.current_thread().name)
        if claim.part_id.run_id == "b":
            together.set()
        await asyncio.wait_for(together.wait(), 10)
        await context.release_until(claim, {}, 60.0)
        return StepMessage("next", (str(claim.part_id),)) if claim.part_id.run_id != "c" else None

    run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, handler), ["a:0", "b:0", "c:0"])
    assert step_harness.step_messages() == [("next", ["a:0", "b:0"])]
    assert threads == {"scrape-do-loop"}


def test_parts_in_other_states_are_left_alone(step_harness):
    step_harness.create_run("held")
    step_harness.claim_part("held")
    step_harness.create_run("other")
    step_harness.make_running("other")
    seen = []

    async def handler(context, claim):
        seen.append(claim)

    run_step(
        step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, handler), ["held:0", "other:0", "gone:0"]
    )
    assert seen == step_harness.sent == []


def test_a_lease_may_be_longer(step_harness):
    step_harness.create_run()

    async def handler(context, claim):
        assert step_harness.due_times()["r:0"] > 100

    run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, handler, 120.0), ["r:0"])


def test_one_part_that_fails_does_not_keep_the_others(step_harness, caplog):
    errors = {
        "bug": ValueError("a bug"),
        "store": RedisConnectionError("away"),
        "lease": LeaseLostError("lease:0"),
        "fine": None,
    }
    for run_id in errors:
        step_harness.create_run(run_id)

    async def handler(context, claim):
        if error := errors[claim.part_id.run_id]:
            raise error
        return StepMessage("next", (str(claim.part_id),))

    run_step(
        step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, handler), [f"{run_id}:0" for run_id in errors]
    )
    assert step_harness.step_messages() == [("next", ["fine:0"])]
    levels = {record.args[0].run_id: (record.levelname, bool(record.exc_info)) for record in caplog.records}
    assert levels == {"bug": ("ERROR", True), "store": ("WARNING", False), "lease": ("WARNING", False)}
    assert step_harness.part("bug").attempts == 1


def test_part_whose_steps_keep_dying_is_poisoned(step_harness):
    step_harness.create_run()
    deaths = step_harness.settings.poison_after
    for attempts in range(1, deaths + 1):
        assert step_harness.claim_part(seconds=30).part.attempts == attempts
        step_harness.clock.forward(31)
    run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, nothing), ["r:0"])
    part = step_harness.part()
    assert (part.state, part.outcome) == (PartState.DONE, "poisoned")
    assert isinstance(part.error, PoisonedRunError)
    assert f"{deaths} steps" in str(part.error)
    assert step_harness.step_messages() == [(routing.AGGREGATE_RUN, ["r"])]


def test_progress_is_no_poison(step_harness):
    step_harness.create_run()
    for _ in range(3 * step_harness.settings.poison_after):
        run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, nothing), ["r:0"])
        step_harness.clock.forward(61)
    assert step_harness.part().state is PartState.QUEUED


@pytest.mark.parametrize(
    ("step", "name", "states"),
    [
        (submit_jobs, "submit", {"queued"}),
        (reconcile_submit, "reconcile", {"submitting", "reconciling"}),
        (poll_jobs, "poll", {"running"}),
        (cancel_run, "cancel", {"running"}),
        (fetch_tasks, "fetch", {"fetching"}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_each_step_serves_its_states_under_its_name(step_harness, monkeypatch, step, name, states):
    served = []
    module = type(step_harness.app.tasks[step.name]).__module__
    monkeypatch.setattr(f"{module}.run_step", lambda *args: served.append(args))
    step_harness.app.tasks[step.name].run(["r:0"])
    ((app, definition, names),) = served
    assert (app, definition.step, definition.states, names) == (step_harness.app, name, states, ["r:0"])


def test_a_whole_run_step_by_step(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(
        create_job=make.created(), get_job=make.job("success"), get_task=lambda _, i: make.task(int(i[1:]))
    )
    step_harness.app.tasks[submit_jobs.name].run(["r:0"])
    step_harness.clock.forward(2)
    step_harness.app.tasks[poll_jobs.name].run(["r:0"])
    assert step_harness.part().outcome == "succeeded"
    assert [name for name, _ in step_harness.step_messages()] == [routing.AGGREGATE_RUN]


def test_pages_left_by_a_step_are_fetched(step_harness, make):
    step_harness.create_run(targets=1)
    step_harness.make_running(state=PartState.FETCHING)
    step_harness.redis.set(
        step_harness.keys.job(PartId("r", 0)), pack(make.job("success", 1).model_dump(mode="json", by_alias=True))
    )
    step_harness.api.script(get_task=make.task())
    step_harness.app.tasks[fetch_tasks.name].run(["r:0"])
    assert step_harness.part().outcome == "succeeded"


def test_a_process_has_one_runtime(step_harness, monkeypatch):
    context = WorkerContext.for_app(step_harness.app)
    assert WorkerContext.for_app(step_harness.app) is context
    assert WorkerContext.apps() == [step_harness.app]
    assert step_harness.client_options["max_retries"] == 0
    assert step_harness.client_options["base_url"] == step_harness.settings.api_url
    WorkerContext.close_for_app(step_harness.app)
    assert step_harness.api.calls == [("aclose",)] * 2
    assert WorkerContext.apps() == []
    WorkerContext.close_for_app(step_harness.app)


def test_fork_gets_its_own_context(step_harness, monkeypatch):
    context = WorkerContext.for_app(step_harness.app)
    context.pid = os.getpid() + 1
    assert WorkerContext.for_app(step_harness.app) is not context
    WorkerContext.close_for_app(step_harness.app)
    assert step_harness.api.calls == [("aclose",)] * 2
    step_harness.app.__dict__["scrape_do_worker_context"] = context
    WorkerContext.close_for_app(step_harness.app)
    assert step_harness.api.calls == [("aclose",)] * 2
    context.close()


def test_without_a_token_there_is_no_runtime(step_harness, settings):
    step_harness.app_context.settings = settings.model_copy(update={"api_key": None})
    with pytest.raises(ConfigurationError, match="SCRAPE_DO_API_KEY"):
        WorkerContext.for_app(step_harness.app)


def test_jitter_shortens_an_interval(step_harness, settings):
    context = WorkerContext.for_app(step_harness.app)
    assert context.interval(2) == 4.0
    context.settings = settings.model_copy(update={"poll_jitter": True})
    assert all(2.0 <= context.interval(2) <= 4.0 for _ in range(50))


# Leases


# The loop


def test_a_message_is_a_value():
    assert StepMessage("a", ("b",)) == StepMessage("a", ("b",))
    assert dispatch.REDISPATCH_MIN < REDISPATCH_MAX


def test_missing_token_leaves_no_thread(step_harness, settings):
    step_harness.app_context.settings = settings.model_copy(update={"api_key": None})
    others = set(threading.enumerate())
    for _ in range(3):
        with pytest.raises(ConfigurationError):
            WorkerContext.for_app(step_harness.app)
    time.sleep(0.1)
    assert [thread for thread in threading.enumerate() if thread not in others] == []
