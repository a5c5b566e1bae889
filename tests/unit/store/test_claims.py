"""Test claims and leases of parts, and the due set."""

from __future__ import annotations

import dataclasses
import time

import pytest

from scrape_do_celery.store import PartId, PartState
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.dispatch import PARTS_PER_MESSAGE, REDISPATCH_MAX, REDISPATCH_MIN
from scrape_do_celery.store.commands.limits import OpenBreaker, PauseAPI
from scrape_do_celery.store.commands.parts import (
    FinishPart,
    PoisonedPart,
    PoisonPolicy,
    RenewLease,
    Suspect,
    UpdatePart,
)
from scrape_do_celery.store.commands.purchases import CheckBeforeSend, SendCheck, SendVerdict, WriteIntent
from scrape_do_celery.store.commands.runs import RequestStop

STATES = {PartState.QUEUED}


def test_a_claim_gives_lease_fence_and_attempt(store, make):
    store.create_run(raise_on_task_failure=True, max_wait=60)
    claim = store.claim_part(seconds=30)
    assert (claim.part.attempts, claim.part.state) == (1, PartState.QUEUED)
    assert claim.part.fence > 0
    assert (claim.part_id, claim.stop_reason, claim.skip_unsent, claim.max_wait) == (PartId("r", 0), None, False, 60.0)
    spec = claim.spec()
    assert (spec.request.targets, spec.raise_on_task_failure, spec.max_wait) == (make.urls(2), True, 60)
    assert 25 < store.due_parts()["r:0"] <= 30
    assert 25 < float(store.part_fields()["lease"]) - store.clock.time() <= 30


def test_run_options_of_a_claim_are_read_without_the_targets(store):
    store.create_run(raise_on_task_failure=True, max_wait=60, early=False)
    claim = dataclasses.replace(store.claim_part(), targets_field=b"damaged")
    assert claim.run_options == {"raise_on_task_failure": True, "max_wait": 60.0}


def test_a_claim_of_a_part_sees_its_own_targets_only(store, make):
    store.create_multi_part_run(2)
    assert store.claim_part(part=1).spec().request.targets == make.urls(1, 1000)


def test_stop_request_and_skip_unsent_are_seen(store):
    store.create_run()
    store.redis.hset(store.keys.run("r"), mapping={"stop_reason": "cancel", "skip_unsent": 1})
    claim = store.claim_part()
    assert (claim.stop_reason, claim.skip_unsent) == ("cancel", True)


def test_the_same_token_again_gives_the_same_claim(store):
    store.create_run()
    first, again = store.claim_part(token="t"), store.claim_part(token="t")
    assert first.part == again.part
    assert store.part().attempts == 1


def test_a_part_that_is_gone(store):
    assert store.try_claim_part() is None


def test_a_part_that_another_step_serves(store):
    store.create_run()
    assert store.try_claim_part(states={PartState.RUNNING, PartState.RECONCILING}) is None
    assert store.part().attempts == 0


def test_the_names_of_states_are_not_taken_for_each_other(store):
    store.create_run()
    store.set_fields(state="queue")
    assert store.try_claim_part(states={PartState.QUEUED}) is None


def test_a_part_that_is_held(store):
    store.create_run()
    claim = store.claim_part(seconds=30)
    assert store.try_claim_part() is None
    assert store.part().fence == claim.part.fence


def test_a_dead_lease_is_taken_over_under_a_new_fence(store):
    store.create_run()
    dead = store.claim_part(seconds=30)
    store.clock.forward(31)
    claim = store.claim_part()
    assert claim.part.fence > dead.part.fence
    assert claim.part.attempts == 2


def test_a_part_whose_claim_died_is_claimed_in_isolation_only(store):
    store.create_run()
    store.claim_part(seconds=30, isolated=False)
    store.clock.forward(31)
    before = store.part_fields()
    assert store.try_claim_part(token="t", isolated=False) == Suspect()
    assert store.part_fields() == before
    claim = store.claim_part(token="t", isolated=True)
    assert claim.part.attempts == 2
    assert store.claim_part(token="t", isolated=False).part == claim.part


