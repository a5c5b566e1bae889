"""Test that a job is bought at most once, even if the `POST` or the store fails."""

from __future__ import annotations

import contextlib
import json

import httpx
import pytest
from redis.exceptions import RedisError
from tenacity import stop_after_attempt

from scrape_do_celery import routing
from scrape_do_celery.client.submission import SubmitClient
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIBadRequestError,
    AsyncAPIUnparsableResponseError,
    InvalidRequestError,
    StoreUnavailableError,
    SubmitInDoubtError,
)
from scrape_do_celery.models import JobCanceledError, RunTimeoutError
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.leases import LeaseLostError
from scrape_do_celery.steps.store_health import FULL_STORE_DELAY
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import AsyncStore, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands import limits
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart, UpdateResult
from scrape_do_celery.store.commands.purchases import CheckBeforeSend, WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop

LEASE = 120.0
SERVER_ID = b"0123456789abcdef"
LOST_ANSWERS = [
    SubmitInDoubtError("a time-out", 2),
    APIConnectionError("cut", "POST", "/jobs", "ReadTimeout"),
    AsyncAPIUnparsableResponseError("no JSON", 200),
]


@pytest.fixture
def claim(step_harness):
    step_harness.create_run(max_wait=60, request={"super": True})
    return step_harness.claim_part(seconds=LEASE)


def aggregate(run_id="r"):
    return StepMessage(routing.AGGREGATE_RUN, (run_id,))


def test_job_is_bought_and_polled_later(step_harness, claim, make):
    step_harness.api.script(create_job=make.created("j", 2))
    assert step_harness.run_step(submit_part, claim) is None
    part = step_harness.part()
    assert (part.state, part.job_id, part.task_ids) == (PartState.RUNNING, "j", ("t0", "t1"))
    assert part.bought_at == pytest.approx(claim.now, abs=1)
    assert part.intent is not None
    assert 0 < step_harness.due_times()["r:0"] <= step_harness.settings.poll_initial_interval
    assert step_harness.redis.get(step_harness.keys.owner("j")) == b"r:0"
    ((request,),) = step_harness.api.called("create_job")
    assert (request.targets, request.super) == (make.urls(2), True)


def test_the_intent_is_on_disk_before_the_post(step_harness, claim, make):
    seen = []
    step_harness.api.script(create_job=lambda _: seen.append(step_harness.part()) or make.created())
    step_harness.run_step(submit_part, claim)
    assert seen[0].state is PartState.SUBMITTING
    assert seen[0].intent is not None


def test_a_part_of_many_sends_its_own_targets(step_harness, make):
    step_harness.create_multi_part_run(2)
    step_harness.api.script(create_job=make.created("j", 1))
    step_harness.run_step(submit_part, step_harness.claim_part(part=1, seconds=LEASE))
    ((request,),) = step_harness.api.called("create_job")
    assert request.targets == make.urls(1, 1000)


def test_stopped_part_is_not_sent(step_harness):
    step_harness.create_multi_part_run(2)
    step_harness.finish_part(part=0, outcome="failed", skip_unsent=True)
    assert step_harness.run_step(submit_part, step_harness.claim_part(part=1, seconds=LEASE)) == aggregate()
    assert step_harness.api.posts == 0
    assert step_harness.part(part=1).outcome == "skipped"


@pytest.mark.parametrize(("stop_reason", "error"), [("cancel", JobCanceledError), ("deadline", RunTimeoutError)])
def test_stop_request_before_the_claim_ends_the_part(step_harness, stop_reason, error):
    step_harness.create_run(max_wait=60)
    step_harness.redis.hset(step_harness.keys.run("r"), "stop_reason", stop_reason)
    assert step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE)) == aggregate()
    assert step_harness.api.posts == 0
    assert isinstance(step_harness.part().error, error)


@pytest.mark.parametrize("field", ["stop_reason", "skip_unsent"])
def test_stop_request_before_the_intent_reaches_the_next_claim(step_harness, claim, field):
    step_harness.redis.hset(step_harness.keys.run("r"), field, "cancel")
    assert step_harness.run_step(submit_part, claim) == StepMessage(routing.SUBMIT_JOBS, ("r:0",))
    assert step_harness.api.posts == 0
    assert step_harness.part().state is PartState.QUEUED
    assert step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE)) == aggregate()
    assert step_harness.api.posts == 0


