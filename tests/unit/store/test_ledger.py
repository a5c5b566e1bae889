"""Test the ledger: each purchase has one status, and keeps it."""

from __future__ import annotations

from scrape_do_celery.routing import Step
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartState
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import ReadLedgerDay, WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop
from tests.unit.steps.conftest import (
    LEASE,
    job_listing,
    ledger_statuses,
    lose_submit_answer,
    reconcile_until,
    show_jobs,
)


def test_purchase_not_found_stays_in_the_ledger(step_harness, make):
    step_harness.create_run()
    lose_submit_answer(step_harness)
    show_jobs(step_harness)
    assert reconcile_until(step_harness)
    step_harness.api.script(create_job=make.refusal(429), get_user_info=None)
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(60)
    step_harness.run(RequestStop("r", "cancel"))
    step_harness.run_step(reconcile_part, step_harness.claim_part())
    today = int(step_harness.clock.time() // 86_400)
    lines = [line for day in (today - 1, today) for line in step_harness.run(ReadLedgerDay(day))]
    assert [(line.sequence, line.status) for line in lines] == [(1, "not_found")]


def test_rejected_purchase_is_removed_from_the_ledger(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(403), get_user_info=None, list_jobs=job_listing())
    for _ in range(100):
        step_harness.clock.forward(max(0.0, step_harness.due_times().get("r:0", 0.0)) + 1.0)
        run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, submit_part, LEASE), ["r:0"])
        run_step(step_harness.app, StepDefinition(Step.RECONCILE, {PartState.RECONCILING}, reconcile_part), ["r:0"])
    assert step_harness.part().outcome == "failed"
    assert ledger_statuses(step_harness) == []


def test_repeated_void_keeps_an_earlier_not_found_entry(step_harness):
    step_harness.create_run()
    lose_submit_answer(step_harness)
    show_jobs(step_harness)
    assert reconcile_until(step_harness)
    claim = step_harness.claim_part(seconds=LEASE)
    assert step_harness.run(WriteIntent(claim, "n2", LEASE, account=step_harness.account))[0] == "ok"
    for _ in range(2):
        step_harness.run(UpdatePart(claim, {"purchase_status": "void"}, to="queued", after=5.0))
    step_harness.clock.forward(6)
    step_harness.run(FinishPart(step_harness.claim_part(seconds=LEASE), "canceled"))
    assert ledger_statuses(step_harness) == ["not_found"]
