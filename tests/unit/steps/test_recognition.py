"""A job is recognised by its URLs however they are written, and nothing is bought that may have been bought."""

from __future__ import annotations

import logging
import uuid
from datetime import UTC, datetime

import pytest

from scrape_do_celery import routing
from scrape_do_celery.errors import AsyncAPIBadRequestError, AsyncAPIRedirectError, SubmitInDoubtError
from scrape_do_celery.models import JobsListResponse, UndetailedTaskResponse
from scrape_do_celery.models.urls import fingerprint
from scrape_do_celery.runs import StepMessage
from scrape_do_celery.runs.status import RunStatus
from scrape_do_celery.runtime import WorkerContext
from scrape_do_celery.store import PartId, PartState, ops, rejecting
from scrape_do_celery.tasks.orphans import search_for_rejected
from scrape_do_celery.tasks.reconcile import reconcile
from scrape_do_celery.tasks.submit import submit
from scrape_do_celery.worker.dispatcher import Dispatcher
from tests.support.writers import WRITERS

LEASE = 120.0
HOUR = 3600.0
ROUTES = ["https://app.example/#/p/1", "https://app.example/#/p/2"]
ODD = [
    "https://shop.example/?q=men's",
    "https://straße.example/a%20b?x=ä",
    "https://[2001:DB8:0:0::1]/%7euser?",
    "https://bücher.example/?b=2&a=1",
]


def intend(plant, run_id="r"):
    claim = plant.take(run_id, seconds=LEASE)
    return plant.run(ops.write_intent(plant.keys, claim, uuid.uuid4().hex, LEASE, account=plant.account))[0]


def lose_answer(plant, run_id="r"):
    claim = plant.take(run_id, seconds=LEASE)
    assert plant.run(ops.write_intent(plant.keys, claim, "n", LEASE, account=plant.account))[0] == "ok"
    assert plant.run(ops.update_part(plant.keys, claim, {"state": "reconciling"}, after=0.0)) == "ok"


def job_of(make, urls, job_id="j", status="pending"):
    tasks = [UndetailedTaskResponse(task_id=f"t{n}", url=url, status=status) for n, url in enumerate(urls)]
    made = make.job(status, len(urls), job_id=job_id)
    return made.model_copy(update={"tasks": tasks})


def shows(plant, *jobs):
    whole = {job.job_id: job for job in jobs}
    listed = [job.model_copy(update={"tasks": []}) for job in jobs]
    plant.api.script(list_jobs=lambda _: JobsListResponse(jobs=listed), get_job=lambda i: whole[i])


def look_until_resolved(plant, run_id="r"):
    for _ in range(60):
        if plant.part(run_id).state is not PartState.RECONCILING:
            return plant.part(run_id)
        plant.clock.forward(max(0.0, plant.looks()[f"{run_id}:0"]) + 0.1)
        plant.step(reconcile, plant.take(run_id))
    raise AssertionError(plant.part(run_id))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_job_is_adopted_whoever_writes_its_urls(plant, make, writer):
    plant.begin(each=ODD)
    lose_answer(plant)
    shows(plant, job_of(make, [WRITERS[writer](url) for url in reversed(ODD)]))
    part = look_until_resolved(plant)
    assert (part.state, part.job_id, plant.api.posts) == (PartState.RUNNING, "j", 0)


def test_a_server_that_answers_equal_targets_with_one_task_is_recognised(plant, make):
    plant.begin(each=["https://a.example/", "https://a.example/"])
    lose_answer(plant)
    shows(plant, job_of(make, ["https://a.example/"]))
    assert look_until_resolved(plant).job_id == "j"


def test_routes_of_one_page_do_not_wait_for_each_other(plant):
    for run_id, url in zip("ab", ROUTES, strict=True):
        plant.begin(run_id, each=[url])
        assert intend(plant, run_id) == "ok"


def test_equal_targets_in_another_spelling_wait_for_each_other(plant):
    plant.begin("a", each=["https://bücher.example"])
    plant.begin("b", each=["https://xn--bcher-kva.example/"])
    assert (intend(plant, "a"), intend(plant, "b")) == ("ok", "targets_locked")


def test_each_route_adopts_its_own_job(plant, make):
    for run_id, url in zip("ab", ROUTES, strict=True):
        plant.begin(run_id, each=[url])
        lose_answer(plant, run_id)
    shows(plant, job_of(make, ROUTES[:1], "of-a"), job_of(make, ROUTES[1:], "of-b"))
    assert [look_until_resolved(plant, run_id).job_id for run_id in "ba"] == ["of-b", "of-a"]


