"""Faults that were once there, each with the smallest scene that showed it."""

from __future__ import annotations

from scrape_do_celery.runtime import run_step
from scrape_do_celery.store import PartState, ops


def test_stop_request_of_a_reconciling_part_is_no_poison(step_harness):
    # taken out of work while the POST may have bought a job: that it is in doubt must not be lost
    step_harness.create_run()
    claim = step_harness.claim_part()
    step_harness.run(ops.write_intent(step_harness.keys, claim, "n", 100, account=step_harness.account))
    for _ in range(6):
        step_harness.clock.forward(200)
        step_harness.claim_part()
    step_harness.clock.forward(200)
    from scrape_do_celery.tasks.reconcile import reconcile

    run_step(step_harness.app, ["r:0"], {PartState.SUBMITTING, PartState.RECONCILING}, reconcile)
    assert step_harness.part().outcome == "poisoned"
    (purchase,) = step_harness.run(ops.ledger(step_harness.keys, int(step_harness.part().intent // 86_400)))
    assert purchase.status == "in_doubt"
    assert step_harness.redis.keys(f"{step_harness.keys.prefix}:unresolved:*")
