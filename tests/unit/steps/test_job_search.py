"""Test that a job is recognised in any spelling of its URLs, and that a possible purchase is not repeated."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import AsyncAPIBadRequestError, AsyncAPIRedirectError, SubmitInDoubtError
from scrape_do_celery.models import JobsListResponse, UndetailedTaskResponse
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runs.handle import RunHandle
from scrape_do_celery.steps.reconcile import reconcile_part
from scrape_do_celery.steps.rejected import search_for_rejected
from scrape_do_celery.steps.submit import submit_part
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.ownership import NoteUnowned
from scrape_do_celery.store.commands.parts import NeedsAccount, UpdatePart
from scrape_do_celery.store.commands.purchases import HasRejected, ReadLedgerDay, TakeRejected, WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.worker.dispatcher import Dispatcher
from tests.support.url_writers import WRITERS
from tests.unit.steps.conftest import check_step_of_account

LEASE = 120.0
HOUR = 3600.0
ROUTES = ["https://app.example/#/p/1", "https://app.example/#/p/2"]
ODD = [
    "https://shop.example/?q=men's",
    "https://straße.example/a%20b?x=ä",
    "https://[2001:DB8:0:0::1]/%7euser?",
    "https://bücher.example/?b=2&a=1",
]


def intend(step_harness, run_id="r"):
    claim = step_harness.claim_part(run_id, seconds=LEASE)
    return step_harness.run(WriteIntent(claim, uuid.uuid4().hex, LEASE, account=step_harness.account))[0]


def lose_answer(step_harness, run_id="r"):
    claim = step_harness.claim_part(run_id, seconds=LEASE)
    assert step_harness.run(WriteIntent(claim, "n", LEASE, account=step_harness.account))[0] == "ok"
    assert step_harness.run(UpdatePart(claim, {}, to="reconciling", after=0.0)) == "ok"


def job_of(make, urls, job_id="j", status="pending"):
    tasks = [UndetailedTaskResponse(task_id=f"t{n}", url=url, status=status) for n, url in enumerate(urls)]
    made = make.job(status, len(urls), job_id=job_id)
    return made.model_copy(update={"tasks": tasks})


def shows(step_harness, *jobs):
    whole = {job.job_id: job for job in jobs}
    listed = [job.model_copy(update={"tasks": []}) for job in jobs]
    step_harness.api.script(list_jobs=lambda _: JobsListResponse(jobs=listed), get_job=lambda i: whole[i])


def look_until_resolved(step_harness, run_id="r"):
    for _ in range(60):
        if step_harness.part(run_id).state is not PartState.RECONCILING:
            return step_harness.part(run_id)
        step_harness.clock.forward(max(0.0, step_harness.due_times()[f"{run_id}:0"]) + 0.1)
        step_harness.run_step(reconcile_part, step_harness.claim_part(run_id))
    raise AssertionError(step_harness.part(run_id))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_job_is_adopted_whoever_writes_its_urls(step_harness, make, writer):
    step_harness.create_run(each=ODD)
    lose_answer(step_harness)
    shows(step_harness, job_of(make, [WRITERS[writer](url) for url in reversed(ODD)]))
    part = look_until_resolved(step_harness)
    assert (part.state, part.job_id, step_harness.api.posts) == (PartState.RUNNING, "j", 0)


def test_one_task_for_equal_targets_is_recognised(step_harness, make):
    step_harness.create_run(each=["https://a.example/", "https://a.example/"])
    lose_answer(step_harness)
    shows(step_harness, job_of(make, ["https://a.example/"]))
    assert look_until_resolved(step_harness).job_id == "j"


def test_routes_of_one_page_do_not_wait_for_each_other(step_harness):
    for run_id, url in zip("ab", ROUTES, strict=True):
        step_harness.create_run(run_id, each=[url])
        assert intend(step_harness, run_id) == "ok"


def test_equal_targets_in_another_spelling_wait_for_each_other(step_harness):
    step_harness.create_run("a", each=["https://bücher.example"])
    step_harness.create_run("b", each=["https://xn--bcher-kva.example/"])
    assert (intend(step_harness, "a"), intend(step_harness, "b")) == ("ok", "targets_locked")


def test_each_route_adopts_its_own_job(step_harness, make):
    for run_id, url in zip("ab", ROUTES, strict=True):
        step_harness.create_run(run_id, each=[url])
        lose_answer(step_harness, run_id)
    shows(step_harness, job_of(make, ROUTES[:1], "of-a"), job_of(make, ROUTES[1:], "of-b"))
    assert [look_until_resolved(step_harness, run_id).job_id for run_id in "ba"] == ["of-b", "of-a"]


def test_similar_job_of_one_possible_purchase_is_adopted(step_harness, make):
    step_harness.create_run(each=ROUTES[:1])
    lose_answer(step_harness)
    shows(step_harness, job_of(make, ["https://app.example/"]))
    assert look_until_resolved(step_harness).job_id == "j"


def test_similar_job_of_two_possible_purchases_is_not_adopted(step_harness, make):
    for run_id, url in zip("ab", ROUTES, strict=True):
        step_harness.create_run(run_id, each=[url])
        lose_answer(step_harness, run_id)
    shows(step_harness, job_of(make, ["https://app.example/"]))
    for run_id in "ab":
        part = look_until_resolved(step_harness, run_id)
        assert (part.outcome, part.job_id, part.error.candidates) == ("in_doubt", None, ("j",))
    assert "similar" in str(part.error)
    assert step_harness.api.posts == 0


def test_a_purchase_that_is_resolved_stands_in_nobodys_way(step_harness, make):
    for run_id, url in zip("ab", ROUTES, strict=True):
        step_harness.create_run(run_id, each=[url])
        lose_answer(step_harness, run_id)
    shows(step_harness, job_of(make, ROUTES[:1], "of-a"))
    assert look_until_resolved(step_harness, "a").job_id == "of-a"
    shows(step_harness, job_of(make, ["https://app.example/"], "of-b"))
    assert look_until_resolved(step_harness, "b").job_id == "of-b"
    assert step_harness.redis.keys(f"{step_harness.keys.prefix}:unresolved:*") == []


@pytest.mark.parametrize("other", [ROUTES[1], "https://other.example/", None])
@pytest.mark.parametrize("own", [True, False])
def test_similar_job_of_a_possibly_lost_purchase_is_not_adopted(step_harness, make, own, other):
    """Adopt nothing if the store lost the part's own intent, or may have lost that of another part."""
    step_harness.create_run(each=ROUTES[:1])
    if other:
        step_harness.create_run("b", each=[other])
    lose_answer(step_harness)
    step_harness.clock.forward(5)
    step_harness.restart_server()
    if own:
        step_harness.set_fields(intent_lost=1)
    shows(step_harness, job_of(make, ["https://app.example/"]))
    part = look_until_resolved(step_harness)
    assert (part.outcome, part.job_id) == (("in_doubt", None) if other == ROUTES[1] else (None, "j"))


