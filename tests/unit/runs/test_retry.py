"""Enqueueing again what failed: never what may have been bought."""

from __future__ import annotations

import pytest

from scrape_do_celery import RunError
from scrape_do_celery.runs import retry_failed
from scrape_do_celery.store import PartState, ops


@pytest.fixture(autouse=True)
def _at_home(plant, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context._current_app", lambda settings: plant.app)


def ended(plant, outcome, **fields):
    plant.begin()
    plant.force(**fields)
    plant.finish(outcome=outcome)
    plant.run(ops.record_outcome(plant.keys, "r", outcome, {}))
    plant.messages()


@pytest.mark.parametrize(("outcome", "fields"), [("in_doubt", {}), ("poisoned", {"purchases": 1})])
def test_what_may_have_been_bought_is_not_bought_again(plant, outcome, fields):
    ended(plant, outcome, **fields)
    with pytest.raises(RunError, match="may have bought a job"):
        retry_failed("r")
    assert plant.messages() == []


@pytest.mark.parametrize(("outcome", "fields"), [("poisoned", {}), ("failed", {"purchases": 1})])
def test_what_was_never_bought_is_enqueued_again_once(plant, outcome, fields):
    ended(plant, outcome, **fields)
    again = retry_failed("r")
    assert retry_failed("r").run_id == again.run_id != "r"


def collected(plant, make, *, urls, summary=True, gone=False):
    """A run of two targets of which the first task failed."""
    plant.begin(targets=2)
    plant.buy(state=PartState.FETCHING)
    claim = plant.take()
    plant.run(ops.update_part(plant.keys, claim, {}, job=make.job("success", summary=summary)))
    for position, status in enumerate(["error", "success"]):
        plant.put(position=position, url=urls[position], status=status, gone=gone and not position)
    plant.run(ops.finish_part(plant.keys, claim, "succeeded"))
    plant.run(ops.record_outcome(plant.keys, "r", "succeeded", {}))
    plant.messages()


@pytest.mark.parametrize(("summary", "order", "again"), [(True, 1, 0), (False, 1, 0), (False, -1, 1)])
def test_the_target_without_a_page_is_enqueued_again(plant, make, summary, order, again):
    collected(plant, make, urls=make.urls(2)[::order], summary=summary)
    spec = plant.run(ops.spec(plant.keys, retry_failed("r").run_id, 1))
    assert spec.request.targets == [make.urls(2)[again]]


def test_nothing_is_enqueued_again_if_the_tasks_contradict_the_job(plant, make):
    collected(plant, make, urls=make.urls(2)[::-1])
    with pytest.raises(RunError, match="which task is which target"):
        retry_failed("r")
    assert plant.messages() == []


def test_a_target_whose_task_is_gone_is_enqueued_again(plant, make):
    collected(plant, make, urls=["", make.urls(2)[1]], gone=True)
    spec = plant.run(ops.spec(plant.keys, retry_failed("r").run_id, 1))
    assert spec.request.targets == make.urls(1)
