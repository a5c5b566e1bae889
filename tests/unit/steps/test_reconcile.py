"""Test purchases in doubt: the job is found, absent or never known, and is never bought twice by mistake."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import PoisonedRunError, SubmitInDoubtError
from scrape_do_celery.models import JobCanceledError, JobCreationRequest, JobStatus
from scrape_do_celery.routing import Step
from scrape_do_celery.rules.listing import MAX_ZONE_OFFSET
from scrape_do_celery.rules.outcomes import may_have_bought
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.steps.job_list import JobListReader
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.runner import StepDefinition, run_step
from scrape_do_celery.store import PartId, PartState, RunSpec
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.ownership import NoteUnowned, ReadUnresolvedPurchases
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import ReadLedgerDay, WriteIntent, digest_claim
from scrape_do_celery.store.commands.runs import RequestStop
from tests.unit.steps.conftest import (
    HOUR,
    LEASE,
    job_listing,
    ledger_statuses,
    lose_submit_answer,
    reconcile_until,
    run_until_done,
    show_jobs,
    without_tasks,
)

ADOPTED = StepMessage(routing.POLL_JOBS, ("r:0",))
AGGREGATE = StepMessage(routing.AGGREGATE_RUN, ("r",))


@pytest.fixture
def reconciling(step_harness):
    """Return a part whose step died during its `POST`."""
    step_harness.create_run()
    lose_submit_answer(step_harness)
    return step_harness


def reconcile_once(step_harness, wait=None):
    """Reconcile once, when the part is due or after `wait` seconds."""
    step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.1 if wait is None else wait)
    return step_harness.run_step(reconcile_part, step_harness.claim_part())


@pytest.mark.parametrize("trim", [True, False])
def test_the_job_is_adopted(reconciling, make, trim):
    show_jobs(reconciling, make.job("pending", job_id="j"), make.job("pending", job_id="other", start=7), trim=trim)
    assert reconcile_once(reconciling) == ADOPTED
    part = reconciling.part()
    assert (part.state, part.job_id, part.task_ids) == (PartState.RUNNING, "j", ("t0", "t1"))
    assert reconciling.redis.get(reconciling.keys.owner("j")) == b"r:0"
    assert reconciling.api.posts == 0


def test_urls_may_come_back_in_another_spelling_and_order(step_harness, make):
    step_harness.create_run(each=["https://SHOP.example", "https://shop.example:443/b?q=%7e"])
    lose_submit_answer(step_harness)
    job = make.job("pending", job_id="j")
    urls = ["https://shop.example/b?q=~", "https://shop.example/"]
    tasks = [one.model_copy(update={"url": url}) for one, url in zip(job.tasks, urls, strict=True)]
    show_jobs(step_harness, job.model_copy(update={"tasks": tasks}))
    assert reconcile_once(step_harness) == ADOPTED


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_job_of_other_targets_is_read_once(reconciling, make, count):
    show_jobs(reconciling, make.job("success", count, job_id="j", start=7))
    reconciling.job_list = JobListReader(reconciling.api.list_jobs)
    assert reconcile_once(reconciling) is None
    assert reconcile_once(reconciling) is None
    assert len(reconciling.api.called("get_job")) == 1


def test_job_with_some_targets_may_still_grow(reconciling, make):
    show_jobs(reconciling, make.job("queuing", 1, job_id="j"))
    for _ in range(20):
        reconcile_once(reconciling)
    assert reconciling.part().state is PartState.RECONCILING


def test_a_job_that_names_no_task_proves_no_absence(reconciling, make):
    show_jobs(reconciling, make.job("pending", 0, job_id="j"))
    for _ in range(20):
        reconcile_once(reconciling)
    assert reconciling.part().state is PartState.RECONCILING


def test_a_job_that_a_run_owns_is_never_adopted(reconciling, make):
    reconciling.redis.set(reconciling.keys.owner("j"), "someone:0")
    show_jobs(reconciling, make.job("pending", job_id="j"))
    for _ in range(20):
        reconcile_once(reconciling)
        if reconciling.part().state is PartState.QUEUED:
            break
    assert reconciling.part().state is PartState.QUEUED


def test_job_claimed_meanwhile_is_left_alone(reconciling, make, monkeypatch):
    show_jobs(reconciling, make.job("pending", job_id="j"))
    real = UpdatePart.encode

    def encode(command, keys):
        reconciling.redis.set(reconciling.keys.owner("j"), "someone:0")
        return real(command, keys)

    monkeypatch.setattr(UpdatePart, "encode", encode)
    assert reconcile_once(reconciling) == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    assert reconciling.part().job_id is None


def reconcile_seconds_until(step_harness, state):
    """Return the seconds by the store's clock until the part is in this state."""
    began = step_harness.clock.time()
    for _ in range(200):
        reconcile_once(step_harness)
        if step_harness.part().state is state:
            return step_harness.clock.time() - began
    raise AssertionError(step_harness.part())