def test_too_many_parts_make_a_similar_job_ambiguous(step_harness, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.steps.job_search._MAX_PARTS_READ", 0)
    step_harness.create_run(each=ROUTES[:1])
    step_harness.create_run("b", each=["https://other.example/"])
    lose_answer(step_harness)
    step_harness.clock.forward(5)
    step_harness.restart_server()
    shows(step_harness, job_of(make, ["https://app.example/"]))
    assert look_until_resolved(step_harness).outcome == "in_doubt"


def test_a_clock_that_is_set_back_makes_no_job_older(step_harness, make):
    step_harness.create_run()
    lose_answer(step_harness)
    step_harness.clock.forward(-10)
    step_harness.run(NoteUnowned(step_harness.account, ["j"]))
    shows(step_harness, make.job("pending", job_id="j"))
    assert look_until_resolved(step_harness).job_id == "j"


def test_job_seen_before_the_purchase_is_not_adopted(step_harness, make):
    step_harness.create_run("a", each=ROUTES[:1])
    lose_answer(step_harness, "a")
    shows(step_harness, job_of(make, ["https://app.example/"]))
    step_harness.run(NoteUnowned(step_harness.account, ["j"]))
    step_harness.create_run("b", each=ROUTES[1:])
    assert intend(step_harness, "b") == "ok"
    assert look_until_resolved(step_harness, "a").job_id == "j"


@pytest.mark.parametrize("text", ["n/a", "/p/1", "", "http://[", "https://a.example/\ud800"])
def test_tasks_are_asked_where_a_summary_names_no_url(step_harness, make, text):
    step_harness.create_run()
    lose_answer(step_harness)
    job = job_of(make, [text, text])
    shows(step_harness, job)
    step_harness.api.script(get_task=lambda _, i: make.task(int(i[1:]), job="j"))
    part = look_until_resolved(step_harness)
    assert (part.job_id, part.task_ids) == ("j", ("t0", "t1"))


def test_an_entry_that_the_job_does_not_name_tells_nothing(step_harness, make):
    step_harness.create_run()
    lose_answer(step_harness)
    job = make.job("pending", 2, job_id="j")
    surplus = UndetailedTaskResponse(task_id="x", url="https://other.example/", status="pending")
    shows(step_harness, job.model_copy(update={"tasks": [*job.tasks, surplus]}))
    assert look_until_resolved(step_harness).job_id == "j"


def test_an_empty_list_whose_total_promises_jobs_proves_no_absence(step_harness):
    step_harness.create_run()
    lose_answer(step_harness)
    step_harness.api.script(list_jobs=lambda _: JobsListResponse(jobs=[], total_count=1))
    for _ in range(20):
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.1)
        step_harness.run_step(reconcile_part, step_harness.claim_part())
    assert step_harness.part().state is PartState.RECONCILING


