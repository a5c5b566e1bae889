"""Buying a job: at most once, whatever becomes of the `POST` and of the store."""

from __future__ import annotations

import pytest
from redis.exceptions import RedisError
from tenacity import stop_after_attempt

from scrape_do_celery import routing
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIBadRequestError,
    AsyncAPIUnparsableResponseError,
    InvalidRequestError,
    SubmitInDoubtError,
)
from scrape_do_celery.models import JobCanceledError, RunTimeoutError
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runtime.leases import LeaseLostError
from scrape_do_celery.store import PartState, ops
from scrape_do_celery.tasks.submit import submit

LEASE = 120.0
LOST_ANSWERS = [
    SubmitInDoubtError("a time-out", 2),
    APIConnectionError("cut", "POST", "/jobs", "ReadTimeout"),
    AsyncAPIUnparsableResponseError("no JSON", 200),
]


@pytest.fixture
def claim(plant):
    plant.begin(max_wait=60, request={"super": True})
    return plant.take(seconds=LEASE)


def aggregate(run_id="r"):
    return StepMessage(routing.AGGREGATE_RUN, (run_id,))


def test_a_job_is_bought_and_looked_at_later(plant, claim, make):
    plant.api.script(create_job=make.created("j", 2))
    assert plant.step(submit, claim) is None
    part = plant.part()
    assert (part.state, part.job_id, part.task_ids) == (PartState.RUNNING, "j", ("t0", "t1"))
    assert part.bought_at == pytest.approx(claim.now, abs=1)
    assert part.intent is not None
    assert 0 < plant.looks()["r:0"] <= plant.settings.poll_initial_interval
    assert plant.redis.get(plant.keys.owner("j")) == b"r:0"
    ((request,),) = plant.api.called("create_job")
    assert (request.targets, request.super) == (make.urls(2), True)


def test_the_intent_is_on_disk_before_the_post(plant, claim, make):
    seen = []
    plant.api.script(create_job=lambda _: seen.append(plant.part()) or make.created())
    plant.step(submit, claim)
    assert seen[0].state is PartState.SUBMITTING
    assert seen[0].intent is not None


def test_a_part_of_many_sends_its_own_targets(plant, make):
    plant.part_by_part(2)
    plant.api.script(create_job=make.created("j", 1))
    plant.step(submit, plant.take(part=1, seconds=LEASE))
    ((request,),) = plant.api.called("create_job")
    assert request.targets == make.urls(1, 1000)


def test_what_is_to_stop_is_not_sent(plant):
    plant.part_by_part(2)
    plant.finish(part=0, outcome="failed", skip_unsent=True)
    assert plant.step(submit, plant.take(part=1, seconds=LEASE)) == aggregate()
    assert plant.api.posts == 0
    assert plant.part(part=1).outcome == "skipped"


@pytest.mark.parametrize(("stop_reason", "error"), [("cancel", JobCanceledError), ("deadline", RunTimeoutError)])
def test_a_stop_request_that_comes_before_the_claim_ends_the_part(plant, stop_reason, error):
    plant.begin(max_wait=60)
    plant.redis.hset(plant.keys.run("r"), "stop_reason", stop_reason)
    assert plant.step(submit, plant.take(seconds=LEASE)) == aggregate()
    assert plant.api.posts == 0
    assert isinstance(plant.part().error, error)


@pytest.mark.parametrize("field", ["stop_reason", "skip_unsent"])
def test_a_stop_request_that_comes_before_the_intent_is_seen_by_the_next_claim(plant, claim, field):
    plant.redis.hset(plant.keys.run("r"), field, "cancel")
    assert plant.step(submit, claim) == StepMessage(routing.SUBMIT_JOBS, ("r:0",))
    assert plant.api.posts == 0
    assert plant.part().state is PartState.QUEUED
    assert plant.step(submit, plant.take(seconds=LEASE)) == aggregate()
    assert plant.api.posts == 0


def test_a_request_that_cannot_be_read_fails(plant, claim, monkeypatch):
    def spec(_):
        raise ValueError("targets[0] has no host")

    monkeypatch.setattr(type(claim), "spec", spec)
    assert plant.step(submit, claim) == aggregate()
    assert isinstance(plant.part().error, InvalidRequestError)
    assert "targets[0]" in str(plant.part().error)
    assert plant.api.posts == 0


@pytest.mark.parametrize(
    "error",
    [APIConnectionError("refused", "POST", "/jobs", kind) for kind in ("ConnectError", "PoolTimeout", "BeforeSend")],
    ids=lambda error: error.args[3],
)
def test_what_was_not_sent_is_sent_again(plant, claim, make, error):
    plant.api.script(create_job=[error, make.created("j")])
    assert plant.step(submit, claim) is None
    part = plant.part()
    assert (part.state, part.api_failures) == (PartState.QUEUED, 1)
    assert 0 < plant.looks()["r:0"] <= 1
    plant.clock.forward(2)
    plant.step(submit, plant.take(seconds=LEASE))
    assert plant.part().job_id == "j"
    assert plant.api.posts == 2
    assert plant.part().api_failures == 0