def test_absence_needs_the_whole_visibility_grace(reconciling, settings):
    show_jobs(reconciling)
    visibility_delay = settings.submit_deadline + settings.submit_visibility_grace
    took = reconcile_seconds_until(reconciling, PartState.QUEUED)
    assert (
        visibility_delay + settings.submit_visibility_grace / 2
        <= took
        < visibility_delay + 3 * settings.submit_visibility_grace
    )
    assert reconciling.part().not_found == 1
    assert reconciling.api.posts == 0


def test_visibility_grace_starts_at_the_end_of_the_post(reconciling, settings):
    """Freeze the buying process between the intent and the `POST`."""
    visibility_delay = settings.submit_deadline + settings.submit_visibility_grace
    reconciling.clock.forward(10 * visibility_delay)
    claim = reconciling.claim_part()
    reconciling.update_part(claim, after=0.0, to="reconciling", submit_error="a time-out")
    show_jobs(reconciling)
    assert reconcile_seconds_until(reconciling, PartState.QUEUED) >= settings.submit_visibility_grace * 1.5


def test_a_job_that_appears_late_is_adopted(reconciling, make, settings):
    show_jobs(reconciling)
    while reconciling.part().not_found_at is None:
        reconcile_once(reconciling)
    show_jobs(reconciling, make.job("queued", job_id="j"))
    assert reconcile_once(reconciling) == ADOPTED


def test_a_job_that_cannot_be_read_is_no_absence(reconciling, make):
    job = make.job("pending", job_id="j")
    reconciling.api.script(list_jobs=lambda _: job_listing(without_tasks(job)), get_job=make.refusal(404))
    for _ in range(40):
        assert reconcile_once(reconciling) is None
    assert reconciling.part().state is PartState.RECONCILING
    assert reconciling.part().not_found_at is None
    show_jobs(reconciling, job)
    assert reconcile_once(reconciling) == ADOPTED


@pytest.mark.parametrize(("start", "state"), [(0, PartState.RUNNING), (7, PartState.QUEUED)])
def test_job_without_urls_is_matched_by_its_tasks(reconciling, make, start, state):
    """Match by tasks. Otherwise one such job would keep every equally large part in doubt open for ever."""
    job = make.job("pending", job_id="j", summary=False)
    reconciling.api.script(
        list_jobs=lambda _: job_listing(job),
        get_job=job,
        get_task=lambda _, i: make.task(int(i[1:]), job="j", url=f"https://shop.example/{int(i[1:]) + start}"),
    )
    reconcile_seconds_until(reconciling, state)


@pytest.mark.parametrize("summary", [True, False])
def test_a_job_that_shows_no_url_anywhere_is_no_absence(reconciling, make, summary):
    job = make.job("pending", job_id="j", summary=summary)
    job = job.model_copy(update={"tasks": [task.model_copy(update={"url": ""}) for task in job.tasks]})
    reconciling.api.script(list_jobs=lambda _: job_listing(job), get_job=job, get_task=make.task(url=""))
    for _ in range(40):
        reconcile_once(reconciling)
    assert (reconciling.part().state, reconciling.part().not_found_at) == (PartState.RECONCILING, None)


def test_a_job_whose_tasks_cannot_be_read_is_no_absence(reconciling, make):
    job = make.job("pending", job_id="j", summary=False)
    reconciling.api.script(list_jobs=lambda _: job_listing(job), get_job=job, get_task=make.refusal(404))
    for _ in range(40):
        reconcile_once(reconciling)
    assert reconciling.part().not_found_at is None