def test_a_job_may_have_the_id_zero(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.created("0"))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert step_harness.part().job_id == "0"


def test_contradicting_start_times_prove_nothing(step_harness, make):
    step_harness.create_run()
    lose_answer(step_harness)
    job = job_of(make, ["https://shop.example/0", "https://shop.example/1"])
    old = job.model_copy(update={"tasks": [], "start_time": datetime(2020, 1, 1, tzinfo=UTC)})
    step_harness.api.script(list_jobs=lambda _: JobsListResponse(jobs=[old]), get_job=job)
    assert look_until_resolved(step_harness).job_id == "j"


def test_purchase_in_doubt_keeps_the_account_after_a_refusal(step_harness, make):
    step_harness.create_run()
    lose_answer(step_harness)
    shows(step_harness)
    for _ in range(60):
        if step_harness.part().state is PartState.QUEUED:
            break
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 0.1)
        step_harness.run_step(reconcile_part, step_harness.claim_part())
    step_harness.api.script(create_job=make.refusal(401))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(HOUR)
    assert isinstance(step_harness.try_claim_part(account="of the new token"), NeedsAccount)


# Jobs that the API refused or rejected


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refused_purchase_is_sent_again_after_one_listing(step_harness, make, status):
    step_harness.create_run()
    step_harness.api.script(create_job=[make.refusal(status), make.created("j")], get_user_info=None)
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.redis.delete(step_harness.keys.breaker(step_harness.account))
    shows(step_harness)
    step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 6)
    assert step_harness.run_step(reconcile_part, step_harness.claim_part()) == StepMessage(
        routing.SUBMIT_JOBS, ("r:0",)
    )
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert (step_harness.part().job_id, step_harness.api.posts) == ("j", 2)


def test_job_of_a_refused_purchase_is_adopted(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(429))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    shows(step_harness, make.job("pending", job_id="j"))
    step_harness.clock.forward(6)
    step_harness.run_step(reconcile_part, step_harness.claim_part())
    assert (step_harness.part().job_id, step_harness.api.posts) == ("j", 1)


def test_lost_writes_after_a_refusal_need_a_search(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(429), list_jobs=JobsListResponse(jobs=[]))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.clock.forward(6)
    step_harness.run_step(reconcile_part, step_harness.claim_part())
    step_harness.restart_server()
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    part = step_harness.part()
    assert (part.state, part.intent_lost, part.refused, part.submit_error) == (PartState.RECONCILING, True, False, None)