def test_a_death_after_progress_makes_a_suspect_too(store, make):
    store.create_run()
    store.make_running(state=PartState.FETCHING)
    store.claim_part(seconds=30)
    store.run(StoreContent(PartId("r", 0), 0, make.task()))
    assert store.part().attempts == 0
    store.clock.forward(31)
    assert store.try_claim_part(isolated=False) == Suspect()


def test_a_part_that_was_let_go_is_no_suspect(store):
    store.create_run()
    store.update_part(store.claim_part(seconds=30), after=1)
    store.clock.forward(31)
    assert store.claim_part(isolated=False).part.attempts == 1


def test_part_that_failed_in_this_process_is_no_suspect(store):
    store.create_run()
    store.claim_part(token="failed", seconds=30)
    store.clock.forward(31)
    assert store.try_claim_part(isolated=False, outlived="another") == Suspect()
    assert store.claim_part(isolated=False, outlived="failed").part.attempts == 2


def test_a_suspect_without_attempts_left_is_ended_at_once(store):
    store.create_run()
    poison = PoisonPolicy(2, skip_unsent=False)
    for _ in range(2):
        store.claim_part(seconds=30, poison=poison)
        store.clock.forward(31)
    assert store.try_claim_part(isolated=False, poison=poison) == PoisonedPart(0)


def test_a_suspect_probes_no_account(store):
    """Do not start a probe for a suspect: an unfinished probe would hold all runs back until it expires."""
    store.create_run()
    store.claim_part(seconds=30)
    store.run(OpenBreaker(""))
    store.clock.forward(31)
    assert store.try_claim_part(isolated=False) == Suspect()
    assert store.claim_part().breaker == "probe"


def test_fence_is_not_reused_after_a_lost_claim(store):
    """Undo the last writes by a power cut, while the step that made them is still at work."""
    store.create_run()
    before = store.part_fields()
    lost = store.claim_part()
    store.redis.delete(store.keys.part(PartId("r", 0)))
    store.set_fields(**before)
    time.sleep(0.002)
    assert store.claim_part().part.fence > lost.part.fence
    assert store.run(RenewLease(lost, 30.0)) is False


def test_a_part_that_is_not_yet_due(store):
    store.create_run()
    store.update_part(store.claim_part(), after=20)
    assert store.try_claim_part() is None
    store.clock.forward(20)
    assert store.try_claim_part() is not None


def test_while_the_api_is_left_alone_nothing_is_claimed(store):
    store.create_run()
    store.run(PauseAPI(40))
    assert store.try_claim_part() is None
    assert 35 < store.due_parts()["r:0"] <= 40
    assert store.part().attempts == 0
    store.clock.forward(41)
    assert store.try_claim_part() is not None


def test_a_pause_ends_by_itself(store):
    store.run(PauseAPI(0.0001))
    store.run(PauseAPI(7))
    assert 0 < store.redis.ttl(store.keys.pause) <= 7
    store.clock.forward(8)
    assert store.redis.keys() == []


def test_a_longer_pause_stands(store):
    store.create_run()
    store.run(PauseAPI(60))
    store.run(PauseAPI(5))
    store.clock.forward(30)
    assert store.try_claim_part() is None
    store.run(PauseAPI(60))
    store.clock.forward(50)
    assert store.try_claim_part() is None


def test_a_run_that_is_to_end_is_let_through(store):
    store.create_run()
    store.make_running()
    store.run(PauseAPI(60))
    store.run(RequestStop("r", "cancel"))
    claim = store.claim_part()
    assert claim.stop_reason == "cancel"
    assert claim.part.stop_seen_at == pytest.approx(claim.now, abs=5)
    assert not claim.stop_grace_passed(60)


def test_message_without_work_no_longer_counts(store):
    store.create_run()
    store.clock.forward(REDISPATCH_MIN)
    store.claim_due()
    assert store.dispatched() == {"r:0"}
    store.claim_part()
    assert store.dispatched() == set()