def test_unreachable_api_keeps_the_purchase_unresolved(reconciling, make):
    reconciling.api.script(list_jobs=make.refusal(500))
    for _ in range(30):
        assert reconcile_once(reconciling) is None
    assert reconciling.part().state is PartState.RECONCILING
    show_jobs(reconciling, make.job("pending", job_id="j"))
    assert reconcile_once(reconciling) == ADOPTED


def test_hold_ends_in_doubt(reconciling, settings):
    reconciling.settings = settings.model_copy(update={"in_doubt_policy": "never_resubmit"})
    show_jobs(reconciling)
    reconcile_seconds_until(reconciling, PartState.DONE)
    part = reconciling.part()
    assert (part.outcome, reconciling.api.posts) == ("in_doubt", 0)
    assert isinstance(part.error, SubmitInDoubtError)
    assert (part.error.targets, part.error.intent, part.error.candidates) == (2, part.intent, ())
    assert "two full listings" in str(part.error)


@pytest.mark.parametrize("reason", ["cancel", "deadline"])
def test_stopped_run_ends_in_doubt_if_nothing_is_resubmitted(reconciling, settings, reason):
    reconciling.settings = settings.model_copy(update={"in_doubt_policy": "never_resubmit"})
    reconciling.run(RequestStop("r", reason))
    show_jobs(reconciling)
    reconcile_seconds_until(reconciling, PartState.DONE)
    part = reconciling.part()
    assert part.outcome == "in_doubt"
    assert may_have_bought(part.outcome, purchases=part.purchases, job_id=part.job_id)


def test_a_stop_request_waits_for_the_resolution_and_buys_nothing(reconciling):
    reconciling.run(RequestStop("r", "cancel"))
    show_jobs(reconciling)
    reconcile_seconds_until(reconciling, PartState.DONE)
    assert isinstance(reconciling.part().error, JobCanceledError)
    assert reconciling.api.posts == 0


def test_late_listings_still_count_as_two(reconciling, make):
    reconciling.run(RequestStop("r", "cancel"))
    reconciling.api.script(list_jobs=make.refusal(500))
    reconcile_once(reconciling)
    # No step ran until the time limit of the run's stop request was over.
    reconciling.clock.forward(3600)
    show_jobs(reconciling)
    assert reconcile_once(reconciling) is None
    assert reconciling.part().state is PartState.RECONCILING
    reconcile_seconds_until(reconciling, PartState.DONE)
    assert isinstance(reconciling.part().error, JobCanceledError)


def test_a_stop_request_finds_its_job_and_stops_it(reconciling, make):
    reconciling.run(RequestStop("r", "cancel"))
    show_jobs(reconciling, make.job("pending", job_id="j"))
    assert reconcile_once(reconciling) == StepMessage(routing.CANCEL_RUN, ("r:0",))
    assert reconciling.part().job_id == "j"


def test_answers_that_are_lost_again_and_again_end(reconciling, settings):
    show_jobs(reconciling)
    for _ in range(settings.poison_after - 1):
        reconcile_seconds_until(reconciling, PartState.QUEUED)
        lose_submit_answer(reconciling)
    reconcile_seconds_until(reconciling, PartState.DONE)
    assert isinstance(reconciling.part().error, PoisonedRunError)


def started(job, seconds):
    return job.model_copy(update={"start_time": datetime.fromtimestamp(seconds, UTC)})


def test_an_equal_job_from_before_makes_the_new_one_ambiguous(reconciling, make):
    old = started(make.job("success", job_id="old"), reconciling.part().first_intent - 500)
    show_jobs(reconciling, old, make.job("queued", job_id="new"))
    reconcile_seconds_until(reconciling, PartState.DONE)
    error = reconciling.part().error
    assert isinstance(error, SubmitInDoubtError)
    assert set(error.candidates) == {"old", "new"}
    assert "older" in str(error)


def test_equal_job_that_looks_older_is_ambiguous(reconciling, make):
    show_jobs(reconciling, started(make.job("success", job_id="old"), reconciling.part().first_intent - 500))
    reconcile_seconds_until(reconciling, PartState.DONE)
    assert (reconciling.part().outcome, reconciling.part().error.candidates) == ("in_doubt", ("old",))


def test_equal_job_seen_before_the_intent_is_ignored(step_harness, make):
    step_harness.create_run()
    step_harness.run(NoteUnowned(step_harness.account, ["OLD"]))
    step_harness.clock.forward(5)
    lose_submit_answer(step_harness)
    show_jobs(step_harness, make.job("pending", job_id="old"))
    reconcile_seconds_until(step_harness, PartState.QUEUED)