def test_a_request_that_cannot_be_read_fails(step_harness, claim, monkeypatch):
    def spec(_):
        raise ValueError("targets[0] has no host")

    monkeypatch.setattr(type(claim), "spec", spec)
    assert step_harness.run_step(submit_part, claim) == aggregate()
    assert isinstance(step_harness.part().error, InvalidRequestError)
    assert "targets[0]" in str(step_harness.part().error)
    assert step_harness.api.posts == 0


@pytest.mark.parametrize(
    "error",
    [APIConnectionError("refused", "POST", "/jobs", kind) for kind in ("ConnectError", "PoolTimeout", "BeforeSend")],
    ids=lambda error: error.args[3],
)
def test_request_not_sent_is_sent_again(step_harness, claim, make, error):
    step_harness.api.script(create_job=[error, make.created("j")])
    assert step_harness.run_step(submit_part, claim) is None
    part = step_harness.part()
    assert (part.state, part.api_failures) == (PartState.QUEUED, 1)
    assert 0 < step_harness.due_times()["r:0"] <= 1
    step_harness.clock.forward(2)
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert step_harness.part().job_id == "j"
    assert step_harness.api.posts == 2
    assert step_harness.part().api_failures == 0


@pytest.mark.parametrize(("retry_after", "pause"), [(None, 5.0), (40.0, 40.0)])
def test_too_many_requests_is_later_and_for_all(step_harness, claim, make, retry_after, pause):
    step_harness.create_run("other")
    step_harness.api.script(create_job=make.refusal(429, retry_after))
    assert step_harness.run_step(submit_part, claim) is None
    assert (step_harness.part().state, step_harness.part().refused) == (PartState.RECONCILING, True)
    assert step_harness.try_claim_part("other") is None
    assert step_harness.due_times()["r:0"] == pytest.approx(pause, abs=1)
    assert step_harness.due_parts()["other:0"] == pytest.approx(pause, abs=1)
    step_harness.clock.forward(pause + 0.5)
    assert step_harness.try_claim_part("other") is not None


def test_a_refusal_is_final(step_harness, claim):
    error = AsyncAPIBadRequestError("no", 400, "no")
    step_harness.api.script(create_job=error)
    assert step_harness.run_step(submit_part, claim) == aggregate()
    part = step_harness.part()
    assert (part.state, part.outcome) == (PartState.DONE, "failed")
    assert type(part.error) is type(error)
    assert part.error.args == error.args


def test_a_refusal_stops_the_parts_that_were_not_sent(step_harness, make):
    step_harness.create_multi_part_run(2)
    step_harness.api.script(create_job=make.refusal(400))
    assert step_harness.run_step(submit_part, step_harness.claim_part(part=0, seconds=LEASE)) is None
    assert step_harness.run_step(submit_part, step_harness.claim_part(part=1, seconds=LEASE)) == aggregate()
    assert [part.outcome for part in step_harness.read_run().parts] == ["failed", "skipped"]
    assert step_harness.api.posts == 1


def test_refusal_leaves_other_parts_alone_if_set(step_harness, make, settings):
    step_harness.settings = settings.model_copy(update={"stop_on_failure": False})
    step_harness.create_multi_part_run(2)
    step_harness.api.script(create_job=[make.refusal(400), make.created("j")])
    step_harness.run_step(submit_part, step_harness.claim_part(part=0, seconds=LEASE))
    step_harness.run_step(submit_part, step_harness.claim_part(part=1, seconds=LEASE))
    assert [part.state for part in step_harness.read_run().parts] == [PartState.DONE, PartState.RUNNING]


@pytest.mark.parametrize("error", LOST_ANSWERS, ids=lambda error: type(error).__name__)
def test_purchase_in_doubt_is_never_sent_again(step_harness, claim, error):
    step_harness.api.script(create_job=error)
    assert step_harness.run_step(submit_part, claim) == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    assert step_harness.part().state is PartState.RECONCILING
    assert "submit_error" in step_harness.part_fields()
    assert step_harness.api.posts == 1


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_holds_the_run_back(step_harness, claim, make, status):
    step_harness.create_run("other")
    step_harness.api.script(create_job=[make.refusal(status), make.created("j")])
    assert step_harness.run_step(submit_part, claim) is None
    assert (step_harness.part().state, step_harness.part().refused) == (PartState.RECONCILING, True)
    assert step_harness.try_claim_part("other") is None
    assert step_harness.due_parts()["other:0"] == pytest.approx(limits.PROBE, abs=1)