def test_a_message_without_work_counts_no_longer(store):
    store.create_run()
    store.clock.forward(REDISPATCH_MIN)
    store.claim_due()
    store.try_claim_part(states={PartState.RUNNING})
    assert store.dispatched() == set()


def test_a_lease_is_renewed_by_its_holder_only(store):
    store.create_run()
    claim = store.claim_part(seconds=30)
    store.clock.forward(20)
    assert store.run(RenewLease(claim, 30)) is True
    assert 25 < float(store.part_fields()["lease"]) - store.clock.time() <= 30
    store.clock.forward(31)
    store.claim_part()
    before = store.part_fields()
    assert store.run(RenewLease(claim, 30)) is False
    assert store.part_fields() == before


def test_renewing_never_shortens_a_lease(store):
    store.create_run()
    claim = store.claim_part(seconds=300)
    lease = store.part_fields()["lease"]
    assert store.run(RenewLease(claim, 30)) is True
    assert store.part_fields()["lease"] == lease


def test_renewal_does_not_restore_a_released_lease(store):
    store.create_run()
    claim = store.claim_part()
    store.update_part(claim, after=20)
    assert store.run(RenewLease(claim, 30)) is True
    store.clock.forward(21)
    assert store.try_claim_part() is not None


def test_renewing_what_is_gone(store):
    store.create_run()
    claim = store.claim_part()
    store.redis.flushall()
    assert store.run(RenewLease(claim, 30)) is False
    assert store.redis.keys() == []


def test_an_intent_is_written_before_the_post(store):
    store.create_run()
    claim = store.claim_part(seconds=30)
    assert store.run(CheckBeforeSend(claim)).verdict is SendVerdict.LEASE_LOST
    verdict, when = store.run(WriteIntent(claim, "n", 120))
    assert verdict == "ok"
    part = store.part()
    assert part.state is PartState.SUBMITTING
    assert part.intent == float(when)
    assert 115 < store.due_parts()["r:0"] <= 120
    assert 115 < store.run(CheckBeforeSend(claim)).seconds <= 120


def test_an_intent_that_is_sent_again_is_the_same(store):
    store.create_run()
    claim = store.claim_part()
    store.run(WriteIntent(claim, "n", 120))
    before = store.part_fields()
    assert store.run(WriteIntent(claim, "n", 120))[0] == "ok"
    assert store.part_fields() == before


def test_a_second_intent_is_refused(store):
    store.create_run()
    claim = store.claim_part()
    store.run(WriteIntent(claim, "n", 120))
    assert store.run(WriteIntent(claim, "other", 120)) == ("stale", "")


def test_an_intent_under_an_old_fence_is_refused(store):
    store.create_run()
    claim = store.claim_part(seconds=30)
    store.clock.forward(31)
    store.claim_part()
    assert store.run(WriteIntent(claim, "n", 120)) == ("stale", "")
    assert store.part().state is PartState.QUEUED


def test_a_stop_request_or_skip_unsent_comes_before_an_intent(store):
    store.create_run()
    claim = store.claim_part()
    store.redis.hset(store.keys.run("r"), "skip_unsent", 1)
    assert store.run(WriteIntent(claim, "n", 120)) == ("skip_unsent", "")
    store.redis.hset(store.keys.run("r"), "stop_reason", "deadline")
    assert store.run(WriteIntent(claim, "n", 120)) == ("stop_reason", "deadline")
    assert store.part().state is PartState.QUEUED


def test_check_before_send_sees_an_expiring_or_lost_lease(store):
    store.create_run()
    claim = store.claim_part(seconds=30)
    store.run(WriteIntent(claim, "n", 60))
    store.clock.forward(50)
    assert 0 < store.run(CheckBeforeSend(claim)).seconds <= 10
    store.clock.forward(20)
    assert store.run(CheckBeforeSend(claim)).seconds < 0
    store.claim_part()
    assert store.run(CheckBeforeSend(claim)) == SendCheck(SendVerdict.LEASE_LOST)