def test_much_older_equal_job_is_ignored(reconciling, make, settings):
    start = reconciling.part().first_intent - MAX_ZONE_OFFSET - settings.api_clock_tolerance
    show_jobs(reconciling, started(make.job("success", job_id="old"), start))
    reconcile_seconds_until(reconciling, PartState.QUEUED)


def test_more_equal_jobs_than_purchases_are_ambiguous(reconciling, make):
    show_jobs(reconciling, make.job("queued", job_id="a"), make.job("queued", job_id="b"))
    reconcile_seconds_until(reconciling, PartState.DONE)
    assert set(reconciling.part().error.candidates) == {"a", "b"}


def test_two_purchases_of_one_part_may_both_appear(reconciling, make):
    show_jobs(reconciling)
    reconcile_seconds_until(reconciling, PartState.QUEUED)
    lose_submit_answer(reconciling)
    show_jobs(reconciling, make.job("queued", job_id="a"), make.job("queued", job_id="b"))
    assert reconcile_once(reconciling) == ADOPTED


def test_earlier_unresolved_purchase_of_equal_targets_counts(step_harness, make):
    step_harness.create_run("first", request={"geo_code": "us"})
    lose_submit_answer(step_harness, "first")
    step_harness.run(FinishPart(step_harness.claim_part("first"), "in_doubt", purchase_status="in_doubt"))
    step_harness.create_run("r", request={"geo_code": "de"})
    lose_submit_answer(step_harness)
    show_jobs(step_harness, make.job("queued", job_id="j"))
    reconcile_seconds_until(step_harness, PartState.DONE)
    assert "never resolved" in str(step_harness.part().error)


def test_on_a_shared_account_only_a_marked_job_is_ours(step_harness, make, settings):
    step_harness.settings = settings.model_copy(update={"shared_account": True})
    step_harness.create_run()
    lose_submit_answer(step_harness, marker="m")
    hook = "https://hooks.example/x?scrape_do_intent="
    show_jobs(step_harness, make.job("pending", job_id="theirs"), make.job("pending", job_id="ours"))
    step_harness.api.script(
        get_task=lambda job, _: make.task(job=job, webhook_url=hook + ("m" if job == "ours" else "z"))
    )
    assert reconcile_once(step_harness) == ADOPTED
    assert step_harness.part().job_id == "ours"


def test_on_a_shared_account_without_a_marker_nothing_is_taken(step_harness, make, settings):
    step_harness.settings = settings.model_copy(update={"shared_account": True})
    step_harness.create_run()
    lose_submit_answer(step_harness)
    show_jobs(step_harness, make.job("pending", job_id="theirs"))
    reconcile_seconds_until(step_harness, PartState.DONE)
    assert "other programs buy on this account" in str(step_harness.part().error)


def test_a_plugin_job_does_not_show_whose_it_is(step_harness, make):
    plugin = {"key": "google/search", "params": [{"q": "a"}, {"q": "b"}]}
    step_harness.run(CreateRun("r", RunSpec(JobCreationRequest(plugin=plugin))))
    lose_submit_answer(step_harness)
    show_jobs(step_harness, make.job("pending", job_id="j"))
    reconcile_seconds_until(step_harness, PartState.DONE)
    assert "plugin" in str(step_harness.part().error)


def lose_the_intent(step_harness, run_id="r"):
    claim = step_harness.claim_part(run_id, seconds=LEASE)
    step_harness.redis.set(step_harness.keys.epoch, f"other {step_harness.clock.time():.4f} 0 0")
    answer = step_harness.run(WriteIntent(claim, "n", LEASE, account=step_harness.account))
    assert answer == ("maybe_sent", "")


def test_job_of_a_lost_intent_is_adopted(step_harness, make):
    step_harness.create_run()
    lose_the_intent(step_harness)
    show_jobs(step_harness, make.job("pending", job_id="j"))
    assert reconcile_once(step_harness) == ADOPTED


