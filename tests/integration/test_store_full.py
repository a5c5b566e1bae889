"""Test a store at its memory limit: records still change, so nothing is poisoned; pages and new runs are refused."""

from __future__ import annotations

import time
import uuid

import pytest

from scrape_do_celery import embedded
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest, JobDetails, TaskDetails
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.store import PartId, PartState, Retention, RunSpec, Store
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import AcceptRun, CreateRun
from scrape_do_celery.store.commands.deliveries import ReadDeliveryTarget, TakeDelivery
from scrape_do_celery.store.commands.dispatch import ClaimDue, ClaimNamespace
from scrape_do_celery.store.commands.limits import AllocateRequests, OpenBreaker, PauseAPI
from scrape_do_celery.store.commands.ownership import ReadUnresolvedPurchases, ScanUnresolvedParts
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, PoisonPolicy, RenewLease, UpdatePart
from scrape_do_celery.store.commands.polling import AcquireListPoll, FinishListPoll, MarkStillRunning, PlanPolling
from scrape_do_celery.store.commands.purchases import NoteRejected, RejectedPurchase, TakeRejected, WriteIntent
from scrape_do_celery.store.commands.runs import (
    AcknowledgeDelivery,
    CountDecisionAttempt,
    ForgetRun,
    ReadRun,
    RecordOutcome,
    RequestStop,
)
from scrape_do_celery.store.commands.webhook_trust import DistrustWebhooks

PART_ID, ACCOUNT = PartId("r", 0), "a"
POISON = PoisonPolicy(3, skip_unsent=True)