def test_due_part_has_the_fields_of_its_message(store):
    store.create_multi_part_run(2)
    store.make_running(part=1)
    store.redis.hset(store.keys.run("r"), "stop_reason", "cancel")
    store.clock.forward(REDISPATCH_MIN)
    due = store.claim_due()
    assert {
        (d.part_id.part, d.state, d.stop_requested, d.cancel_sent, d.attempts, d.dispatches) for d in due.parts
    } == {
        (0, "queued", True, False, 0, 1),
        (1, "running", True, False, 0, 1),
    }
    assert due.now == float(f"{due.now:.4f}")


def test_part_of_a_dead_step_has_its_attempts(store):
    store.create_run()
    store.claim_part(seconds=30)
    store.clock.forward(31)
    (due,) = store.claim_due().parts
    assert (due.attempts, due.cancel_sent) == (1, False)


def test_a_part_that_was_told_to_stop_says_so(store):
    store.create_run()
    store.make_running()
    store.set_fields(cancel_sent_at=1.5)
    store.clock.forward(REDISPATCH_MIN)
    assert store.claim_due().parts[0].cancel_sent


def test_claimed_part_is_due_at_the_end_of_its_lease(store):
    store.create_run()
    claim = store.claim_part(seconds=30)
    store.clock.forward(25)
    store.run(RenewLease(claim, 30))
    store.clock.forward(10)
    due = store.claim_due()
    assert (due.parts, due.dropped) == ((), 0)
    assert 0 < due.next_at - due.now <= 20
    assert store.dispatched() == set()


def test_done_or_missing_part_is_dropped(store):
    store.create_run()
    store.finish_part()
    store.redis.zadd(store.keys.due, {"r:0": 1, "ghost:0": 1, "ghost:run": 1})
    due = store.claim_due()
    assert due.dropped == 2
    assert (due.parts, due.runs) == ((), ())
    assert store.due_parts().keys() == {"r:run"}


def test_unanswered_message_is_published_less_and_less_often(store):
    store.create_run()
    store.clock.forward(REDISPATCH_MIN)
    waits = []
    for dispatches in range(1, 13):
        (due,) = store.claim_due().parts
        assert due.dispatches == dispatches
        waits.append(round(store.due_parts()["r:0"]))
        store.clock.forward(waits[-1] + 1)
    # The store's clock runs on between the two reads.
    wanted = [5, 10, 20, 40, 80, 160, *[REDISPATCH_MAX] * 6]
    assert waits == [pytest.approx(wait, abs=2) for wait in wanted]


def test_a_message_that_is_heard_starts_the_publish_interval_anew(store):
    store.create_run()
    for _ in range(4):
        store.clock.forward(100)
        store.claim_due()
    store.claim_part(seconds=1)
    store.clock.forward(100)
    assert store.claim_due().parts[0].dispatches == 1


def test_a_run_is_published_less_and_less_often_too(store):
    store.create_run()
    store.finish_part()
    waits = []
    for _ in range(9):
        store.clock.forward(REDISPATCH_MAX + 1)
        assert store.claim_due().runs[0].dispatches == len(waits) + 1
        waits.append(round(store.due_parts()["r:run"]))
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


MANY = PARTS_PER_MESSAGE + 10


def crowded(store):
    """Publish many step messages that no step takes in time, so that they are due again."""
    for n in range(MANY):
        store.create_run(f"crowd{n}")
    store.clock.forward(REDISPATCH_MIN)
    assert len(store.claim_due(limit=1000).parts) == MANY
    store.clock.forward(REDISPATCH_MIN + 0.1)
    store.claim_due(limit=1000)


def test_queued_messages_are_published_less_often(store):
    crowded(store)
    assert min(store.due_parts()[f"crowd{n}:0"] for n in range(MANY)) == pytest.approx(4 * REDISPATCH_MIN, abs=1)
    store.clock.forward(4 * REDISPATCH_MIN)
    assert len(store.claim_due(limit=1000).parts) == MANY
    assert min(store.due_parts()[f"crowd{n}:0"] for n in range(MANY)) == pytest.approx(4 * 4 * REDISPATCH_MIN, abs=1)