def test_refuted_maybe_sent_intent_leaves_no_trace(step_harness, make):
    step_harness.create_run()
    lose_the_intent(step_harness)
    day = int(step_harness.part().intent // 86_400)
    assert step_harness.run(ReadLedgerDay(day)) == []
    show_jobs(step_harness)
    reconcile_seconds_until(step_harness, PartState.QUEUED)
    assert step_harness.run(ReadLedgerDay(day)) == []


def test_confirmed_maybe_sent_intent_is_in_the_ledger(step_harness, make):
    step_harness.create_run()
    lose_the_intent(step_harness)
    day = int(step_harness.part().intent // 86_400)
    show_jobs(step_harness, make.job("pending", job_id="j"))
    reconcile_seconds_until(step_harness, PartState.RUNNING)
    [line] = step_harness.run(ReadLedgerDay(day))
    assert (line.status, line.job_id, line.sequence) == ("adopted", "j", 1)


@pytest.mark.parametrize(("options", "state"), [({"geo_code": "us"}, PartState.DONE), ({}, PartState.RUNNING)])
def test_lost_intent_with_other_options_is_ambiguous(step_harness, make, options, state):
    step_harness.create_run("equal", request=options)
    step_harness.create_run()
    lose_the_intent(step_harness)
    show_jobs(step_harness, make.job("pending", job_id="j"))
    reconcile_seconds_until(step_harness, state)


def test_conflicting_part_is_found_among_many(step_harness, make):
    """Need more than one pass of the scan."""
    step_harness.create_run("equal", request={"geo_code": "us"})
    for n in range(700):
        step_harness.redis.zadd(step_harness.keys.due, {f"other{n}:0": step_harness.clock.time() + 1_000})
    step_harness.create_run()
    lose_the_intent(step_harness)
    show_jobs(step_harness, make.job("pending", job_id="j"))
    reconcile_seconds_until(step_harness, PartState.DONE)
    assert "equal:0" in str(step_harness.part().error)


@pytest.mark.parametrize("stopped", [True, False])
def test_unreachable_api_ends_a_purchase_in_doubt(step_harness, make, stopped):
    step_harness.create_run()
    lose_submit_answer(step_harness)
    if stopped:
        step_harness.run(RequestStop("r", "cancel"))
    step_harness.api.script(list_jobs=make.refusal(500))
    for _ in range(100):
        if step_harness.part().state is not PartState.DONE:
            step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + HOUR)
            step_harness.run_step(reconcile_part, step_harness.claim_part())
    assert step_harness.part().outcome == "in_doubt"


def test_equal_job_is_ambiguous_soon_after_a_purchase_not_found(step_harness, make):
    step_harness.create_run("a", request={"geo_code": "us"})
    lose_submit_answer(step_harness, "a")
    show_jobs(step_harness)
    assert reconcile_until(step_harness, "a")
    step_harness.create_run("b", request={"geo_code": "de"})
    lose_submit_answer(step_harness, "b")
    show_jobs(step_harness, make.job("queued", job_id="of-a"))
    assert reconcile_until(step_harness, "b", until=PartState.DONE)
    assert (step_harness.part("b").outcome, step_harness.part("b").job_id) == ("in_doubt", None)


def test_purchase_not_found_is_ignored_after_an_hour(step_harness, make):
    step_harness.create_run("a", request={"geo_code": "us"})
    lose_submit_answer(step_harness, "a")
    show_jobs(step_harness)
    assert reconcile_until(step_harness, "a")
    step_harness.clock.forward(HOUR + 1)
    step_harness.create_run("b", request={"geo_code": "de"})
    lose_submit_answer(step_harness, "b")
    show_jobs(step_harness, make.job("queued", job_id="of-b"))
    assert reconcile_until(step_harness, "b", until=PartState.RUNNING)
    assert step_harness.part("b").job_id == "of-b"


def test_resolved_purchase_keeps_older_unresolved_ones(step_harness, make):
    for run_id in "ab":
        step_harness.create_run(run_id, request={"geo_code": "us"})
    lose_submit_answer(step_harness, "a")
    step_harness.run(FinishPart(step_harness.claim_part("a"), "in_doubt", purchase_status="in_doubt"))
    step_harness.clock.forward(5)
    lose_submit_answer(step_harness, "b")
    show_jobs(step_harness)
    assert reconcile_until(step_harness, "b")
    claim = step_harness.claim_part("b")
    found = step_harness.run(ReadUnresolvedPurchases(claim, step_harness.account, digest_claim(claim), 99))
    assert (found.equal, found.similar) == ((PartId("a", 0),), 1)
    step_harness.clock.forward(71 * HOUR)
    found = step_harness.run(ReadUnresolvedPurchases(claim, step_harness.account, digest_claim(claim), 99))
    assert found.similar == 1
    step_harness.clock.forward(2 * HOUR)
    found = step_harness.run(ReadUnresolvedPurchases(claim, step_harness.account, digest_claim(claim), 99))
    assert found.similar == 0


def test_task_without_a_marker_yet_proves_no_absence(step_harness, make, settings):
    step_harness.settings = settings.model_copy(update={"shared_account": True})
    step_harness.create_run()
    lose_submit_answer(step_harness, marker="m")
    show_jobs(step_harness, make.job("pending", job_id="ours"))
    step_harness.api.script(get_task=lambda job, _: make.task(job=job, status="pending", webhook_url=None))
    assert not reconcile_until(step_harness)


def test_two_purchases_not_found_of_equal_targets_stay_ambiguous(step_harness, make):
    for run, geo in (("a", "us"), ("b", "de")):
        step_harness.create_run(run, request={"geo_code": geo})
        lose_submit_answer(step_harness, run)
        show_jobs(step_harness)
        assert reconcile_until(step_harness, run)
    lose_submit_answer(step_harness, "b")
    show_jobs(step_harness, make.job("queued", job_id="of-a"))
    reconcile_until(step_harness, "b", until=PartState.DONE)
    assert (step_harness.part("b").outcome, step_harness.part("b").job_id) == ("in_doubt", None)


def test_queuing_job_with_fewer_tasks_may_be_ours(step_harness, make):
    step_harness.create_run(each=[f"https://shop.example/{n}" for n in range(3)])
    lose_submit_answer(step_harness)
    show_jobs(step_harness, make.job(JobStatus.QUEUING, 2, job_id="half"))
    assert not reconcile_until(step_harness)
    show_jobs(step_harness)
    assert reconcile_until(step_harness)


@pytest.mark.parametrize("status", [400, 401])
def test_refused_search_ends_in_doubt(step_harness, make, status):
    step_harness.create_run()
    lose_submit_answer(step_harness)
    step_harness.api.script(list_jobs=make.refusal(status), get_user_info=make.refusal(status))
    run_until_done(step_harness, {PartState.RECONCILING}, reconcile_part)
    assert step_harness.part().outcome == "in_doubt"
    assert str(status) in str(step_harness.part().error)


def test_unresolved_purchase_of_another_account_ends_in_doubt(step_harness):
    step_harness.create_run()
    lose_submit_answer(step_harness)
    step_harness.redis.hset(step_harness.keys.part(PartId("r", 0)), "account", "another")
    step_harness.run(RequestStop("r", "cancel"))
    run_until_done(step_harness, {PartState.RECONCILING}, reconcile_part)
    assert step_harness.part().outcome == "in_doubt"
    assert ledger_statuses(step_harness) == ["in_doubt"]


def test_canceled_unresolved_purchase_ends_in_doubt(step_harness, make):
    step_harness.create_run()
    lose_submit_answer(step_harness)
    step_harness.run(RequestStop("r", "cancel"))
    step_harness.api.script(
        list_jobs=lambda _: job_listing(make.job("queued", job_id="another")), get_job=make.refusal(404)
    )
    run_until_done(step_harness, {PartState.RECONCILING}, reconcile_part)
    assert step_harness.part().outcome == "in_doubt"


def test_poisoned_purchase_in_doubt_stays_in_doubt(step_harness):
    # The `POST` may have bought a job. The ledger and the register of unresolved purchases must record it.
    step_harness.create_run()
    claim = step_harness.claim_part()
    step_harness.run(WriteIntent(claim, "n", 100, account=step_harness.account))
    for _ in range(6):
        step_harness.clock.forward(200)
        step_harness.claim_part()
    step_harness.clock.forward(200)
    run_step(
        step_harness.app,
        StepDefinition(Step.RECONCILE, {PartState.SUBMITTING, PartState.RECONCILING}, reconcile_part),
        ["r:0"],
    )
    assert step_harness.part().outcome == "poisoned"
    (purchase,) = step_harness.run(ReadLedgerDay(int(step_harness.part().intent // 86_400)))
    assert purchase.status == "in_doubt"
    assert step_harness.redis.keys(f"{step_harness.keys.prefix}:unresolved:*")