def test_stop_request_at_the_last_moment_prevents_the_post(step_harness, claim, make, monkeypatch):
    real = CheckBeforeSend.encode

    def check_before_send(command, keys):
        step_harness.run(RequestStop("r", "cancel"))
        return real(command, keys)

    monkeypatch.setattr(CheckBeforeSend, "encode", check_before_send)
    assert step_harness.run_step(submit_part, claim) is None
    assert step_harness.api.posts == 0
    assert step_harness.part().state is PartState.QUEUED
    assert step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE)) == aggregate()
    assert isinstance(step_harness.part().error, JobCanceledError)


def test_nothing_is_bought_into_a_full_store(step_harness, claim):
    step_harness.health.used = 0.81
    assert step_harness.run_step(submit_part, claim) is None
    assert step_harness.api.posts == 0
    assert step_harness.part().state is PartState.QUEUED
    assert 0 < step_harness.due_times()["r:0"] <= 5


def test_equal_targets_are_bought_one_after_the_other(step_harness, claim, make):
    step_harness.create_run("equal", request={"geo_code": "us"})
    step_harness.api.script(create_job=[LOST_ANSWERS[0], make.created("j")])
    step_harness.run_step(submit_part, claim)
    assert step_harness.run_step(submit_part, step_harness.claim_part("equal", seconds=LEASE)) is None
    assert step_harness.api.posts == 1
    assert step_harness.part("equal").state is PartState.QUEUED
    assert step_harness.due_parts()["equal:0"] > 0.4
    # The first purchase is resolved, so the other part may buy.
    step_harness.run(FinishPart(step_harness.claim_part(), "in_doubt", purchase_status="in_doubt"))
    assert step_harness.due_parts()["equal:0"] <= 0
    step_harness.run_step(submit_part, step_harness.claim_part("equal", seconds=LEASE))
    assert step_harness.part("equal").job_id == "j"


def test_part_queued_before_a_store_restart_is_reconciled(step_harness, claim):
    """Restart the store, which may have lost a written intent whose `POST` was sent."""
    step_harness.health.durable = False
    step_harness.restart_server()
    assert step_harness.run_step(submit_part, claim) == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    assert step_harness.api.posts == 0
    part = step_harness.part()
    assert (part.state, part.intent_lost, part.purchases) == (PartState.RECONCILING, True, 1)


def test_a_restart_of_a_durable_store_changes_nothing(step_harness, claim, make):
    step_harness.restart_server(lossless=True)
    step_harness.api.script(create_job=make.created("j"))
    step_harness.run_step(submit_part, claim)
    assert step_harness.part().job_id == "j"


def test_a_post_is_not_made_once_the_lease_is_lost(step_harness, claim, monkeypatch):
    real = CheckBeforeSend.encode

    def check_before_send(command, keys):
        step_harness.clock.forward(10 * LEASE)
        step_harness.claim_part(seconds=LEASE)
        return real(command, keys)

    monkeypatch.setattr(CheckBeforeSend, "encode", check_before_send)
    with pytest.raises(LeaseLostError):
        step_harness.run_step(submit_part, claim)
    assert step_harness.api.posts == 0
    assert step_harness.part().state is PartState.SUBMITTING


def test_post_that_could_outlive_the_lease_is_not_sent(step_harness, claim, make, monkeypatch):
    real = CheckBeforeSend.encode

    def check_before_send(command, keys):
        step_harness.clock.forward(60)
        return real(command, keys)

    monkeypatch.setattr(CheckBeforeSend, "encode", check_before_send)
    assert step_harness.run_step(submit_part, claim) is None
    assert step_harness.api.posts == 0
    assert step_harness.part().state is PartState.QUEUED
    assert 0 < step_harness.due_times()["r:0"] <= 1
    monkeypatch.setattr(CheckBeforeSend, "encode", real)
    step_harness.clock.forward(1)
    step_harness.api.script(create_job=make.created())
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert step_harness.api.posts == 1