@pytest.mark.parametrize(("retry_after", "pause"), [(None, 5.0), (40.0, 40.0)])
def test_too_many_requests_is_later_and_for_all(plant, claim, make, retry_after, pause):
    plant.begin("other")
    plant.api.script(create_job=make.refusal(429, retry_after))
    assert plant.step(submit, claim) is None
    assert (plant.part().state, plant.part().refused) == (PartState.RECONCILING, True)
    assert plant.claim("other") is None
    assert plant.looks()["r:0"] == pytest.approx(pause, abs=1)
    assert plant.due()["other:0"] == pytest.approx(pause, abs=1)
    plant.clock.forward(pause + 0.5)
    assert plant.claim("other") is not None


def test_a_refusal_is_final(plant, claim):
    error = AsyncAPIBadRequestError("no", 400, "no")
    plant.api.script(create_job=error)
    assert plant.step(submit, claim) == aggregate()
    part = plant.part()
    assert (part.state, part.outcome) == (PartState.DONE, "failed")
    assert type(part.error) is type(error)
    assert part.error.args == error.args


def test_a_refusal_stops_the_parts_that_were_not_sent(plant, make):
    plant.part_by_part(2)
    plant.api.script(create_job=make.refusal(400))
    assert plant.step(submit, plant.take(part=0, seconds=LEASE)) is None
    assert plant.step(submit, plant.take(part=1, seconds=LEASE)) == aggregate()
    assert [part.outcome for part in plant.view().parts] == ["failed", "skipped"]
    assert plant.api.posts == 1


def test_a_refusal_leaves_the_other_parts_alone_where_that_is_set(plant, make, settings):
    plant.settings = settings.model_copy(update={"stop_on_failure": False})
    plant.part_by_part(2)
    plant.api.script(create_job=[make.refusal(400), make.created("j")])
    plant.step(submit, plant.take(part=0, seconds=LEASE))
    plant.step(submit, plant.take(part=1, seconds=LEASE))
    assert [part.state for part in plant.view().parts] == [PartState.DONE, PartState.RUNNING]


@pytest.mark.parametrize("error", LOST_ANSWERS, ids=lambda error: type(error).__name__)
def test_a_purchase_in_doubt_is_never_sent_again(plant, claim, error):
    plant.api.script(create_job=error)
    assert plant.step(submit, claim) == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    assert plant.part().state is PartState.RECONCILING
    assert "submit_error" in plant.part_fields()
    assert plant.api.posts == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_holds_the_run_back(plant, claim, make, status):
    plant.begin("other")
    plant.api.script(create_job=[make.refusal(status), make.created("j")])
    assert plant.step(submit, claim) is None
    assert (plant.part().state, plant.part().refused) == (PartState.RECONCILING, True)
    assert plant.claim("other") is None
    assert plant.due()["other:0"] == pytest.approx(ops.PROBE, abs=1)


def test_a_run_that_is_to_end_is_not_bought_at_the_last_moment(plant, claim, make, monkeypatch):
    real = ops.check_before_send

    def check_before_send(keys, claim):
        plant.run(ops.request_stop(plant.keys, "r", "cancel"))
        return real(keys, claim)

    monkeypatch.setattr(ops, "check_before_send", check_before_send)
    assert plant.step(submit, claim) is None
    assert plant.api.posts == 0
    assert plant.part().state is PartState.QUEUED
    assert plant.step(submit, plant.take(seconds=LEASE)) == aggregate()
    assert isinstance(plant.part().error, JobCanceledError)


def test_nothing_is_bought_into_a_full_store(plant, claim):
    plant.health.used = 0.81
    assert plant.step(submit, claim) is None
    assert plant.api.posts == 0
    assert plant.part().state is PartState.QUEUED
    assert 0 < plant.looks()["r:0"] <= 5


def test_equal_targets_are_bought_one_after_the_other(plant, claim, make):
    plant.begin("equal", request={"geo_code": "us"})
    plant.api.script(create_job=[LOST_ANSWERS[0], make.created("j")])
    plant.step(submit, claim)
    assert plant.step(submit, plant.take("equal", seconds=LEASE)) is None
    assert plant.api.posts == 1
    assert plant.part("equal").state is PartState.QUEUED
    assert plant.due()["equal:0"] > 0.4
    # The first is resolved: the other's turn has come.
    plant.run(ops.finish_part(plant.keys, plant.take(), "in_doubt", purchase_status="in_doubt"))
    assert plant.due()["equal:0"] <= 0
    plant.step(submit, plant.take("equal", seconds=LEASE))
    assert plant.part("equal").job_id == "j"


