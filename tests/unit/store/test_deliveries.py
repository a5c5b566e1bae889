"""Test what a delivery of a webhook does to its part: each result, what it writes, and when a step follows."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scrape_do_celery import routing
from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.arguments import START
from scrape_do_celery.store.commands.contents import HoldContent, ReadContents, StoreContent
from scrape_do_celery.store.commands.deliveries import (
    Deliveries,
    DeliveryNote,
    DropDeliveries,
    ReadDeliveries,
    ReadDeliveryTarget,
    TakeDelivery,
    TakenDelivery,
)
from scrape_do_celery.store.commands.ownership import ScanUnresolvedParts
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart, UpdateResult
from scrape_do_celery.store.commands.prices import ReadPrices
from scrape_do_celery.store.commands.purchases import CheckBeforeSend, WriteIntent
from scrape_do_celery.store.commands.runs import ForgetRun, RequestStop
from scrape_do_celery.store.commands.webhook_trust import (
    DistrustWebhooks,
    ReadWebhookTrust,
    TrustWebhooks,
    WebhookTrust,
)
from scrape_do_celery.store.encryption import Encryptor
from scrape_do_celery.store.retention import CHECK_SPACING, FIRST_CHECKS, HELD_PAGES_TTL, HINT_PUBLISH, HOUR

PART, JOB, ACCOUNT = PartId("r", 0), "job-1", "me"
NEW, OLD = b"n" * 32, b"o" * 32


class HookedPart:
    """A part whose last purchase has a webhook, and what the tests do with it."""

    def __init__(self, store, make):
        self.store, self.make = store, make
        store.account = ACCOUNT

    def buy(self, targets=4, *, named=None, after=60.0):
        """Buy the job of the part. The answer names `named` of its tasks, by default all."""
        self.store.create_run(targets=targets)
        claim = self.intend()
        assert self.record(claim, targets if named is None else named, after) == "ok"
        return self

    def intend(self, **options):
        claim = self.store.claim_part()
        verdict, _ = self.store.run(WriteIntent(claim, "n", 120.0, account=ACCOUNT, has_webhook=True, **options))
        assert verdict == "ok"
        return claim

    def record(self, claim, named, after=60.0):
        fields = {"job": JOB, "tasks": pack([f"T{n}" for n in range(named)]), "purchase_status": "confirmed"}
        return self.store.run(UpdatePart(claim, fields, to=PartState.RUNNING, after=after, owner=JOB))

    def target(self):
        return self.store.run(ReadDeliveryTarget(PART))

    def page(self, position, credits_=2, **fields):
        return self.make.task(position, job=JOB, scrape_do_metadata={"Request-Cost": str(credits_)}, **fields)

    def hint(self, position=0, **options):
        """Take a hint: the command is built from what a receiver reads now."""
        return self.take(task_id=f"t{position}", **options)

    def put(self, position=0, **fields):
        """Take a page."""
        return self.take(task_id=f"t{position}", page=self.page(position, **fields), is_proven=True)

    def take(self, number=1, *, job_id=JOB, **options):
        return self.store.run(TakeDelivery(PART, number, self.target(), job_id, **options))

    def skip_checks(self):
        """Let the account have its first pages behind it."""
        self.store.redis.hset(self.store.keys.webhook_trust(ACCOUNT), "taken", FIRST_CHECKS)
        return self

    def entries(self):
        return self.store.run(ReadDeliveries(PART))

    def contents(self, position=0):
        (task,) = self.store.run(ReadContents(PART, [position]))
        return task and task.content

    def totals(self):
        totals = self.store.fields(self.store.keys.totals)
        return {name.removeprefix("webhooks:"): int(n) for name, n in totals.items() if name.startswith("webhooks:")}

    @property
    def due_in(self):
        return self.store.part().due_at - self.store.clock.time()


@pytest.fixture
def part(store, make):
    return HookedPart(store, make)


def test_page_is_stored_as_a_fetched_one_is(store, part):
    part.buy().skip_checks()
    taken = part.put(0)
    assert (taken.result, taken.step, taken.size > 0) == ("stored", None, True)
    record = store.part()
    assert (record.stored_ok, record.stored_failed, record.credits) == (1, 0, 2.0)
    assert part.contents() == "<html>"
    assert part.entries() == Deliveries(pages=frozenset({0}))
    assert store.redis.ttl(store.keys.deliveries(PART)) == HELD_PAGES_TTL
    assert part.totals() == {"stored": 1}
    assert "r" in {one.decode() for one in store.redis.zrange(store.keys.changed, 0, -1)}


def test_task_is_found_by_its_id_in_any_case(store, part):
    part.buy()
    assert part.take(job_id=JOB.upper(), task_id="t2").result == "hinted"
    assert part.entries().hints == {2}


@pytest.mark.parametrize("fields", [{"status": "error"}, {"content": None}, {"content": ""}])
def test_body_without_a_page_of_a_success_is_a_hint(part, fields):
    part.buy()
    assert part.put(0, **fields).result == "hinted"
    assert part.contents() is None


def test_stored_task_is_known_to_later_deliveries(store, part):
    part.buy()
    store.run(StoreContent(PART, 0, part.page(0, content="fetched")))
    before = store.part_fields()
    assert [part.put(0).result, part.hint(0).result] == ["known"] * 2
    assert store.part_fields() == before
    assert (part.contents(), part.entries()) == ("fetched", Deliveries())
    assert part.totals() == {"known": 2}


def test_first_pages_and_then_one_in_a_hundred_are_checked(store, part):
    part.buy(targets=FIRST_CHECKS + 2)
    for position in range(FIRST_CHECKS + 1):
        part.put(position)
    store.redis.hset(store.keys.webhook_trust(ACCOUNT), "taken", 7 * CHECK_SPACING - 1)
    part.put(FIRST_CHECKS + 1)
    assert part.entries().checks == {*range(FIRST_CHECKS), FIRST_CHECKS + 1}
    assert part.entries().pages == {FIRST_CHECKS}
    assert store.run(ReadWebhookTrust(ACCOUNT)) == WebhookTrust(taken=7 * CHECK_SPACING)


# Steps


def test_hint_makes_the_part_due_and_gives_its_step(store, part):
    part.buy()
    assert part.hint(1) == TakenDelivery("hinted", routing.POLL_JOBS)
    assert -1 < part.due_in <= 0
    assert 0 < store.due_parts()["r:0"] <= HINT_PUBLISH
    claim = store.claim_part()
    assert (claim.is_hinted, claim.wants_job) == (True, False)


def test_page_to_check_makes_the_part_due(part):
    assert part.buy().put(0).step == routing.POLL_JOBS
    assert part.entries().checks == {0}


def test_last_page_makes_the_part_due(store, part):
    part.buy(targets=2).skip_checks()
    assert [part.put(n).step for n in range(2)] == [None, routing.POLL_JOBS]
    assert store.claim_part().is_hinted


def test_second_hint_before_the_step_gives_no_second_step(part):
    part.buy()
    assert [part.hint(n).step for n in (0, 1)] == [routing.POLL_JOBS, None]


def test_repeated_hint_is_known_unless_only_now_its_header_is_right(part):
    part.buy()
    results = [part.hint(0, is_proven=proven).result for proven in (False, False, True, True, False)]
    assert results == ["hinted", "known", "hinted", "known", "known"]


def test_page_after_a_hint_is_stored(part):
    part.buy().skip_checks()
    part.hint(0)
    assert part.put(0).result == "stored"
    assert part.entries() == Deliveries(pages=frozenset({0}))


def test_step_that_has_the_part_finds_later_deliveries_at_its_release(store, part):
    part.buy(after=0.0)
    claim = store.claim_part(seconds=30)
    before = store.due_parts()["r:0"]
    assert part.hint(0).step is None
    assert store.due_parts()["r:0"] == pytest.approx(before, abs=1)
    release = UpdatePart(claim, {}, after=300.0, hints_seen=claim.part.hints)
    assert store.run(release) is UpdateResult.HINTED
    assert store.run(release) is UpdateResult.HINTED, "a command may be sent twice"
    assert 0 < store.due_parts()["r:0"] <= HINT_PUBLISH
    again = store.claim_part()
    assert again.is_hinted
    assert store.run(UpdatePart(again, {}, after=300.0, hints_seen=again.part.hints)) is UpdateResult.OK
    assert store.due_parts()["r:0"] > 290
    store.clock.forward(310)
    assert not store.claim_part().is_hinted


def test_release_that_read_no_deliveries_keeps_its_delay_and_the_hints(store, part):
    part.buy(after=0.0)
    claim = store.claim_part()
    part.hint(0)
    assert store.run(UpdatePart(claim, {"api_failures": 1}, after=20.0)) is UpdateResult.OK
    assert part.hint(1).step is None, "a hint does not cut the delay after a failure"
    assert 15 < store.due_parts()["r:0"] <= 20
    store.clock.forward(21)
    assert store.claim_part().is_hinted


def test_delivered_page_puts_the_next_safety_poll_off(store, part):
    part.buy(after=5.0).skip_checks()
    store.set_fields(safety=3)
    assert part.put(0).step is None
    assert 55 < part.due_in <= 60
    assert store.part().safety_polls == 0
    assert "r:0" in store.due_parts()
    target = part.target()
    store.run(TakeDelivery(PART, 1, target, JOB, "t1", page=part.page(1), safety_after=7.0))
    assert 5 < part.due_in <= 7


@pytest.mark.parametrize("urgent", ["unended", "api_failures", "cancel_sent_at"])
def test_delivered_page_does_not_put_other_steps_off(store, part, urgent):
    part.buy(after=5.0).skip_checks()
    store.set_fields(**{urgent: pack([1]) if urgent == "unended" else 1})
    part.put(0)
    assert part.due_in <= 5


def test_delivered_page_puts_neither_a_stop_nor_a_hinted_step_off(store, part):
    part.buy(after=5.0).skip_checks()
    part.hint(1)
    part.put(0)
    assert part.due_in <= 0
    claim = store.claim_part()
    store.run(RequestStop("r", "cancel"))
    store.run(UpdatePart(claim, {}, after=5.0, hints_seen=claim.part.hints))
    part.put(2)
    assert part.due_in <= 0


def test_page_for_a_part_that_is_fetched_is_stored_and_the_last_one_wakes_it(store, part):
    part.buy(targets=3)
    part.hint(2)
    claim = store.claim_part()
    store.run(UpdatePart(claim, {}, to=PartState.FETCHING, after=300.0, hints_seen=claim.part.hints))
    assert part.hint(0).result == "known"
    assert part.take(job_id="").result == "known"
    taken = [part.put(n) for n in range(3)]
    assert [one.result for one in taken] == ["stored"] * 3
    assert [one.step for one in taken] == [None, None, routing.FETCH_TASKS]


# Tasks that the part does not know


def test_delivery_without_a_readable_body_demands_a_poll_of_the_job_once_in_five_seconds(store, part):
    part.buy()
    assert part.take(job_id="") == TakenDelivery("hinted", routing.POLL_JOBS)
    claim = store.claim_part()
    assert (claim.is_hinted, claim.wants_job) == (True, True)
    store.run(UpdatePart(claim, {}, after=60.0, hints_seen=claim.part.hints))
    assert part.take(job_id="") == TakenDelivery("hinted")
    assert 3 < part.due_in <= 5
    assert {part.take(job_id="").result for _ in range(5)} == {"known"}
    store.clock.forward(5.1)
    claim = store.claim_part()
    assert claim.wants_job
    store.run(UpdatePart(claim, {}, after=60.0, hints_seen=claim.part.hints))
    assert not store.read_run().parts[0].job_hint > store.part().hints_seen


def test_demand_for_a_poll_survives_a_step_that_dies(store, part):
    part.buy()
    part.take(job_id="")
    store.claim_part(seconds=30)
    store.clock.forward(31)
    assert store.claim_part().wants_job


def test_demand_works_after_a_step_back_of_the_clock(store, part):
    part.buy()
    part.take(job_id="")
    claim = store.claim_part()
    store.run(UpdatePart(claim, {}, after=0.0, hints_seen=claim.part.hints))
    store.clock.ahead -= HOUR
    assert part.take(job_id="").result == "hinted"
    store.clock.ahead += HOUR


def test_task_beyond_those_that_are_named_demands_a_poll_of_the_job(store, part):
    part.buy(targets=4, named=2)
    assert part.hint(3).result == "hinted"
    assert store.claim_part().wants_job
    assert part.entries() == Deliveries()


def test_page_of_a_task_that_no_answer_named_is_not_stored(part):
    part.buy(targets=4, named=2)
    assert part.put(3).result == "hinted"
    assert part.contents(3) is None


def test_delivery_for_another_task_job_or_purchase_changes_nothing(store, part):
    part.buy()
    before = store.part_fields()
    taken = [
        part.take(task_id="of-another-job"),
        part.take(job_id="job-2", task_id="t0", page=part.page(0)),
        part.take(2, task_id="t0", page=part.page(0)),
        part.take(0, task_id="t0"),
    ]
    assert {one.result for one in taken} == {"other"}
    assert (store.part_fields(), part.entries()) == (before, Deliveries())
    assert part.totals() == {"other": 4}


def test_placeholder_is_no_task_of_a_delivery(store, part):
    part.buy(targets=2)
    store.set_fields(tasks=pack(["t0", "-unnamed-target-1"]))
    assert part.take(task_id="-unnamed-target-1").result == "hinted"
    assert part.entries() == Deliveries()


@pytest.mark.parametrize("late", [{"tasks": pack(["t0", "t1", "t2", "t3", "t4"])}, {"job": "job-2"}])
def test_receiver_must_read_a_changed_part_anew(store, part, late):
    part.buy()
    target = part.target()
    store.set_fields(**late)
    before = store.dump_keys()
    assert store.run(TakeDelivery(PART, 1, target, JOB, "t0", page=part.page(0))) == TakenDelivery("stale")
    assert store.dump_keys() == before


def test_receiver_may_keep_what_it_read_while_the_job_stays(store, part):
    part.buy(after=0.0)
    target = part.target()
    claim = store.claim_part()
    store.run(UpdatePart(claim, {"polls": 9}, to=PartState.FETCHING, after=5.0))
    assert store.run(TakeDelivery(PART, 1, target, JOB, "t0", page=part.page(0))).result == "stored"


# Before the part knows its job


def test_delivery_during_the_post_is_noted_and_makes_the_bought_part_due(store, part):
    store.create_run(targets=4)
    claim = part.intend()
    assert part.hint(0, is_proven=True) == TakenDelivery("noted")
    assert part.entries().notes == (DeliveryNote(JOB, "t0", is_proven=True),)
    assert part.record(claim, 4) == "hinted"
    assert part.record(claim, 4) == "hinted", "a command may be sent twice"
    assert 0 < store.due_parts()["r:0"] <= HINT_PUBLISH, "the step publishes the next one"
    assert store.claim_part().is_hinted


def test_delivery_during_a_search_makes_its_part_due(store, part):
    store.create_run(targets=4)
    store.run(UpdatePart(part.intend(), {}, to=PartState.RECONCILING, after=60.0))
    assert part.hint(0) == TakenDelivery("noted", routing.RECONCILE_SUBMIT)
    assert [part.hint(0).result, part.hint(0, is_proven=True).result, part.hint(0).result] == [
        *("known", "noted", "known")
    ]
    assert part.entries().notes == (DeliveryNote(JOB, "t0", is_proven=True),)
    claim = store.claim_part()
    part.hint(1)
    held = UpdatePart(claim, {}, to=PartState.RECONCILING, after=60.0, hints_seen=claim.part.hints)
    assert store.run(held) is UpdateResult.HINTED


def test_page_is_not_stored_by_positions_that_the_store_has_lost(store, part):
    """After a failover, a search adopts the same job, whose answer may name the tasks in another order."""
    store.create_run(targets=2)
    claim = part.intend()
    kept = store.dump_keys()
    part.record(claim, 2)
    lost = part.target()
    store.redis.flushall()
    for key, data in kept.items():
        store.redis.restore(key, 0, data)
    store.clock.forward(1)
    fields = {"job": JOB, "tasks": pack(["T1", "T0"]), "purchase_status": "adopted"}
    store.run(UpdatePart(claim, fields, to=PartState.RUNNING, after=0.0, owner=JOB))
    page = part.page(0)
    late = TakeDelivery(PART, 1, lost, JOB, "t0", page=page, is_proven=True)
    assert store.run(late).result == "stale"
    assert store.run(replace(late, target=part.target())).result == "stored"
    assert part.contents(1) == page.content


def test_notes_are_bounded_and_true_ones_have_their_own_room(store, part):
    store.create_run(targets=2)
    part.intend()
    assert [part.hint(n).result for n in range(3)] == ["noted", "noted", "full"]
    assert [part.hint(n, is_proven=True).result for n in range(5, 8)] == ["noted", "noted", "full"]
    assert len(part.entries().notes) == 4


@pytest.mark.parametrize("ids", [("", ""), (JOB, "")])
def test_delivery_without_ids_says_nothing_about_an_unknown_job(store, part, ids):
    store.create_run()
    part.intend()
    assert part.take(job_id=ids[0], task_id=ids[1]).result == "known"
    assert part.entries() == Deliveries()
    assert "proven" not in store.part_fields()


def test_right_header_proves_a_purchase_without_readable_ids(store, part):
    """The body may be too large, cut, or of a form that no rule knows."""
    store.create_run()
    store.run(UpdatePart(part.intend(), {}, to=PartState.RECONCILING, after=0.0))
    claim = store.claim_part()
    assert part.take(job_id="", is_proven=True) == TakenDelivery("noted")
    store.run(UpdatePart(claim, {"purchase_status": "not_found"}, to=PartState.QUEUED, after=0.0))
    claim = store.claim_part()
    assert store.run(WriteIntent(claim, "m", 120.0, account=ACCOUNT, has_webhook=True))[0] == "maybe_sent"
    assert store.part().proven_purchase == 1


def test_part_that_waits_for_its_next_purchase_takes_no_delivery(store, part):
    store.create_run()
    claim = part.intend()
    store.run(UpdatePart(claim, {"purchase_status": "not_found"}, to=PartState.RECONCILING))
    store.run(UpdatePart(claim, {"purchase_status": "not_found"}, to=PartState.QUEUED, after=0.0))
    assert part.hint(0).result == "other"
    assert part.hint(0, is_proven=True).result == "noted"


@pytest.mark.parametrize("number", [1, 2])
def test_delivery_of_an_earlier_purchase_stops_the_post_at_the_last_moment(store, part, number):
    """The number of a void purchase is that of the next one, so the same number tells of an earlier `POST` too."""
    store.create_run()
    store.set_fields(purchases=1)
    claim = part.intend()
    assert store.run(CheckBeforeSend(claim)).verdict == "ok"
    assert part.take(number, task_id="t0").result == ("other" if number == 1 else "noted")
    assert store.run(CheckBeforeSend(claim)).verdict == "ok"
    assert part.take(number, task_id="t0", is_proven=True) == TakenDelivery("noted")
    assert store.run(CheckBeforeSend(claim)).verdict == "bought_before"
    store.run(UpdatePart(claim, {"purchase_status": "void"}, to=PartState.QUEUED, after=0.0))
    claim = store.claim_part()
    assert store.run(WriteIntent(claim, "m", 120.0, account=ACCOUNT, has_webhook=True))[0] == "maybe_sent"
    assert store.part().purchases == number
    assert len(part.entries().notes) == 1
    assert store.part().proven_purchase == number


def test_delivery_during_the_last_search_stops_the_next_purchase(store, part):
    """The step read the notes before it read the job list, which takes seconds."""
    store.create_run()
    store.run(UpdatePart(part.intend(), {}, to=PartState.RECONCILING, after=0.0))
    claim = store.claim_part()
    assert part.take(task_id="t0", is_proven=True).result == "noted"
    store.run(UpdatePart(claim, {"purchase_status": "not_found"}, to=PartState.QUEUED, after=0.0))
    claim = store.claim_part()
    assert store.run(WriteIntent(claim, "m", 120.0, account=ACCOUNT, has_webhook=True))[0] == "maybe_sent"
    assert len(part.entries().notes) == 1


def test_part_that_a_delivery_has_proven_bought_may_own_a_job(store, part):
    store.create_run()
    store.set_fields(purchases=1)
    assert store.run(ScanUnresolvedParts(START))[1] == []
    part.take(1, task_id="t0", is_proven=True)
    ((found,),) = [store.run(ScanUnresolvedParts(START))[1]]
    assert found.part_id == PART


def test_own_delivery_during_the_post_leaves_no_mark(store, part):
    store.create_run(targets=4)
    claim = part.intend()
    part.hint(0, is_proven=True)
    part.record(claim, 4)
    assert "proven" not in store.part_fields()


def test_next_purchase_begins_without_the_deliveries_of_the_last_one(store, part):
    store.create_run(targets=4)
    claim = part.intend()
    part.hint(0)
    store.run(UpdatePart(claim, {"purchase_status": "void"}, to=PartState.QUEUED, after=0.0))
    claim = store.claim_part()
    store.run(WriteIntent(claim, "m", 120.0, account=ACCOUNT))
    assert part.entries() == Deliveries()
    assert not {"webhook", "hints", "hints_seen"} & store.part_fields().keys()


def test_intent_that_is_sent_twice_keeps_the_deliveries_in_between(store, part):
    store.create_run(targets=4)
    claim = part.intend()
    part.hint(0)
    assert store.run(WriteIntent(claim, "n", 120.0, account=ACCOUNT, has_webhook=True))[0] == "ok"
    assert len(part.entries().notes) == 1
    assert store.part().has_webhook


def test_search_after_a_lost_intent_has_no_webhook(store, part):
    store.create_run()
    store.set_fields(webhook=1)
    store.restart_server()
    store.redis.hset(store.keys.run("r"), "created", 1)
    verdict, _ = store.run(WriteIntent(store.claim_part(), "n", 120.0, account=ACCOUNT, has_webhook=True))
    assert verdict == "maybe_sent"
    assert not store.part().has_webhook


def test_part_with_a_webhook_never_joins_the_list_poll(store, part):
    part.buy()
    assert not store.part().is_polled_by_list
    store.set_fields(webhook=None)
    store.clock.forward(61)
    claim = store.claim_part()
    store.run(UpdatePart(claim, {}, after=60.0))
    assert store.part().is_polled_by_list


# Ends


@pytest.mark.parametrize("how", ["ended", "forgotten", "unknown", "newer"])
def test_delivery_for_a_part_that_takes_none_is_counted_only(store, part, how):
    part.buy()
    part.hint(1)
    target = part.target()
    if how == "unknown":
        store.redis.flushall()
    elif how == "newer":
        store.redis.hset(store.keys.run("r"), "v", 99)
    else:
        store.finish_part()
        assert not store.redis.exists(store.keys.deliveries(PART))
        if how == "forgotten":
            store.redis.hset(store.keys.run("r"), mapping={"outcome": "succeeded", "waiting": 0})
            store.run(ForgetRun("r"))
    found = store.run(ReadDeliveryTarget(PART))
    assert (found is None) is (how != "ended")
    store.redis.delete(store.keys.totals)
    before = store.dump_keys()
    word = how if how in {"ended", "newer"} else "gone"
    for known in (target, found):
        assert store.run(TakeDelivery(PART, 1, known, JOB, "t0", page=part.page(0))).result == word
    assert part.totals() == {word: 2}
    store.redis.delete(store.keys.totals)
    assert store.dump_keys() == before


def test_forgetting_a_live_run_deletes_its_deliveries(store, part):
    part.buy()
    part.hint(0)
    store.redis.hset(store.keys.run("r"), mapping={"key": "lost", "stop_requested_at": "1"})
    assert store.run(ForgetRun("r", grace=1.0)) == "freed"
    assert not store.redis.exists(store.keys.deliveries(PART))


def test_end_clears_what_only_deliveries_need(store, part):
    part.buy()
    part.take(job_id="")
    part.hint(0)
    store.set_fields(unended=pack([1]), proven=1)
    store.finish_part()
    marks = {"hints", "hints_seen", "job_hint", "looked_at", "safety", "unended", "proven"}
    assert not marks & store.part_fields().keys()


@pytest.mark.parametrize("status", ["void", "not_found"])
def test_part_with_a_proven_purchase_does_not_end_as_if_nothing_was_bought(store, part, status):
    store.create_run()
    claim = part.intend()
    part.hint(0, is_proven=True)
    assert store.run(FinishPart(claim, "failed", purchase_status=status)) is None
    assert (store.part().state, store.part().proven_purchase) == (PartState.RECONCILING, 1)
    assert store.claim_part() is not None, "the next step is due"


def test_unsent_part_does_not_end_after_a_delivery_of_an_earlier_purchase(store, part):
    """The delivery came after the step had asked whether the part was sent."""
    store.create_run()
    store.set_fields(purchases=1)
    claim = store.claim_part()
    part.hint(0, is_proven=True)
    assert store.run(FinishPart(claim, "canceled")) is None
    assert store.part().state is PartState.QUEUED
    claim = store.claim_part()
    assert store.run(WriteIntent(claim, "m", 120.0, account=ACCOUNT, will_send=False))[0] == "maybe_sent"
    assert store.run(FinishPart(store.claim_part(), "in_doubt", purchase_status="in_doubt")) == 0


# Fetched tasks and delivered pages


def spent(store):
    fields = {name: store.part_fields().get(name, "0") for name in ("stored_ok", "stored_failed", "unpriced", "gone")}
    costs = {key: store.fields(key) for key in store.redis.scan_iter("p:host_spend:*")}
    hosts = {host: int(mc) for fields in costs.values() for host, mc in fields.items() if int(mc)}
    return fields, store.part().credits, hosts


@pytest.mark.parametrize("delivered", [2, 0.1, 0, None])
@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize(
    "fetched",
    [
        {"content": "fetched"},
        {"credits_": 0},
        {"scrape_do_metadata": None},
        {"status": "error", "content": None, "status_code": 502},
        {"status": "error"},
    ],
)
def test_fetched_task_replaces_a_delivered_page_with_its_figures(store, part, make, delivered, checked, fetched):
    part.buy()
    if not checked:
        part.skip_checks()
    lie = {} if delivered is None else {"scrape_do_metadata": {"Request-Cost": str(delivered)}}
    page = make.task(0, job=JOB, content="a lie", url="https://lie.example/", **lie)
    part.take(task_id="t0", page=page)
    fields = dict(fetched)
    task = make.task(0, job=JOB, **({"scrape_do_metadata": {"Request-Cost": str(fields.pop("credits_", 3))}} | fields))
    stored = store.run(StoreContent(PART, 0, task, "shop.example"))
    assert (stored.result, stored.size > 0) == ("replaced", True)
    after = spent(store)
    assert store.run(ReadContents(PART, [0])) == [task]
    assert part.entries() == Deliveries()
    assert store.run(StoreContent(PART, 0, task, "shop.example")).result == "known"
    assert part.take(task_id="t0", page=page).result == "known"
    assert spent(store) == after
    # The same task without any delivery has the same figures.
    store.redis.flushall()
    part.buy()
    store.run(StoreContent(PART, 0, task, "shop.example"))
    (fields, credits_, hosts), (own_fields, own_credits, own_hosts) = after, spent(store)
    assert (fields, hosts) == (own_fields, own_hosts)
    assert credits_ == pytest.approx(own_credits)


@pytest.mark.parametrize(
    "bare",
    [
        {"gone": True, "content": None},
        {"too_large": True, "content": None},
        {"unreadable": True, "content": "{}"},
        {"given_up": True},
    ],
)
@pytest.mark.parametrize("checked", [True, False])
def test_fetch_without_an_answer_leaves_the_delivered_page(store, part, bare, checked):
    part.buy()
    if not checked:
        part.skip_checks()
    part.put(0)
    before = spent(store)
    assert store.run(StoreContent(PART, 0, part.page(0, status="error", **bare))).result == "known"
    assert (part.contents(), part.entries()) == ("<html>", Deliveries())
    assert store.run(StoreContent(PART, 0, part.page(0, content="later"))).result == "known"
    assert spent(store) == before


def test_failed_task_replaces_a_delivered_page_by_a_held_one(store, part):
    part.buy()
    held = part.page(0, status="error", content="held", given_up=True)
    store.run(HoldContent(PART, 0, held))
    part.put(0)
    assert store.run(StoreContent(PART, 0, part.page(0, status="error", content=None))).result == "replaced"
    assert part.contents() == "held"
    assert (store.part().stored_ok, store.part().stored_failed, store.part().credits) == (0, 1, 2.0)


def test_held_page_does_not_replace_a_delivered_one_at_the_end(store, part):
    part.buy()
    store.run(HoldContent(PART, 0, part.page(0, status="error", content="held", given_up=True)))
    part.put(0)
    store.finish_part()
    assert part.contents() == "<html>"
    assert (store.part().stored_ok, store.part().stored_failed) == (1, 0)


@pytest.mark.parametrize("content", ["fetched", None])
def test_fetched_task_ends_its_hint(store, part, content):
    part.buy()
    part.hint(0)
    assert store.run(StoreContent(PART, 0, part.page(0, content=content))).result == "stored"
    assert part.entries() == Deliveries()


def test_cost_is_learned_once(store, part, make):
    part.buy(targets=4)
    cost = {"scrape_do_metadata": {"Request-Cost": "5"}}

    def samples():
        found = store.run(ReadPrices(ACCOUNT, ["shop.example"]))
        return {name: price.samples for name, price in found.items()}

    part.take(task_id="t0", page=make.task(0, **cost))
    assert not any(samples().values()), "the cost of a page to check is that of the fetched task"
    store.run(StoreContent(PART, 0, make.task(0, **cost), "shop.example"))
    assert samples() == {"shop.example": 1}
    part.skip_checks()
    part.take(task_id="t1", page=make.task(1, **cost))
    assert samples() == {"shop.example": 2}


# Treated deliveries


def test_treated_hints_and_notes_are_dropped_and_pages_stay(store, part):
    part.buy()
    part.hint(0)
    part.hint(1)
    part.put(2)
    store.redis.hset(store.keys.deliveries(PART), f"note {JOB} t9", "note 0 x")
    note = DeliveryNote(JOB, "t9", is_proven=False)
    assert store.run(DropDeliveries(PART, hints=[0, 2, 3], notes=[note])) == 2
    assert part.entries() == Deliveries(hints=frozenset({1}), checks=frozenset({2}))
    assert store.run(DropDeliveries(PART)) == 0


def test_entries_of_a_kind_that_is_unknown_are_left_out(store, part):
    part.buy()
    part.hint(0)
    store.redis.hset(store.keys.deliveries(PART), "3", "later-kind x")
    assert part.entries() == Deliveries(hints=frozenset({0}))


# Trust


def test_distrusted_account_stores_no_delivered_page(store, part):
    part.buy()
    part.put(0)
    command = DistrustWebhooks(ACCOUNT, "task t0 differs")
    assert [store.run(command), store.run(command)] == [True, True], "a command may be sent twice"
    assert store.run(DistrustWebhooks(ACCOUNT, "another reason")) is False
    assert part.put(1).result == "hinted"
    assert part.contents(1) is None
    trust = store.run(ReadWebhookTrust(ACCOUNT))
    assert (trust.taken, trust.why) == (1, "task t0 differs")
    assert trust.off_since == pytest.approx(store.clock.time(), abs=5)
    assert store.run(ReadWebhookTrust("another")) == WebhookTrust()


def test_trust_that_begins_anew_checks_the_first_pages_anew(store, part):
    part.buy().skip_checks()
    store.run(DistrustWebhooks(ACCOUNT, "why"))
    assert store.run(TrustWebhooks(ACCOUNT)) is True
    assert store.run(TrustWebhooks(ACCOUNT)) is False
    part.put(0)
    assert part.entries().checks == {0}


# Commands that are sent twice


def test_delivery_that_is_sent_twice_gives_the_same_result_and_counts_once(store, part):
    part.buy().skip_checks()
    target = part.target()
    commands = [
        TakeDelivery(PART, 1, target, JOB, "t0"),
        TakeDelivery(PART, 1, target, JOB, "t1", page=part.page(1), is_proven=True),
        TakeDelivery(PART, 1, target),
        TakeDelivery(PART, 1, target, JOB, "t0", is_proven=True),
    ]
    for command in commands:
        first = store.run(command)
        before = store.dump_keys()
        assert replace(store.run(command), step=first.step) == first
        assert store.dump_keys() == before
    assert part.totals() == {"hinted": 3, "stored": 1}


def test_repeated_command_gives_its_step_until_a_step_has_the_part(store, part):
    part.buy()
    command = TakeDelivery(PART, 1, part.target(), JOB, "t0", page=part.page(0))
    assert [store.run(command).step for _ in range(2)] == [routing.POLL_JOBS] * 2
    store.claim_part()
    assert store.run(command) == TakenDelivery("stored", None, store.run(command).size)


@pytest.mark.parametrize("state", [PartState.SUBMITTING, PartState.RECONCILING])
def test_note_that_is_sent_twice_counts_once(store, part, state):
    store.create_run()
    claim = part.intend()
    if state is PartState.RECONCILING:
        store.run(UpdatePart(claim, {}, to=state, after=60.0))
    command = TakeDelivery(PART, 1, part.target(), JOB, "t0")
    assert store.run(command) == store.run(command)
    assert part.totals() == {"noted": 1}


# Encryption


@pytest.mark.parametrize(
    ("of_run", "own", "stores"),
    [
        ("", [], True),
        ("", [NEW], False),
        ("old", [], False),
        ("old", [OLD], True),
        ("old", [OLD, NEW], True),
        ("old", [NEW, OLD], False),
        ("old new", [NEW, OLD], True),
        ("old new", [OLD], False),
    ],
)
def test_receiver_stores_only_pages_that_workers_can_read(store, part, of_run, own, stores):
    part.buy()
    names = {"old": Encryptor([OLD]).key_names[0], "new": Encryptor([NEW]).key_names[0]}
    if of_run:
        store.redis.hset(store.keys.run("r"), "key", " ".join(names[one] for one in of_run.split()))
    store.keys = replace(store.keys, encryptor=Encryptor(own, allow_plain=True) if own else None)
    target = part.target()
    assert target.can_store is stores
    taken = store.run(TakeDelivery(PART, 1, replace(target, can_store=True), JOB, "t0", page=part.page(0)))
    assert taken.result == ("stored" if stores else "hinted")
    assert part.hint(1).result == "hinted"
    if stores:
        assert part.contents() == "<html>"
        raw = store.redis.hget(store.keys.contents(PART), "0")
        assert (b"html" in raw) is (not own)


def test_page_of_a_receiver_that_cannot_store_is_not_sent(part, store):
    part.buy()
    target = replace(part.target(), can_store=False)
    command = TakeDelivery(PART, 1, target, JOB, "t0", page=part.page(0))
    assert command.encode(store.keys).size == 0
    assert store.run(command).result == "hinted"


def test_use_of_the_receivers_key_is_noted(store, part):
    store.keys = replace(store.keys, encryptor=Encryptor([OLD]))
    part.buy()
    store.redis.delete(store.keys.encryption_keys)
    assert part.put(0).result == "stored"
    assert [one.decode() for one in store.redis.zrange(store.keys.encryption_keys, 0, -1)] == store.keys.key_names


def test_no_page_is_shown_in_a_repr(part):
    part.buy()
    command = TakeDelivery(PART, 1, part.target(), JOB, "t0", page=part.page(0, content="secret page"))
    assert "secret page" not in repr(command)
    assert "shop.example" not in repr(part.target())
