"""Test that a run which lost a record is never read as a smaller run, and that its pages are not bought again."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from scrape_do_celery import IdempotencyConflictError, ResultExpiredError, RunHandle, Target, enqueue
from scrape_do_celery.cli import main
from scrape_do_celery.runs import retry_failed
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import RecordOutcome
from scrape_do_celery.store.options import RunSpec

A, B = "https://a.example/", "https://b.example/"


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


@pytest.fixture
def end_run(step_harness, make, monkeypatch):
    """Return a function that makes an ended run of two parts, each with one target and its page."""
    monkeypatch.setattr("scrape_do_celery.store.options.MAX_TARGETS_PER_JOB", 1)

    def end(inputs, **options):
        step_harness.run(CreateRun("r", RunSpec.from_arguments(inputs, **options)))
        for number, url in enumerate([A, B]):
            step_harness.make_running(part=number, state=PartState.FETCHING)
            claim, task = step_harness.claim_part(part=number), make.task(url=url)
            step_harness.run(UpdatePart(claim, {}, job=make.job("success", count=1, summary=False)))
            step_harness.run(StoreContent(PartId("r", number), 0, task))
            step_harness.run(FinishPart(claim, "succeeded"))
        step_harness.run(RecordOutcome("r", "succeeded", {}))
        step_harness.step_messages()
        return RunHandle("r", app_context=step_harness.app_context)

    return end


def refuse_all_readers(step_harness, handle, match):
    """Check that no reader shows a smaller run, and that nothing is bought."""
    for read in (handle.result, lambda: list(handle.iter_tasks()), lambda: retry_failed("r")):
        with pytest.raises(ResultExpiredError, match=match) as caught:
            read()
        assert caught.value.run_id == "r"
    assert step_harness.step_messages() == []


@pytest.mark.parametrize("inputs", [[A, B], [Target(A, 1), B]], ids=["plain", "meta"])
@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", ["part", "job", "contents"])
def test_run_with_a_lost_record_is_not_read_as_a_smaller_one(step_harness, end_run, inputs, kind, number):
    handle = end_run(inputs)
    assert [task.url for task in handle.result().tasks] == [A, B]
    step_harness.redis.delete(getattr(step_harness.keys, kind)(PartId("r", number)))
    refuse_all_readers(step_harness, handle, "no longer in the store")
    assert handle.state == "succeeded"


def test_refetch_tells_of_a_lost_job(step_harness, end_run, monkeypatch):
    end_run([A, B])
    step_harness.redis.delete(step_harness.keys.job(PartId("r", 0)))
    monkeypatch.setattr("scrape_do_celery.runs.AppContext.for_app", lambda *_, **__: step_harness.app_context)
    done = CliRunner().invoke(main, ["refetch", "r"])
    assert done.exit_code != 0
    assert "no longer in the store" in done.output


@pytest.mark.parametrize("options", [{}, {"dedupe": True}], ids=["meta", "dedupe"])
@pytest.mark.parametrize("field", ["targets:0", "targets:0:inputs", "targets:1", "targets:1:inputs"])
def test_run_with_lost_inputs_is_not_read_without_them(step_harness, end_run, options, field):
    handle = end_run([Target(A, 1), Target(B, 2)], **options)
    assert [task.meta for task in handle.iter_tasks()] == [1, 2]
    step_harness.redis.hdel(step_harness.keys.run("r"), field)
    refuse_all_readers(step_harness, handle, f"the field {field} ")
    assert len(handle.jobs) == 2


def test_conflict_with_a_run_that_lost_its_inputs_is_told(step_harness):
    first = enqueue([Target(A, 1)], idempotency_key="k")
    step_harness.redis.hdel(step_harness.keys.run(first.run_id), "targets:0:inputs")
    assert enqueue([Target(A, 1)], idempotency_key="k") == first
    with pytest.raises(IdempotencyConflictError, match=r"with another request: .*the field targets:0:inputs"):
        enqueue([Target(A, 2)], idempotency_key="k")
