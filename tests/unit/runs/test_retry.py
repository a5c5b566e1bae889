"""Test enqueueing failed targets again, but never targets that may have been bought."""

from __future__ import annotations

import pytest

from scrape_do_celery import RunError
from scrape_do_celery.runs import retry_failed
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


def ended(step_harness, outcome, **fields):
    step_harness.create_run()
    step_harness.set_fields(**fields)
    step_harness.finish_part(outcome=outcome)
    step_harness.run(RecordOutcome("r", outcome, {}))
    step_harness.step_messages()


@pytest.mark.parametrize(("outcome", "fields"), [("in_doubt", {}), ("poisoned", {"purchases": 1})])
def test_target_possibly_bought_is_not_retried(step_harness, outcome, fields):
    ended(step_harness, outcome, **fields)
    with pytest.raises(RunError, match="may have bought a job"):
        retry_failed("r")
    assert step_harness.step_messages() == []


@pytest.mark.parametrize(("outcome", "fields"), [("poisoned", {}), ("failed", {"purchases": 1})])
def test_target_never_bought_is_retried_once(step_harness, outcome, fields):
    ended(step_harness, outcome, **fields)
    again = retry_failed("r")
    assert retry_failed("r").run_id == again.run_id != "r"


def collected(step_harness, make, *, urls, summary=True, gone=False, statuses=("error", "success")):
    """Make a run of two targets whose first task failed."""
    step_harness.create_run(targets=2)
    step_harness.make_running(state=PartState.FETCHING)
    claim = step_harness.claim_part()
    step_harness.run(UpdatePart(claim, {}, job=make.job("success", count=len(urls), summary=summary)))
    for position, status in enumerate(statuses):
        step_harness.store_content(position=position, url=urls[position], status=status, gone=gone and not position)
    step_harness.run(FinishPart(claim, "succeeded"))
    step_harness.run(RecordOutcome("r", "succeeded", {}))
    step_harness.step_messages()


@pytest.mark.parametrize(("summary", "order", "again"), [(True, 1, 0), (False, 1, 0), (False, -1, 1)])
def test_the_target_without_a_page_is_enqueued_again(step_harness, make, summary, order, again):
    collected(step_harness, make, urls=make.urls(2)[::order], summary=summary)
    spec = step_harness.run(ReadSpec(retry_failed("r").run_id, 1))
    assert spec.request.targets == [make.urls(2)[again]]


def test_nothing_is_enqueued_again_if_the_tasks_contradict_the_job(step_harness, make):
    collected(step_harness, make, urls=make.urls(2)[::-1])
    with pytest.raises(RunError, match="cannot be matched to its targets"):
        retry_failed("r")
    assert step_harness.step_messages() == []


def test_a_target_whose_task_is_gone_is_enqueued_again(step_harness, make):
    collected(step_harness, make, urls=["", make.urls(2)[1]], gone=True)
    spec = step_harness.run(ReadSpec(retry_failed("r").run_id, 1))
    assert spec.request.targets == make.urls(1)


UNORDERED = {
    "gone": {"urls": ["", ""], "summary": False, "gone": True},
    "other URLs": {"urls": ["https://other.example/1", "https://other.example/2"]},
    "one task": {"urls": ["https://other.example/1"]},
}


@pytest.mark.parametrize("job", UNORDERED.values(), ids=UNORDERED)
def test_no_order_is_needed_if_no_target_has_a_page(step_harness, make, job):
    collected(step_harness, make, **job, statuses=["error"] * len(job["urls"]))
    spec = step_harness.run(ReadSpec(retry_failed("r").run_id, 1))
    assert spec.request.targets == make.urls(2)
