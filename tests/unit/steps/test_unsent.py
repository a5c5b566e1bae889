"""Test that a part which may have been sent never ends as if nothing had been bought."""

from __future__ import annotations

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import InvalidRequestError, SubmitInDoubtError
from scrape_do_celery.models import JobsListResponse
from scrape_do_celery.routing import Step
from scrape_do_celery.rules.outcomes import may_have_bought
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.steps.unsent import DURABILITY_DELAY
from scrape_do_celery.store import CANCEL, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.parts import PoisonedPart, PoisonPolicy
from scrape_do_celery.store.commands.runs import RequestStop
from tests.unit.steps.conftest import LEASE

#: A request with a field of a newer version.
NEWER = pack({"request": {"Teleport": True, "GeoCode": 5}})


@pytest.fixture
def unreadable(step_harness):
    """Return the claim of a queued part whose request this version cannot read."""
    step_harness.create_run()
    step_harness.redis.hset(step_harness.keys.run("r"), "spec", NEWER)
    return step_harness.claim_part(seconds=LEASE)


def test_an_unreadable_request_that_was_certainly_not_sent_fails(step_harness, unreadable):
    step_harness.run_step(submit_part, unreadable)
    part = step_harness.part()
    assert (part.outcome, part.purchases, step_harness.api.posts) == ("failed", 0, 0)
    assert isinstance(part.error, InvalidRequestError)
    assert "upgrade the workers" in str(part.error)


def test_an_unreadable_request_that_may_have_been_sent_ends_in_doubt(step_harness, unreadable):
    step_harness.health.durable = False
    step_harness.restart_server()
    assert step_harness.run_step(submit_part, unreadable) == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    part = step_harness.part()
    assert (part.state, part.intent_lost, part.purchases) == (PartState.RECONCILING, True, 1)

    step_harness.run_step(reconcile_part, step_harness.claim_part(seconds=LEASE))
    part = step_harness.part()
    assert (part.outcome, step_harness.api.posts) == ("in_doubt", 0)
    assert isinstance(part.error, SubmitInDoubtError)
    assert "its request cannot be read" in str(part.error)


def test_the_job_of_an_unreadable_request_is_no_other_part_s(step_harness, unreadable, make):
    """Register the purchase by its targets, which are readable: a part with these targets must not adopt its job."""
    step_harness.health.durable = False
    step_harness.restart_server()
    step_harness.run_step(submit_part, unreadable)
    step_harness.run_step(reconcile_part, step_harness.claim_part(seconds=LEASE))
    coarse = PartDigests.from_targets(make.urls(2)).coarse[0]
    (entry,) = step_harness.redis.zrange(step_harness.keys.unresolved(step_harness.account, coarse), 0, -1)
    assert entry.startswith(b"r:0:1 ")


def test_a_restart_that_lost_no_write_changes_nothing(step_harness, unreadable):
    step_harness.health.durable = False
    step_harness.restart_server(lossless=True)
    step_harness.run_step(submit_part, unreadable)
    assert step_harness.part().outcome == "failed"


def refuse_for_good(step_harness, make):
    """Let the API refuse the token for longer than the grace, and the steps of the part run."""
    step_harness.api.script(
        create_job=make.refusal(401), get_user_info=make.refusal(401), list_jobs=JobsListResponse(jobs=[])
    )
    step_harness.create_run("first", each=["https://first.example/"])
    step_harness.run_step(submit_part, step_harness.claim_part("first", seconds=LEASE))
    step_harness.clock.forward(step_harness.settings.auth_grace + 1)
    for _ in range(3):
        # The server has just ceased to be durable, so the first step waits.
        step_harness.clock.forward(DURABILITY_DELAY + 1)
        run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, submit_part, LEASE), ["r:0"])
        run_step(step_harness.app, StepDefinition(Step.RECONCILE, {PartState.RECONCILING}, reconcile_part), ["r:0"])


@pytest.mark.parametrize(("lost_writes", "outcome"), [(False, "failed"), (True, "in_doubt")])
def test_a_queued_part_that_may_have_been_sent_does_not_fail_with_its_token(step_harness, make, lost_writes, outcome):
    step_harness.create_run()
    if lost_writes:
        step_harness.restart_server()
    refuse_for_good(step_harness, make)
    part = step_harness.part()
    assert (part.outcome, part.job_id) == (outcome, None)
    assert step_harness.api.posts == 1, "only that of the first run"


@pytest.mark.parametrize(("lost_writes", "outcome"), [(False, "canceled"), (True, "in_doubt")])
def test_a_part_of_another_account_is_not_canceled_if_it_may_have_been_sent(step_harness, lost_writes, outcome):
    """Cancel a queued part of an account without a worker. With lost writes, its job may run at the API."""
    step_harness.create_run()
    step_harness.set_fields(account="another account", purchases=1)
    if lost_writes:
        step_harness.restart_server()
    else:
        # A step has the part at the time of the stop request, and dies.
        step_harness.claim_part(account="another account", seconds=1)
    step_harness.run(RequestStop("r", CANCEL))
    for _ in range(12):
        step_harness.clock.forward(max(DURABILITY_DELAY, step_harness.settings.cancel_grace) + 1)
        run_step(step_harness.app, StepDefinition(Step.SUBMIT, {PartState.QUEUED}, submit_part, LEASE), ["r:0"])
        run_step(step_harness.app, StepDefinition(Step.RECONCILE, {PartState.RECONCILING}, reconcile_part), ["r:0"])
    part = step_harness.part()
    assert (part.outcome, part.account, step_harness.api.called("list_jobs")) == (outcome, "another account", [])


@pytest.mark.parametrize(("lossless", "purchases"), [(False, 1), (True, 0)])
def test_a_poisoned_part_that_may_have_been_sent_counts_as_a_purchase(step_harness, lossless, purchases):
    """A retry of the run would buy the targets of a lost intent again, unless the part counts as bought."""
    step_harness.create_run()
    step_harness.claim_part()
    step_harness.health.durable = False
    step_harness.restart_server(lossless=lossless)
    step_harness.set_fields(attempts=9, lease="0", token="")
    assert isinstance(step_harness.try_claim_part(poison=PoisonPolicy(3, skip_unsent=True)), PoisonedPart)
    part = step_harness.part()
    assert (part.outcome, part.purchases) == ("poisoned", purchases)
    assert may_have_bought(part.outcome, purchases=part.purchases, job_id=part.job_id) is bool(purchases)