def test_a_similar_job_is_adopted_where_one_purchase_may_have_bought_it(plant, make):
    plant.begin(each=ROUTES[:1])
    lose_answer(plant)
    shows(plant, job_of(make, ["https://app.example/"]))
    assert look_until_resolved(plant).job_id == "j"


def test_a_similar_job_is_nobodys_where_two_purchases_may_have_bought_it(plant, make):
    for run_id, url in zip("ab", ROUTES, strict=True):
        plant.begin(run_id, each=[url])
        lose_answer(plant, run_id)
    shows(plant, job_of(make, ["https://app.example/"]))
    for run_id in "ab":
        part = look_until_resolved(plant, run_id)
        assert (part.outcome, part.job_id, part.error.candidates) == ("in_doubt", None, ("j",))
    assert "similar" in str(part.error)
    assert plant.api.posts == 0


def test_a_purchase_that_is_resolved_stands_in_nobodys_way(plant, make):
    for run_id, url in zip("ab", ROUTES, strict=True):
        plant.begin(run_id, each=[url])
        lose_answer(plant, run_id)
    shows(plant, job_of(make, ROUTES[:1], "of-a"))
    assert look_until_resolved(plant, "a").job_id == "of-a"
    shows(plant, job_of(make, ["https://app.example/"], "of-b"))
    assert look_until_resolved(plant, "b").job_id == "of-b"
    assert plant.redis.keys(f"{plant.keys.prefix}:unresolved:*") == []


@pytest.mark.parametrize("other", [ROUTES[1], "https://other.example/", None])
@pytest.mark.parametrize("own", [True, False])
def test_a_similar_job_is_adopted_only_if_no_lost_purchase_may_have_bought_it(plant, make, own, other):
    """The store lost the part's own intent, or may have lost that of another part."""
    plant.begin(each=ROUTES[:1])
    if other:
        plant.begin("b", each=[other])
    lose_answer(plant)
    plant.clock.forward(5)
    plant.restart()
    if own:
        plant.force(lost=1)
    shows(plant, job_of(make, ["https://app.example/"]))
    part = look_until_resolved(plant)
    assert (part.outcome, part.job_id) == (("in_doubt", None) if other == ROUTES[1] else (None, "j"))


def test_among_very_many_parts_any_may_have_bought_a_similar_job(plant, make, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runtime.job_search._MAX_PARTS_READ", 0)
    plant.begin(each=ROUTES[:1])
    plant.begin("b", each=["https://other.example/"])
    lose_answer(plant)
    plant.clock.forward(5)
    plant.restart()
    shows(plant, job_of(make, ["https://app.example/"]))
    assert look_until_resolved(plant).outcome == "in_doubt"


def test_a_clock_that_is_set_back_makes_no_job_older(plant, make):
    plant.begin()
    lose_answer(plant)
    plant.clock.forward(-10)
    plant.run(ops.note_unowned(plant.keys, plant.account, ["j"]))
    shows(plant, make.job("pending", job_id="j"))
    assert look_until_resolved(plant).job_id == "j"


def test_a_purchase_that_began_after_a_job_was_seen_has_not_bought_it(plant, make):
    plant.begin("a", each=ROUTES[:1])
    lose_answer(plant, "a")
    shows(plant, job_of(make, ["https://app.example/"]))
    plant.run(ops.note_unowned(plant.keys, plant.account, ["j"]))
    plant.begin("b", each=ROUTES[1:])
    assert intend(plant, "b") == "ok"
    assert look_until_resolved(plant, "a").job_id == "j"


def of_an_earlier_version(plant, run_id, targets):
    """The part as a worker of the version before wrote it, whose purchase is under way."""
    plant.begin(run_id, each=targets)
    digest = fingerprint(targets)
    plant.force(run_id, fingerprint=digest, state="submitting", account=plant.account, lease=plant.clock.time() + HOUR)
    plant.redis.set(f"{plant.keys.prefix}:target_lock:{plant.account}:{digest}", f"{run_id}:0")
    return digest


def test_a_part_waits_for_equal_targets_of_an_earlier_version(plant):
    targets = ["https://bücher.example/?q=%7e"]
    digest = of_an_earlier_version(plant, "old", targets)
    plant.begin("new", each=targets)
    assert intend(plant, "new") == "targets_locked"
    assert plant.redis.zrange(f"{plant.keys.prefix}:target_waiters:{plant.account}:{digest}", 0, -1) == [b"new:0"]


def test_a_part_holds_back_equal_targets_of_an_earlier_version(plant):
    targets = ["https://bücher.example/?q=%7e"]
    plant.begin("new", each=targets)
    assert intend(plant, "new") == "ok"
    lock = f"{plant.keys.prefix}:target_lock:{plant.account}:{fingerprint(targets)}"
    assert plant.redis.get(lock) == b"new:0"
    plant.clock.forward(2 * LEASE)
    assert plant.run(ops.finish_part(plant.keys, plant.take("new"), "failed", purchase_status="void")) == 0
    assert plant.redis.get(lock) is None


def test_a_job_of_a_part_of_an_earlier_version_is_recognised(plant, make):
    targets = ["https://straße.example/"]
    plant.begin(each=targets)
    plant.force(fingerprint=fingerprint(targets))
    lose_answer(plant)
    shows(plant, job_of(make, targets))
    assert look_until_resolved(plant).job_id == "j"


@pytest.mark.parametrize("text", ["n/a", "/p/1", "", "http://[", "https://a.example/\ud800"])
def test_tasks_are_asked_where_a_summary_names_no_url(plant, make, text):
    plant.begin()
    lose_answer(plant)
    job = job_of(make, [text, text])
    shows(plant, job)
    plant.api.script(get_task=lambda _, i: make.task(int(i[1:]), job="j"))
    part = look_until_resolved(plant)
    assert (part.job_id, part.task_ids) == ("j", ("t0", "t1"))


def test_an_entry_that_the_job_does_not_name_tells_nothing(plant, make):
    plant.begin()
    lose_answer(plant)
    job = make.job("pending", 2, job_id="j")
    surplus = UndetailedTaskResponse(task_id="x", url="https://other.example/", status="pending")
    shows(plant, job.model_copy(update={"tasks": [*job.tasks, surplus]}))
    assert look_until_resolved(plant).job_id == "j"


def test_an_empty_list_whose_total_promises_jobs_proves_no_absence(plant):
    plant.begin()
    lose_answer(plant)
    plant.api.script(list_jobs=lambda _: JobsListResponse(jobs=[], total_count=1))
    for _ in range(20):
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 0.1)
        plant.step(reconcile, plant.take())
    assert plant.part().state is PartState.RECONCILING