def test_backlog_leaves_parts_to_the_message_of_a_step(store):
    crowded(store)
    store.create_run("fresh")
    store.create_run("ended")
    store.finish_part("ended")
    store.clock.forward(REDISPATCH_MIN)
    due = store.claim_due(limit=1000)
    assert (due.parts, due.runs) == ((), ())
    store.clock.forward(REDISPATCH_MIN)
    due = store.claim_due(limit=1000)
    assert {part.part_id.run_id for part in due.parts} == {"fresh"}
    assert {run.run_id for run in due.runs} == {"ended"}


def test_backlog_publishes_parts_without_a_message_at_once(store):
    crowded(store)
    store.create_run("dead")
    store.create_run("later")
    store.create_run("over", max_wait=8.0)
    store.claim_part("dead", seconds=1)
    claim = store.claim_part("later")
    store.force_state("later")
    store.update_part(claim, after=1.0)
    store.claim_part("over", seconds=100)
    store.clock.forward(2)
    due = store.claim_due(limit=1000)
    assert {part.part_id.run_id for part in due.parts} == {"dead", "later"}
    store.clock.forward(7)
    assert {run.run_id for run in store.claim_due(limit=1000).runs} == {"over"}


def test_when_a_backlog_is_over_messages_are_published_as_before(store):
    crowded(store)
    store.redis.delete(store.keys.due, store.keys.dispatched)
    store.clock.forward(8 * REDISPATCH_MIN)
    store.claim_due()
    store.create_run("fresh")
    store.clock.forward(REDISPATCH_MIN)
    assert [part.part_id.run_id for part in store.claim_due().parts] == ["fresh"]


def test_a_message_that_is_lost_is_no_backlog(store):
    for n in range(PARTS_PER_MESSAGE):
        store.create_run(f"r{n}")
    store.clock.forward(REDISPATCH_MIN)
    store.claim_due(limit=1000)
    store.clock.forward(REDISPATCH_MIN + 0.1)
    assert len(store.claim_due(limit=1000).parts) == PARTS_PER_MESSAGE
    assert min(store.due_parts()[f"r{n}:0"] for n in range(PARTS_PER_MESSAGE)) == pytest.approx(
        2 * REDISPATCH_MIN, abs=1
    )
    assert not store.redis.exists(store.keys.queue_delay)


def test_no_more_is_handed_out_than_asked_for(store):
    for n in range(5):
        store.create_run(f"r{n}")
    store.clock.forward(REDISPATCH_MIN)
    first, second = store.claim_due(limit=3), store.claim_due(limit=3)
    assert (len(first.parts), len(second.parts)) == (3, 2)
    assert not {d.part_id for d in first.parts} & {d.part_id for d in second.parts}


def test_messages_under_way_are_capped(store):
    for n in range(5):
        store.create_run(f"r{n}")
    store.clock.forward(REDISPATCH_MIN)
    assert len(store.claim_due(cap=3).parts) == 3
    waiting = store.claim_due(cap=3)
    assert waiting.parts == ()
    assert waiting.next_at <= waiting.now
    heard = min(store.dispatched())
    store.claim_part(heard.rpartition(":")[0])
    assert len(store.claim_due(cap=3).parts) == 1


def test_messages_count_as_lost_after_a_while(store):
    for n in range(5):
        store.create_run(f"r{n}")
    store.clock.forward(REDISPATCH_MIN)
    assert len(store.claim_due(cap=3).parts) == 3
    store.clock.forward(REDISPATCH_MIN + 1)
    assert len(store.claim_due(cap=3).parts) == 3


def test_nothing_is_due_in_an_empty_store(store):
    due = store.claim_due()
    assert (due.next_at, due.parts, due.runs, due.dropped) == (None, (), (), 0)


