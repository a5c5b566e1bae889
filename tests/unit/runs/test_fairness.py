"""Test the options for fairness in the record of a run."""

from __future__ import annotations

import pytest

from scrape_do_celery import enqueue
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.commands.runs import ReadSpec

URLS = [f"https://shop.example/{n}" for n in range(5)]


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


@pytest.mark.parametrize(
    ("options", "stored"),
    [
        ({}, None),
        ({"fairness_key": None, "fairness_weight": 1, "priority": 0}, None),
        ({"fairness_key": "shop:7"}, "0 1.0 shop:7"),
        ({"fairness_key": "shop:7", "fairness_weight": 2, "priority": -9}, "-9 2.0 shop:7"),
        ({"priority": 9}, "9 1.0 "),
    ],
)
def test_record_has_what_a_run_sets(step_harness, options, stored):
    run_id = enqueue(URLS, **options).run_id
    assert step_harness.run_fields(run_id).get("fair") == stored
    assert step_harness.read_run(run_id).has_fairness_key is ("fairness_key" in options and stored is not None)
    spec = step_harness.run(ReadSpec(run_id, 1))
    assert spec == RunSpec.from_arguments(URLS, **options)
    assert spec.select_targets([0]).run_options == spec.run_options | {"early": False}
    assert step_harness.redis.exists(step_harness.keys.fairness_used) == (stored is not None)


def test_options_without_effect_change_no_digest():
    bare = RunSpec.from_arguments(URLS)
    assert RunSpec.from_arguments(URLS, fairness_key=None, fairness_weight=1, priority=0).digest == bare.digest
    assert bare.packed()[0] == RunSpec.from_arguments(URLS, fairness_weight=1.0, priority=0).packed()[0]
    others = [
        {"fairness_key": "a"},
        {"fairness_key": "b"},
        {"fairness_key": "a", "fairness_weight": 2},
        {"priority": 1},
    ]
    assert len({RunSpec.from_arguments(URLS, **one).digest for one in others} | {bare.digest}) == 5