@pytest.fixture
def store(tmp_path):
    """Return a store that has just become full, with a draft and a running part of one task."""
    with embedded.ensure(tmp_path / "store", tie_to_parent=True) as server:
        one = Store.open(server.url, "p")
        one.run(CreateRun("draft", spec(), start_delay=1000.0))
        one.run(CreateRun("r", spec()))
        job = JobDetails(job_id="j", status="pending", task_ids=["t"])
        fields = {
            "job": "j",
            "tasks": pack(["t"]),
            "purchase_status": "confirmed",
            "account": ACCOUNT,
        }
        claim = take(one, seconds=30)
        # A shortcut: no transition leads from queued to running.
        one.client.hset(one.keys.part(PartId("r", 0)), "state", PartState.RUNNING)
        one.run(UpdatePart(claim, fields, after=0.0, owner="j", job=job))
        # Well below the used memory, because the memory of clients' buffers varies.
        one.client.config_set("maxmemory", int(one.client.info("memory")["used_memory"]) // 2)
        yield one
        one.close()


def spec():
    return RunSpec(JobCreationRequest(targets=["https://a.example/1"]))


def take(store, seconds=0.05):
    states = list(PartState)
    return store.run(
        ClaimPart(PART_ID, uuid.uuid4().hex, seconds=seconds, states=states, account=ACCOUNT, poison=POISON)
    )


def test_looks_go_on_for_as_long_as_it_takes(store):
    for polls in range(3 * POISON.after):
        claim = take(store)
        assert claim.part.state is PartState.RUNNING
        assert store.run(RenewLease(claim, 0.05))
        assert store.run(UpdatePart(claim, {"polls": polls}, after=0.0)) == "ok"
        assert store.run(ClaimDue(limit=10, cap=10)) is not None
        time.sleep(0.01)
    assert store.run(PauseAPI(1.0)) > 0
    assert store.run(OpenBreaker("account"))


def test_pages_and_new_runs_are_refused(store):
    page = TaskDetails(task_id="t", job_id="j", status="success", content="page")
    for command in (StoreContent(PART_ID, 0, page), CreateRun("another", spec())):
        with pytest.raises(StoreUnavailableError):
            store.run(command)
    with pytest.raises(StoreUnavailableError):
        store.run_all([CreateRun("another", spec())])
    gone = page.model_copy(update={"gone": True, "status": "error", "content": None})
    assert store.run(StoreContent(PART_ID, 0, gone)).result == "stored"


def test_delivery_is_refused_whole_and_the_end_of_trust_is_noted(store):
    store.client.config_set("maxmemory", 0)
    store.client.hset(store.keys.part(PART_ID), "purchases", 1)
    store.client.config_set("maxmemory", 1)
    target = store.run(ReadDeliveryTarget(PART_ID))
    page = TaskDetails(task_id="t", job_id="j", status="success", content="x")
    before = store.client.hgetall(store.keys.part(PART_ID))
    for command in (
        TakeDelivery(PART_ID, 1, target, "j", "t", page=page),
        TakeDelivery(PART_ID, 1, target, "j", "t"),
        TakeDelivery(PART_ID, 1, target),
    ):
        with pytest.raises(StoreUnavailableError, match="OOM"):
            store.run(command)
    assert store.run(TakeDelivery(PART_ID, 2, target, "j", "t")).result == "other"
    assert store.client.hgetall(store.keys.part(PART_ID)) == before
    assert not store.client.exists(store.keys.contents(PART_ID), store.keys.deliveries(PART_ID))
    assert store.run(DistrustWebhooks(ACCOUNT, "why")) is True


def test_fetched_page_with_a_hint_or_a_delivered_page_is_refused_whole(store):
    page = TaskDetails(task_id="t", job_id="j", status="success", content="x")
    for entry in ("hint 0 x", "check 0 shop.example x"):
        store.client.config_set("maxmemory", 0)
        store.client.hset(store.keys.deliveries(PART_ID), "0", entry)
        if entry.startswith("check"):
            store.client.hset(store.keys.contents(PART_ID), "0", "delivered")
        store.client.config_set("maxmemory", 1)
        before = {key: store.client.dump(key) for key in store.client.scan_iter("p:*:r:0")}
        with pytest.raises(StoreUnavailableError, match="OOM"):
            store.run(StoreContent(PART_ID, 0, page))
        assert {key: store.client.dump(key) for key in store.client.scan_iter("p:*:r:0")} == before


def test_a_run_can_be_canceled_and_ended_and_freed(store):
    assert store.run(RequestStop("r", "cancel")) == [PART_ID]
    assert store.run(FinishPart(take(store, seconds=30), "canceled")) == 0
    assert store.run(CountDecisionAttempt("r")) == 1
    assert store.run(RecordOutcome("r", "canceled", {})) == "canceled"
    assert store.run(AcknowledgeDelivery("r", "r", Retention(60, 60, 60))) == 0
    assert store.run(ForgetRun("r")) == "freed"


def test_run_before_delivery_can_be_marked_as_forgotten(store):
    store.run(RequestStop("r", "cancel"))
    store.run(FinishPart(take(store, seconds=30), "canceled"))
    store.run(RecordOutcome("r", "canceled", {}))
    assert store.run(ForgetRun("r")) == "freed"
    assert store.run(AcknowledgeDelivery("r", "r", Retention(60, 60, 60))) == 0
    assert store.run(ReadRun("r")) is None


def test_a_canceled_draft_ends(store):
    with pytest.raises(StoreUnavailableError):
        store.run(AcceptRun("draft"))
    assert store.run(RequestStop("draft", "cancel")) == []
    assert store.run(AcceptRun("draft")).parts == 1
    assert store.run(RecordOutcome("draft", "canceled", {})) == "canceled"


def watched(store):
    """Release the running part, so that it waits among the running jobs of its account."""
    claim = take(store, seconds=30)
    assert store.run(UpdatePart(claim, {}, after=0.001)) == "ok"
    time.sleep(0.01)


def test_running_jobs_are_still_looked_at(store):
    watched(store)
    assert store.run(PlanPolling(ACCOUNT, 30.0)).next_at is not None
    (part,) = store.run(ClaimDue(limit=10, cap=10)).parts
    assert part.part_id == PART_ID


def test_a_sweep_goes_on(store):
    watched(store)
    time.sleep(0.05)
    assert store.run(MarkStillRunning(ACCOUNT, "pending", [PART_ID], [0.001])) == 1
    time.sleep(0.01)
    assert store.run(AcquireListPoll(ACCOUNT, "token", 30.0))
    assert store.run(FinishListPoll(ACCOUNT, "token", others=0, redispatch_after=0.0)) == [str(PART_ID)]
    assert store.run(ClaimDue(limit=10, cap=10)).parts


def test_requests_are_still_shared_out(store):
    share = store.run(AllocateRequests("process", 5, 0, limit=10, rate=100.0))
    assert (share.requests, share.starts) == (5, 5)


def test_the_store_stays_its_application_s(store):
    for _ in range(2):
        assert store.run(ClaimNamespace("mine")) == "mine"
    assert store.run(ClaimNamespace("another")) == "mine"


@pytest.mark.parametrize("will_send", [True, False])
def test_stopped_part_is_searched_for_after_lost_writes(store, will_send):
    """A part that may have been sent is reconciled after a stop request. No new purchase begins."""
    store.client.config_set("maxmemory", 0)
    store.run(CreateRun("s", RunSpec(JobCreationRequest(targets=["https://b.example/1"]))))
    store.client.set(store.keys.epoch, "old 0 old 0")
    store.client.config_set("maxmemory", int(store.client.info("memory")["used_memory"]) // 2)
    store.run(RequestStop("s", "cancel"))
    claim = store.run(
        ClaimPart(PartId("s", 0), "t", seconds=30, states=list(PartState), account=ACCOUNT, poison=POISON)
    )
    assert store.run(WriteIntent(claim, "n", 30.0, account=ACCOUNT, will_send=will_send))[0] == "maybe_sent"


def test_full_store_takes_no_intent(store):
    store.client.config_set("maxmemory", 0)
    store.run(CreateRun("s", RunSpec(JobCreationRequest(targets=["https://b.example/1"]))))
    store.client.config_set("maxmemory", int(store.client.info("memory")["used_memory"]) // 2)
    claim = store.run(
        ClaimPart(PartId("s", 0), "t", seconds=30, states=list(PartState), account=ACCOUNT, poison=POISON)
    )
    with pytest.raises(StoreUnavailableError):
        store.run(WriteIntent(claim, "n", 30.0, account=ACCOUNT))


def test_rejected_purchase_is_noted_and_ended(store):
    """Otherwise the part would be searched for as in doubt, and its rejected request sent again."""
    rejected = RejectedPurchase.of(PART_ID, 1.0, PartDigests.from_targets(["https://a.example/1"]))
    assert store.run(NoteRejected(ACCOUNT, rejected, 0.0)) == 1
    assert store.run(FinishPart(take(store, seconds=30), "failed")) == 0
    assert [found.part_id for found in store.run(TakeRejected(ACCOUNT))] == [PART_ID]


@pytest.mark.parametrize("ask", ["unresolved", "scan"])
def test_job_of_a_purchase_in_doubt_is_searched_for_after_a_restart(store, ask):
    """The first script after a restart writes the store epoch."""
    store.client.config_set("maxmemory", 0)
    store.client.set(store.keys.epoch, "old 0 old 0")
    store.client.config_set("maxmemory", int(store.client.info("memory")["used_memory"]) // 2)
    claim, digests = take(store, seconds=30), PartDigests.from_targets(["https://a.example/1"])
    if ask == "unresolved":
        assert store.run(ReadUnresolvedPurchases(claim, ACCOUNT, digests, 0)).equal == ()
    else:
        assert store.run(ScanUnresolvedParts()) == ("0", [])
    assert not store.client.get(store.keys.epoch).startswith(b"old ")