def test_due_run_without_a_reason_is_removed(store):
    store.create_run()
    store.redis.zadd(store.keys.due, {"r:run": 1})
    assert store.claim_due().runs == ()
    assert "r:run" not in store.due_parts()


def test_run_checked_early_waits_for_its_deadline(store):
    store.create_run(max_wait=600)
    store.redis.zadd(store.keys.due, {"r:run": 1})
    assert store.claim_due().runs == ()
    assert 590 < store.due_parts()["r:run"] <= 600


def test_ids_with_colons_are_found(store):
    store.create_run("a:b:c", max_wait=1)
    store.clock.forward(REDISPATCH_MIN)
    due = store.claim_due()
    assert due.parts[0].part_id == PartId("a:b:c", 0)
    assert due.runs[0].run_id == "a:b:c"


def bought(store, run_id, age, expired_in):
    """Make a part with a job that was due `age` seconds ago. The API's retention ends in `expired_in` seconds."""
    store.create_run(run_id)
    store.make_running(run_id)
    store.redis.zadd(store.keys.content_expiry, {f"{run_id}:0": store.clock.time() + expired_in})
    store.redis.zadd(store.keys.due, {f"{run_id}:0": store.clock.time() - age})


def test_backlog_is_ordered_by_remaining_retention(store):
    bought(store, "long", 30, 9000)
    bought(store, "short", 10, 100)
    bought(store, "middle", 20, 5000)
    store.create_run("unsent")
    store.redis.zadd(store.keys.due, {"unsent:0": store.clock.time() - 40})
    bought(store, "asleep", -50, 10)
    first = [part.part_id.run_id for part in store.claim_due(limit=3).parts]
    assert first == ["short", "middle", "long"]
    assert [part.part_id.run_id for part in store.claim_due(limit=3).parts] == ["unsent"]


def test_unsent_parts_get_their_share(store):
    for n in range(8):
        bought(store, f"paid{n}", 10, 100 + n)
    store.create_run("unsent")
    store.redis.zadd(store.keys.due, {"unsent:0": store.clock.time() - 40})
    assert "unsent" in [part.part_id.run_id for part in store.claim_due(limit=4).parts]


def test_retention_counts_from_the_purchase_to_the_end(store):
    store.create_run()
    store.make_running()
    (life,) = store.redis.zrange(store.keys.content_expiry, 0, -1, withscores=True)
    assert life == (b"r:0", pytest.approx(store.clock.time() + 3 * 86_400, abs=5))
    store.run(FinishPart(store.claim_part(), "succeeded"))
    assert store.redis.zrange(store.keys.content_expiry, 0, -1) == []


def test_age_of_a_purchase_is_that_of_the_slower_clock(store):
    store.clock.stop()
    store.create_run()
    store.claim_due()
    claim = store.claim_part(seconds=1.0)
    assert (claim.age, claim.job_age, claim.is_outlived) == (0.0, 0.0, False)
    assert store.run(WriteIntent(claim, "nonce", 1.0))[0] == "ok"
    searched = store.part().first_watched
    owner = UpdatePart(claim, {"job": "j"}, to=PartState.RUNNING, after=0.0, owner="j", nonce="nonce")
    assert store.run(owner) == "ok"
    # The server's clock steps by a month, and no dispatcher has seen it.
    store.clock.ahead += 30 * 86_400
    stepped = store.claim_part(seconds=1.0)
    assert (stepped.age, stepped.is_outlived, stepped.is_forgotten(), stepped.is_past_finding()) == (
        0.0,
        True,
        False,
        False,
    )
    assert stepped.part.first_watched is None, "a part with a job is not searched for"
    stepped = dataclasses.replace(stepped, part=dataclasses.replace(stepped.part, first_watched=searched))
    assert stepped.first_intent(0.0) == stepped.first_intent(None) == pytest.approx(claim.now, abs=1)
    back = dataclasses.replace(stepped, now=stepped.now - 60 * 86_400)
    assert back.first_intent(None) == pytest.approx(claim.now, abs=1)
    assert back.first_intent(0.0) == pytest.approx(back.now, abs=20)