def test_post_is_not_sent_without_a_confirmed_lease(step_harness, claim):
    assert step_harness.run_step(submit_part, claim, broken="check_before_send") is None
    assert step_harness.api.posts == 0
    assert step_harness.part().state is PartState.QUEUED


def test_a_store_that_comes_back_learns_what_was_bought(step_harness, claim, make):
    step_harness.api.script(create_job=make.created("j"))
    assert step_harness.run_step(submit_part, claim, broken="update_part", times=3) is None
    assert (step_harness.part().state, step_harness.part().job_id) == (PartState.RUNNING, "j")
    assert step_harness.api.posts == 1


@pytest.mark.parametrize("status", [400, 429])
def test_a_store_that_comes_back_learns_what_was_refused(step_harness, claim, make, status):
    step_harness.api.script(create_job=make.refusal(status))
    step_harness.run_step(submit_part, claim, broken="finish_part" if status == 400 else "update_part", times=3)
    assert step_harness.part().state is (PartState.DONE if status == 400 else PartState.RECONCILING)


def test_a_store_that_stays_away_is_logged_with_the_job(step_harness, claim, make, monkeypatch, caplog):
    monkeypatch.setattr("scrape_do_celery.steps.context.stop_after_delay", lambda _: stop_after_attempt(3))
    step_harness.api.script(create_job=make.created("job-that-was-paid"))
    with pytest.raises(RedisError):
        step_harness.run_step(submit_part, claim, broken="update_part", times=99)
    assert "job-that-was-paid" in caplog.text
    assert step_harness.part().state is PartState.SUBMITTING


def test_a_job_that_another_run_owns_is_in_doubt(step_harness, claim, make, caplog):
    step_harness.redis.set(step_harness.keys.owner("j"), "other:0")
    step_harness.api.script(create_job=make.created("j"))
    assert step_harness.run_step(submit_part, claim) == aggregate()
    part = step_harness.part()
    assert (part.outcome, part.job_id, part.error.candidates) == ("in_doubt", None, ("j",))
    assert "another run owns" in str(part.error)
    assert "owned" in caplog.text
    assert step_harness.api.posts == 1


def test_own_answer_counts_under_a_lost_lease(step_harness, claim, make):
    """Let another step search for the job when the answer of the `POST` comes."""
    searches = []

    def bought(_):
        step_harness.clock.forward(10 * LEASE)
        searches.append(step_harness.claim_part(seconds=LEASE))
        return make.created("job-that-was-paid")

    step_harness.api.script(create_job=bought)
    assert step_harness.run_step(submit_part, claim) is None
    assert (step_harness.part().state, step_harness.part().job_id) == (PartState.RUNNING, "job-that-was-paid")
    assert step_harness.run(UpdatePart(searches[0], {}, to=PartState.QUEUED, after=0.0)) is UpdateResult.STALE


def test_own_answer_that_comes_twice_counts_once(step_harness, claim, make):
    """Let the search of another step find the job before the answer of the `POST` comes."""

    def bought(_):
        step_harness.clock.forward(10 * LEASE)
        search = step_harness.claim_part(seconds=LEASE)
        found = UpdatePart(
            search, {"job": "job-that-was-paid"}, to=PartState.RUNNING, after=0.0, owner="job-that-was-paid"
        )
        assert step_harness.run(found) is UpdateResult.OK
        return make.created("job-that-was-paid")

    step_harness.api.script(create_job=bought)
    assert step_harness.run_step(submit_part, claim) is None
    assert step_harness.part().state is PartState.RUNNING


def test_answer_after_the_next_purchase_is_logged(step_harness, claim, make, caplog):
    def bought(_):
        step_harness.clock.forward(10 * LEASE)
        search = step_harness.claim_part(seconds=LEASE)
        assert step_harness.run(UpdatePart(search, {}, to=PartState.QUEUED, after=0.0)) is UpdateResult.OK
        again = step_harness.claim_part(seconds=LEASE)
        process = SERVER_ID.decode()
        assert step_harness.run(WriteIntent(again, "another nonce", LEASE, durable_process=process))[0] == "ok"
        return make.created("job-that-was-paid")

    step_harness.api.script(create_job=bought)
    assert step_harness.run_step(submit_part, claim) is None
    assert "job-that-was-paid" in caplog.text
    assert step_harness.part().state is PartState.SUBMITTING