def test_a_refused_purchase_that_is_canceled_is_not_in_doubt(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=make.refusal(429), list_jobs=make.refusal(500))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    step_harness.run(RequestStop("r", "cancel"))
    for _ in range(60):
        step_harness.clock.forward(max(0.0, step_harness.due_times().get("r:0", 0.0)) + 20)
        if (claim := step_harness.try_claim_part()) is None:
            break
        step_harness.run_step(reconcile_part, claim)
    assert step_harness.part().outcome == "canceled"
    today = int(step_harness.clock.time() // 86_400)
    assert [line for day in (today - 1, today) for line in step_harness.run(ReadLedgerDay(day))] == []


def test_redirect_delays_a_part_until_the_grace_ends(step_harness):
    redirect = AsyncAPIRedirectError("POST /api/v1/jobs: 307 to other.example", 307, "", False, "other.example")
    step_harness.create_run()
    step_harness.api.script(create_job=redirect)
    began, told = step_harness.clock.time(), []
    while step_harness.part().state is PartState.QUEUED:
        step_harness.clock.forward(max(0.0, step_harness.due_times()["r:0"]) + 1)
        step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
        told.append(step_harness.part().api_error or "")
        assert step_harness.part().state is PartState.DONE or "other.example" in told[-1]
    assert "if this lasts 900 s longer, the run fails (SCRAPE_DO_AUTH_GRACE)" in told[0]
    assert "if this lasts 9" not in told[3]
    assert step_harness.clock.time() - began >= step_harness.settings.auth_grace
    assert (step_harness.part().outcome, step_harness.part().error.host) == ("failed", "other.example")


def test_a_text_names_the_cause_of_a_purchase_in_doubt(step_harness, make):
    step_harness.create_run()
    step_harness.api.script(create_job=SubmitInDoubtError("the job may have been bought: the gateway said 502", 2))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    shows(step_harness, make.job("queued", job_id="a"), make.job("queued", job_id="b"))
    assert "the gateway said 502" in str(look_until_resolved(step_harness).error)


def test_a_status_says_why_a_purchase_is_not_known(step_harness):
    step_harness.create_run()
    step_harness.api.script(create_job=SubmitInDoubtError("the job may have been bought: the gateway said 502", 2))
    step_harness.note_worker()
    handle = RunHandle("r", app_context=step_harness.app_context)
    assert handle.status.waiting_for is None
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    waiting_for = handle.status.waiting_for
    assert (waiting_for.kind, waiting_for.since.timestamp()) == (
        "reconciling",
        pytest.approx(step_harness.clock.time(), abs=5),
    )
    assert "the gateway said 502" in waiting_for.text


def test_transport_error_leaves_the_purchase_in_doubt(step_harness):
    step_harness.create_run()
    step_harness.api.script(create_job=OSError("a broken pipe"))
    assert step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE)) == StepMessage(
        routing.RECONCILE_SUBMIT, ("r:0",)
    )
    assert step_harness.part().state is PartState.RECONCILING


@pytest.fixture
def rejected(step_harness):
    step_harness.create_run()
    step_harness.api.script(create_job=AsyncAPIBadRequestError("no", 400, "no"))
    step_harness.run_step(submit_part, step_harness.claim_part(seconds=LEASE))
    assert step_harness.part().outcome == "failed"
    return step_harness


def search(step_harness):
    async def go(context, _):
        await search_for_rejected(context)

    step_harness.run_step(go, None)


def test_a_job_of_a_rejected_purchase_is_reported(rejected, make, caplog):
    shows(rejected, make.job("pending", job_id="j"), make.job("pending", job_id="other", start=7))
    search(rejected)
    assert rejected.api.called("list_jobs") == []
    rejected.clock.forward(91)
    with caplog.at_level(logging.ERROR):
        search(rejected)
    (record,) = [one for one in caplog.records if getattr(one, "event", "") == "orphan_found"]
    assert "job j " in record.getMessage()
    assert record.run_id == "r"
    assert not rejected.run(HasRejected(rejected.account))


def test_a_list_that_cannot_be_read_is_read_later(rejected, make):
    rejected.clock.forward(91)
    rejected.api.script(list_jobs=make.refusal(500))
    search(rejected)
    assert rejected.run(TakeRejected(rejected.account)) == []
    rejected.clock.forward(301)
    (purchase,) = rejected.run(TakeRejected(rejected.account))
    assert purchase.part_id == PartId("r", 0)


@pytest.mark.parametrize("answer", ["owned", "earlier", "unread", "none"])
def test_a_job_that_is_no_rejected_purchases_is_not_reported(rejected, make, caplog, answer):
    job = make.job("pending", job_id="j")
    shows(rejected, job)
    if answer == "owned":
        rejected.redis.set(rejected.keys.owner("j"), "someone:0")
    elif answer == "earlier":
        rejected.redis.zadd(rejected.keys.unowned(rejected.account), {"j": 0.0})
    elif answer == "unread":
        rejected.api.script(get_job=make.refusal(404))
    else:
        shows(rejected)
    rejected.clock.forward(91)
    search(rejected)
    assert not [one for one in caplog.records if getattr(one, "event", "") == "orphan_found"]


def test_a_dispatcher_has_the_list_read_for_rejected_purchases(rejected):
    rejected.step_messages()
    Dispatcher(rejected.app_context).dispatch_due()
    assert (routing.REPORT_ORPHANS, [rejected.account]) in rejected.step_messages()


def test_only_the_worker_of_an_account_reads_its_list(step_harness, monkeypatch):
    check_step_of_account(step_harness, monkeypatch, routing.REPORT_ORPHANS)
