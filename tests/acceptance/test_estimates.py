"""Test with a real worker that estimates follow the costs which the API reports."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery import Estimate, enqueue, estimate

LINKEDIN = [f"https://www.linkedin.com/in/{n}" for n in range(3)]


@pytest.mark.long
def test_estimate_follows_the_reported_costs(pipeline, sandbox, eventually):
    shop = [f"https://shop.example/{n}?cost={cost}" for n, cost in enumerate([4, 4, 4, 12])]
    assert estimate(shop, settings=pipeline.settings) == Estimate(4.0, 4.0, None)
    assert estimate(LINKEDIN, settings=pipeline.settings) == Estimate(90.0, 90.0, 90.0)
    pipeline.work()
    result = pipeline.enqueue([*shop, *LINKEDIN]).result(timeout=90)
    assert result.cost == 24 + 90
    assert estimate(shop, settings=pipeline.settings) == Estimate(24.0, 4.0, None)
    assert estimate(shop[:2], super=True, settings=pipeline.settings) == Estimate(20.0, 20.0, None)
    assert estimate(LINKEDIN, settings=pipeline.settings) == Estimate(90.0, 90.0, 90.0)

    purchases = pipeline.posts()
    plan = enqueue([*shop, *shop], dry_run=True, settings=pipeline.settings)
    assert (plan.bought, plan.duplicates, plan.jobs, plan.estimate.expected) == (8, 4, 1, 48.0)
    answer = pipeline.run_tool("plan", *shop, "--json")
    assert json.loads(answer.stdout)["estimate"] == {"expected": 24.0, "minimum": 4.0, "maximum": None}
    assert pipeline.posts() == purchases == 1
    # Within seconds, a worker asks for the account's concurrency, and sends its counts to the store.
    seconds = eventually(lambda: enqueue(shop, dry_run=True, settings=pipeline.settings).expected_seconds)
    assert 0 < seconds < 10
    assert pipeline.posts() == 1