def test_stop_request_during_the_post_makes_the_part_due(step_harness, claim, make):
    def bought(_):
        step_harness.run(RequestStop("r", "cancel"))
        return make.created("j")

    step_harness.api.script(create_job=bought)
    step_harness.run_step(submit_part, claim)
    assert step_harness.due_times()["r:0"] <= 0
    (due,) = step_harness.claim_due().parts
    assert due.stop_requested


def test_429_is_recorded_if_the_pause_cannot_be_written(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(429, 10.0))
    with contextlib.suppress(RedisError):
        step_harness.run_step(
            submit_part,
            step_harness.claim_part(seconds=120),
            broken="pause_api",
        )
    assert (step_harness.part().state, step_harness.part().refused) == (PartState.RECONCILING, True)


def test_store_that_refuses_the_intent_for_lack_of_memory_costs_no_attempt(step_harness, claim, make, monkeypatch):
    """A server need not tell its memory: the refusal of the intent is then the first sign."""
    run = AsyncStore.run

    async def refuse(store, command):
        if isinstance(command, WriteIntent):
            raise StoreUnavailableError("no memory", "OOM")
        return await run(store, command)

    with monkeypatch.context() as patch:
        patch.setattr(AsyncStore, "run", refuse)
        assert step_harness.run_step(submit_part, claim) is None
    part = step_harness.part()
    assert (part.state, part.attempts, part.lease, step_harness.api.posts) == (PartState.QUEUED, 0, None, 0)
    step_harness.clock.forward(FULL_STORE_DELAY)
    step_harness.api.script(create_job=make.created("j", 2))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert (step_harness.part().job_id, step_harness.api.posts) == ("j", 1)


def buy_for_real(step_harness, claim):
    """Run the step with the real client. Return the body that the server got."""
    bodies = []

    def answer(request):
        bodies.append(json.loads(request.content))
        return httpx.Response(201, json={"JobID": "j", "TaskIDs": ["t0"]})

    async def submit(context, claim):
        context.submit_client = SubmitClient("token", transport=httpx.MockTransport(answer))
        return await submit_part(context, claim)

    step_harness.run_step(submit, claim)
    return bodies


def write_record(step_harness, record):
    """Write a run with a request as another version may have written it, unchecked."""
    step_harness.create_run(targets=1)
    request = dict(record)
    if plugin := request.get("Plugin"):
        sets, request["Plugin"] = plugin["Params"], {**plugin, "Params": []}
    else:
        sets = request.pop("Targets")
    fields = {"spec": pack({"request": request}), "targets:0": pack(sets)}
    step_harness.redis.hset(step_harness.keys.run("r"), mapping=fields)


@pytest.mark.parametrize(
    "record",
    [
        {"Plugin": {"Key": "google/search", "Params": [{"query": "a"}]}},
        {"Plugin": {"Key": "google/search", "Params": [{"q": "a", "extra": {"udm": 50}}]}},
        {"Plugin": {"Key": "google/search", "Params": [{"q": "a", "extra": "text"}]}},
        {"Plugin": {"Key": "new/plugin", "Params": [{"q": "a", "extra": {"udm": 50}}]}},
        {"Targets": ["shop.example"], "Headers": {"a b": "c"}},
        {"Targets": ["https://a.example/"], "Render": {"PlayWithBrowser": [{"Action": "Wait", "Timeout": "5"}]}},
    ],
)
def test_a_record_of_another_version_is_sent_as_it_is(step_harness, record):
    write_record(step_harness, record)
    assert buy_for_real(step_harness, step_harness.claim_part(seconds=LEASE)) == [record]
    assert step_harness.part().job_id == "j"


def test_a_body_that_cannot_be_made_fails_before_the_intent(step_harness):
    write_record(step_harness, {"Targets": [f"https://a.example/{n}" for n in range(1001)]})
    assert buy_for_real(step_harness, step_harness.claim_part(seconds=LEASE)) == []
    part = step_harness.part()
    assert (part.intent, part.purchases, part.outcome) == (None, 0, "failed")
    assert "at most 1000 targets" in str(part.error)