def test_what_was_queued_when_the_store_restarted_is_in_doubt(plant, claim):
    """An intent that was written, and sent, may be among the writes that the store lost."""
    plant.health.durable = False
    plant.restart()
    assert plant.step(submit, claim) == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    assert plant.api.posts == 0
    part = plant.part()
    assert (part.state, part.intent_lost, part.purchases) == (PartState.RECONCILING, True, 1)


def test_a_restart_of_a_durable_store_changes_nothing(plant, claim, make):
    plant.restart(lossless=True)
    plant.api.script(create_job=make.created("j"))
    plant.step(submit, claim)
    assert plant.part().job_id == "j"


def test_a_post_is_not_made_once_the_lease_is_lost(plant, claim, monkeypatch):
    real = ops.check_before_send

    def check_before_send(keys, claim):
        plant.clock.forward(10 * LEASE)
        plant.take(seconds=LEASE)
        return real(keys, claim)

    monkeypatch.setattr(ops, "check_before_send", check_before_send)
    with pytest.raises(LeaseLostError):
        plant.step(submit, claim)
    assert plant.api.posts == 0
    assert plant.part().state is PartState.SUBMITTING


def test_a_post_is_not_made_where_it_could_outlive_the_lease(plant, claim, make, monkeypatch):
    real = ops.check_before_send

    def check_before_send(keys, claim):
        plant.clock.forward(60)
        return real(keys, claim)

    monkeypatch.setattr(ops, "check_before_send", check_before_send)
    assert plant.step(submit, claim) is None
    assert plant.api.posts == 0
    assert plant.part().state is PartState.QUEUED
    assert 0 < plant.looks()["r:0"] <= 1
    monkeypatch.setattr(ops, "check_before_send", real)
    plant.clock.forward(1)
    plant.api.script(create_job=make.created())
    plant.step(submit, plant.take(seconds=LEASE))
    assert plant.api.posts == 1


def test_a_post_is_not_made_where_the_store_cannot_say_who_holds_the_part(plant, claim):
    assert plant.step(submit, claim, broken="check_before_send") is None
    assert plant.api.posts == 0
    assert plant.part().state is PartState.QUEUED


def test_a_store_that_comes_back_learns_what_was_bought(plant, claim, make):
    plant.api.script(create_job=make.created("j"))
    assert plant.step(submit, claim, broken="update_part", times=3) is None
    assert (plant.part().state, plant.part().job_id) == (PartState.RUNNING, "j")
    assert plant.api.posts == 1


@pytest.mark.parametrize("status", [400, 429])
def test_a_store_that_comes_back_learns_what_was_refused(plant, claim, make, status):
    plant.api.script(create_job=make.refusal(status))
    plant.step(submit, claim, broken="finish_part" if status == 400 else "update_part", times=3)
    assert plant.part().state is (PartState.DONE if status == 400 else PartState.RECONCILING)


def test_a_store_that_stays_away_is_logged_with_the_job(plant, claim, make, monkeypatch, caplog):
    monkeypatch.setattr("scrape_do_celery.runtime.context.stop_after_delay", lambda _: stop_after_attempt(3))
    plant.api.script(create_job=make.created("job-that-was-paid"))
    with pytest.raises(RedisError):
        plant.step(submit, claim, broken="update_part", times=99)
    assert "job-that-was-paid" in caplog.text
    assert plant.part().state is PartState.SUBMITTING


def test_a_job_that_another_run_owns_is_in_doubt(plant, claim, make, caplog):
    plant.redis.set(plant.keys.owner("j"), "other:0")
    plant.api.script(create_job=make.created("j"))
    assert plant.step(submit, claim) == aggregate()
    part = plant.part()
    assert (part.outcome, part.job_id, part.error.candidates) == ("in_doubt", None, ("j",))
    assert "another run owns" in str(part.error)
    assert "owned" in caplog.text
    assert plant.api.posts == 1


def test_a_purchase_under_a_lost_lease_is_named_in_the_log(plant, claim, make, caplog):
    def bought(_):
        plant.clock.forward(10 * LEASE)
        plant.take(seconds=LEASE)
        return make.created("job-that-was-paid")

    plant.api.script(create_job=bought)
    assert plant.step(submit, claim) is None
    assert "job-that-was-paid" in caplog.text
    assert plant.part().state is PartState.SUBMITTING


def test_a_stop_request_that_comes_during_the_post_makes_the_part_due_at_once(plant, claim, make):
    def bought(_):
        plant.run(ops.request_stop(plant.keys, "r", "cancel"))
        return make.created("j")

    plant.api.script(create_job=bought)
    plant.step(submit, claim)
    assert plant.looks()["r:0"] <= 0
    (due,) = plant.look().parts
    assert due.stop_requested
