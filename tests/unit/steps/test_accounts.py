"""Test parts of other accounts, and accounts without a worker."""

from __future__ import annotations

from scrape_do_celery.routing import Step
from scrape_do_celery.steps import runner
from scrape_do_celery.steps.poll import poll_part
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import CANCEL, Claim, PartState
from scrape_do_celery.store.commands import dispatch
from scrape_do_celery.store.commands.parts import NeedsAccount, UpdatePart
from scrape_do_celery.store.commands.polling import FindUnattendedAccounts
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.store.part_ids import PartId
from tests.unit.steps.conftest import HOUR, LEASE, make_parts_running


def test_deadline_ends_a_run_of_another_account(step_harness):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.redis.hset(step_harness.keys.part(PartId("r", 0)), "account", "another")
    assert step_harness.try_claim_part() == NeedsAccount("another")
    assert step_harness.due_parts()["r:0"] <= dispatch.REDISPATCH_MIN, (
        "a step message that came to the wrong worker is soon published again"
    )
    step_harness.run(RequestStop("r", "deadline"))
    while step_harness.part().state is not PartState.DONE:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + step_harness.settings.cancel_grace)
        run_step(step_harness.app, StepDefinition(Step.POLL, {PartState.RUNNING}, poll_part), ["r:0"])
    assert step_harness.part().outcome == "timed_out"
    assert f"job {step_harness.part().job_id} may still run" in str(step_harness.part().error)
    assert not step_harness.api.called("get_job")


def test_parts_of_one_run_may_use_two_accounts(step_harness, make):
    step_harness.create_multi_part_run(2)
    a, b = step_harness.claim_part(part=0, seconds=LEASE, account="A"), step_harness.claim_part(part=1, seconds=LEASE)
    for claim, account, job in ((a, "A", "job-of-A"), (b, step_harness.account, "job-of-B")):
        assert step_harness.run(WriteIntent(claim, f"n{account}", LEASE, account=account))[0] == "ok"
        fields = {"job": job, "purchase_status": "confirmed"}
        assert step_harness.run(UpdatePart(claim, fields, to="running", after=1.0, owner=job)) == "ok"
    step_harness.clock.forward(HOUR)
    step_harness.api.script(get_job=make.refusal(404))
    run_step(step_harness.app, StepDefinition(Step.POLL, {PartState.RUNNING}, poll_part), ["r:0"])
    assert step_harness.api.called("get_job") == []
    assert step_harness.try_claim_part(part=0, account="A").part.job_id == "job-of-A"


def test_part_without_purchase_continues_with_another_token(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(401), get_user_info=make.refusal(401))
    run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, submit_part, LEASE), ["r:0"])
    assert (step_harness.api.posts, step_harness.part().state) == (1, PartState.RECONCILING)
    step_harness.clock.forward(HOUR)
    assert step_harness.try_claim_part(account="of the new token").part.refused


def test_resent_claim_of_another_account_stays_foreign(step_harness):
    step_harness.create_run()
    step_harness.make_running()
    step_harness.redis.hset(step_harness.keys.part(PartId("r", 0)), "account", "another")
    step_harness.run(RequestStop("r", "cancel"))
    assert [step_harness.try_claim_part(token="t").breaker for _ in range(2)] == ["other_account", "other_account"]


def test_canceled_run_of_another_account_ends(step_harness, caplog):
    make_parts_running(step_harness, ["r"], account="another")
    step_harness.clock.forward(2)
    step_harness.run(RequestStop("r", CANCEL))

    async def handled(context, claim):
        return await runner._run_claimed(poll_part, context, claim)

    for _ in range(20):
        step_harness.clock.forward(20)
        if "r" in {part.part_id.run_id for part in step_harness.claim_due().parts} and isinstance(
            claim := step_harness.try_claim_part("r"), Claim
        ):
            step_harness.run_step(handled, claim)
    part = step_harness.part("r")
    assert part.state is PartState.DONE
    assert (part.error.job, part.error.open_job_id) == (None, part.job_id)
    assert str(part.error).startswith(f"run r ended without its job; job {part.job_id} may still run: check `scrape-do")
    assert f"r:0 ends without its job {part.job_id}: no worker has the token" in caplog.text


def test_accounts_without_a_worker_are_found(step_harness):
    make_parts_running(step_harness, ["r"], account="another")
    assert step_harness.run(FindUnattendedAccounts(step_harness.account, 60)) == []
    step_harness.clock.forward(70)
    assert step_harness.run(FindUnattendedAccounts(step_harness.account, 60)) == ["another"]
    assert step_harness.run(FindUnattendedAccounts("another", 60)) == []