def test_a_job_may_have_the_id_zero(plant, make):
    plant.begin()
    plant.api.script(create_job=make.created("0"))
    plant.step(submit, plant.take(seconds=LEASE))
    assert plant.part().job_id == "0"


def test_a_list_and_a_job_that_disagree_on_a_start_prove_nothing(plant, make):
    plant.begin()
    lose_answer(plant)
    job = job_of(make, ["https://shop.example/0", "https://shop.example/1"])
    old = job.model_copy(update={"tasks": [], "start_time": datetime(2020, 1, 1, tzinfo=UTC)})
    plant.api.script(list_jobs=lambda _: JobsListResponse(jobs=[old]), get_job=job)
    assert look_until_resolved(plant).job_id == "j"


def test_a_purchase_in_doubt_before_a_refused_one_binds_its_account(plant, make):
    plant.begin()
    lose_answer(plant)
    shows(plant)
    for _ in range(60):
        if plant.part().state is PartState.QUEUED:
            break
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 0.1)
        plant.step(reconcile, plant.take())
    plant.api.script(create_job=make.refusal(401))
    plant.step(submit, plant.take(seconds=LEASE))
    plant.clock.forward(HOUR)
    assert isinstance(plant.claim(account="of the new token"), ops.NeedsAccount)


# What the API refused or rejected


@pytest.mark.parametrize("status", [401, 403, 429])
def test_a_refused_purchase_is_sent_again_after_one_listing(plant, make, status):
    plant.begin()
    plant.api.script(create_job=[make.refusal(status), make.created("j")], get_user_info=None)
    plant.step(submit, plant.take(seconds=LEASE))
    plant.redis.delete(plant.keys.breaker(plant.account))
    shows(plant)
    plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 6)
    assert plant.step(reconcile, plant.take()) == StepMessage(routing.SUBMIT_JOBS, ("r:0",))
    plant.step(submit, plant.take(seconds=LEASE))
    assert (plant.part().job_id, plant.api.posts) == ("j", 2)


def test_a_refused_purchase_that_bought_a_job_all_the_same_is_adopted(plant, make):
    plant.begin()
    plant.api.script(create_job=make.refusal(429))
    plant.step(submit, plant.take(seconds=LEASE))
    shows(plant, make.job("pending", job_id="j"))
    plant.clock.forward(6)
    plant.step(reconcile, plant.take())
    assert (plant.part().job_id, plant.api.posts) == ("j", 1)


