"""Enqueueing again what failed: never what may have been bought."""

from __future__ import annotations

import pytest

from scrape_do_celery import RunError
from scrape_do_celery.runs import retry_failed
from scrape_do_celery.store import ops


@pytest.fixture(autouse=True)
def _at_home(plant, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.producer._current_app", lambda settings: plant.app)


def ended(plant, outcome, **fields):
    plant.begin()
    plant.force(**fields)
    plant.finish(outcome=outcome)
    plant.run(ops.decide(plant.keys, "r", outcome, {}))
    plant.bells()


@pytest.mark.parametrize(("outcome", "fields"), [("in_doubt", {}), ("poisoned", {"intents": 1})])
def test_what_may_have_been_bought_is_not_bought_again(plant, outcome, fields):
    ended(plant, outcome, **fields)
    with pytest.raises(RunError, match="may have bought a job"):
        retry_failed("r")
    assert plant.bells() == []


@pytest.mark.parametrize(("outcome", "fields"), [("poisoned", {}), ("failed", {"intents": 1})])
def test_what_was_never_bought_is_enqueued_again_once(plant, outcome, fields):
    ended(plant, outcome, **fields)
    again = retry_failed("r")
    assert retry_failed("r").run_id == again.run_id != "r"