def test_a_store_that_lost_writes_after_a_refusal_is_searched_as_for_any_other(plant, make):
    plant.begin()
    plant.api.script(create_job=make.refusal(429), list_jobs=JobsListResponse(jobs=[]))
    plant.step(submit, plant.take(seconds=LEASE))
    plant.clock.forward(6)
    plant.step(reconcile, plant.take())
    plant.restart()
    plant.step(submit, plant.take(seconds=LEASE))
    part = plant.part()
    assert (part.state, part.intent_lost, part.refused, part.submit_error) == (PartState.RECONCILING, True, False, None)


def test_a_refused_purchase_that_is_canceled_is_not_in_doubt(plant, make):
    plant.begin()
    plant.api.script(create_job=make.refusal(429), list_jobs=make.refusal(500))
    plant.step(submit, plant.take(seconds=LEASE))
    plant.run(ops.request_stop(plant.keys, "r", "cancel"))
    for _ in range(60):
        plant.clock.forward(max(0.0, plant.looks().get("r:0", 0.0)) + 20)
        if (claim := plant.claim()) is None:
            break
        plant.step(reconcile, claim)
    assert plant.part().outcome == "canceled"
    today = int(plant.clock.time() // 86_400)
    assert [line for day in (today - 1, today) for line in plant.run(ops.ledger(plant.keys, day))] == []


def test_a_redirect_holds_a_part_back_until_its_grace_is_over(plant):
    redirect = AsyncAPIRedirectError("POST /api/v1/jobs: 307 to other.example", 307, "", False, "other.example")
    plant.begin()
    plant.api.script(create_job=redirect)
    began = plant.clock.time()
    while plant.part().state is PartState.QUEUED:
        plant.clock.forward(max(0.0, plant.looks()["r:0"]) + 1)
        plant.step(submit, plant.take(seconds=LEASE))
        assert plant.part().state is PartState.DONE or "other.example" in plant.part().api_error
    assert plant.clock.time() - began >= plant.settings.auth_grace
    assert (plant.part().outcome, plant.part().error.host) == ("failed", "other.example")


def test_a_text_names_the_cause_of_a_purchase_in_doubt(plant, make):
    plant.begin()
    plant.api.script(create_job=SubmitInDoubtError("the job may have been bought: the gateway said 502", 2))
    plant.step(submit, plant.take(seconds=LEASE))
    shows(plant, make.job("queued", job_id="a"), make.job("queued", job_id="b"))
    assert "the gateway said 502" in str(look_until_resolved(plant).error)


def test_a_status_says_why_a_purchase_is_not_known(plant):
    plant.begin()
    plant.api.script(create_job=SubmitInDoubtError("the job may have been bought: the gateway said 502", 2))
    assert RunStatus.from_record(plant.view()).waiting_for is None
    plant.step(submit, plant.take(seconds=LEASE))
    assert "the gateway said 502" in RunStatus.from_record(plant.view()).waiting_for


def test_an_exception_of_the_transport_leaves_a_purchase_in_doubt_at_once(plant):
    plant.begin()
    plant.api.script(create_job=OSError("a broken pipe"))
    assert plant.step(submit, plant.take(seconds=LEASE)) == StepMessage(routing.RECONCILE_SUBMIT, ("r:0",))
    assert plant.part().state is PartState.RECONCILING


@pytest.fixture
def rejected(plant):
    plant.begin()
    plant.api.script(create_job=AsyncAPIBadRequestError("no", 400, "no"))
    plant.step(submit, plant.take(seconds=LEASE))
    assert plant.part().outcome == "failed"
    return plant


def search(plant):
    async def go(runtime, _):
        await search_for_rejected(runtime)

    plant.step(go, None)


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
    assert not rejected.run(rejecting.has_rejected(rejected.keys, rejected.account))


def test_a_list_that_cannot_be_read_is_read_later(rejected, make):
    rejected.clock.forward(91)
    rejected.api.script(list_jobs=make.refusal(500))
    search(rejected)
    assert rejected.run(rejecting.take_rejected(rejected.keys, rejected.account)) == []
    rejected.clock.forward(301)
    (purchase,) = rejected.run(rejecting.take_rejected(rejected.keys, rejected.account))
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
    rejected.messages()
    Dispatcher(rejected.producer).dispatch_due()
    assert (routing.REPORT_ORPHANS, [rejected.account]) in rejected.messages()


def test_only_the_worker_of_an_account_reads_its_list(plant, monkeypatch):
    ran = []

    class Stub:
        settings = plant.settings

        def run(self, work):
            ran.append(work)
            work.close()

    monkeypatch.setattr(WorkerContext, "for_app", lambda _: Stub())
    step = plant.app.tasks[routing.REPORT_ORPHANS]
    step.run(["another"])
    assert ran == []
    step.run([plant.account])
    assert len(ran) == 1
