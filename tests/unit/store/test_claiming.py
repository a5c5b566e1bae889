"""Who may work on a part, for how long, and who is to be woken."""

from __future__ import annotations

import time

import pytest

from scrape_do_celery.store import PartId, PartState, ops
from scrape_do_celery.store.ops import PARTS_PER_MESSAGE, REDISPATCH_MAX, REDISPATCH_MIN

STATES = {PartState.QUEUED}


def test_a_claim_gives_lease_fence_and_attempt(shelf, make):
    shelf.begin(raise_on_task_failure=True, max_wait=60)
    claim = shelf.take(seconds=30)
    assert (claim.part.attempts, claim.part.state) == (1, PartState.QUEUED)
    assert claim.part.fence > 0
    assert (claim.part_id, claim.stop_reason, claim.skip_unsent, claim.max_wait) == (PartId("r", 0), None, False, 60.0)
    spec = claim.spec()
    assert (spec.request.targets, spec.raise_on_task_failure, spec.max_wait) == (make.urls(2), True, 60)
    assert 25 < shelf.due()["r:0"] <= 30
    assert 25 < float(shelf.part_fields()["lease"]) - shelf.clock.time() <= 30


def test_a_claim_of_a_part_sees_its_own_targets_only(shelf, make):
    shelf.part_by_part(2)
    assert shelf.take(part=1).spec().request.targets == make.urls(1, 1000)


def test_stop_request_and_skip_unsent_are_seen(shelf):
    shelf.begin()
    shelf.redis.hset(shelf.keys.run("r"), mapping={"stop_reason": "cancel", "skip_unsent": 1})
    claim = shelf.take()
    assert (claim.stop_reason, claim.skip_unsent) == ("cancel", True)


def test_the_same_token_again_gives_the_same_claim(shelf):
    shelf.begin()
    first, again = shelf.take(token="t"), shelf.take(token="t")
    assert first.part == again.part
    assert shelf.part().attempts == 1


def test_a_part_that_is_gone(shelf):
    assert shelf.claim() is None


def test_a_part_that_another_step_serves(shelf):
    shelf.begin()
    assert shelf.claim(states={PartState.RUNNING, PartState.RECONCILING}) is None
    assert shelf.part().attempts == 0


def test_the_names_of_states_are_not_taken_for_each_other(shelf):
    shelf.begin()
    shelf.force(state="queue")
    assert shelf.claim(states={PartState.QUEUED}) is None


def test_a_part_that_is_held(shelf):
    shelf.begin()
    claim = shelf.take(seconds=30)
    assert shelf.claim() is None
    assert shelf.part().fence == claim.part.fence


def test_a_dead_lease_is_taken_over_under_a_new_fence(shelf):
    shelf.begin()
    dead = shelf.take(seconds=30)
    shelf.clock.forward(31)
    claim = shelf.take()
    assert claim.part.fence > dead.part.fence
    assert claim.part.attempts == 2


def test_a_part_whose_claim_died_is_claimed_in_isolation_only(shelf):
    shelf.begin()
    shelf.take(seconds=30, isolated=False)
    shelf.clock.forward(31)
    before = shelf.part_fields()
    assert shelf.claim(token="t", isolated=False) == ops.Suspect()
    assert shelf.part_fields() == before
    claim = shelf.take(token="t", isolated=True)
    assert claim.part.attempts == 2
    assert shelf.take(token="t", isolated=False).part == claim.part


def test_a_death_after_progress_makes_a_suspect_too(shelf, make):
    shelf.begin()
    shelf.buy(state=PartState.FETCHING)
    shelf.take(seconds=30)
    shelf.run(ops.store_content(shelf.keys, PartId("r", 0), 0, make.task()))
    assert shelf.part().attempts == 0
    shelf.clock.forward(31)
    assert shelf.claim(isolated=False) == ops.Suspect()


def test_a_part_that_was_let_go_is_no_suspect(shelf):
    shelf.begin()
    shelf.update(shelf.take(seconds=30), after=1)
    shelf.clock.forward(31)
    assert shelf.take(isolated=False).part.attempts == 1


def test_a_part_whose_last_step_failed_in_this_process_is_no_suspect_here(shelf):
    shelf.begin()
    shelf.take(token="failed", seconds=30)
    shelf.clock.forward(31)
    assert shelf.claim(isolated=False, outlived="another") == ops.Suspect()
    assert shelf.take(isolated=False, outlived="failed").part.attempts == 2


def test_a_suspect_without_attempts_left_is_ended_at_once(shelf):
    shelf.begin()
    poison = ops.PoisonPolicy(2, skip_unsent=False)
    for _ in range(2):
        shelf.take(seconds=30, poison=poison)
        shelf.clock.forward(31)
    assert shelf.claim(isolated=False, poison=poison) == ops.PoisonedPart(0)


def test_a_suspect_probes_no_account(shelf):
    """A probe that nobody makes would hold all runs back for its time."""
    shelf.begin()
    shelf.take(seconds=30)
    shelf.run(ops.open_breaker(shelf.keys, ""))
    shelf.clock.forward(31)
    assert shelf.claim(isolated=False) == ops.Suspect()
    assert shelf.take().breaker == "probe"


def test_a_store_that_lost_a_claim_gives_no_fence_out_twice(shelf):
    """A power cut takes the last writes back; the step that made them is still at work."""
    shelf.begin()
    before = shelf.part_fields()
    lost = shelf.take()
    shelf.redis.delete(shelf.keys.part("r", 0))
    shelf.force(**before)
    time.sleep(0.002)
    assert shelf.take().part.fence > lost.part.fence
    assert shelf.run(ops.renew_lease(shelf.keys, lost, 30.0)) is False


def test_a_part_that_is_not_yet_due(shelf):
    shelf.begin()
    shelf.update(shelf.take(), after=20)
    assert shelf.claim() is None
    shelf.clock.forward(20)
    assert shelf.claim() is not None


def test_while_the_api_is_left_alone_nothing_is_claimed(shelf):
    shelf.begin()
    shelf.run(ops.pause_api(shelf.keys, 40))
    assert shelf.claim() is None
    assert 35 < shelf.due()["r:0"] <= 40
    assert shelf.part().attempts == 0
    shelf.clock.forward(41)
    assert shelf.claim() is not None


def test_a_pause_ends_by_itself(shelf):
    shelf.run(ops.pause_api(shelf.keys, 0.0001))
    shelf.run(ops.pause_api(shelf.keys, 7))
    assert 0 < shelf.redis.ttl(shelf.keys.pause) <= 7
    shelf.clock.forward(8)
    assert shelf.redis.keys() == []


def test_a_longer_pause_stands(shelf):
    shelf.begin()
    shelf.run(ops.pause_api(shelf.keys, 60))
    shelf.run(ops.pause_api(shelf.keys, 5))
    shelf.clock.forward(30)
    assert shelf.claim() is None
    shelf.run(ops.pause_api(shelf.keys, 60))
    shelf.clock.forward(50)
    assert shelf.claim() is None


def test_a_run_that_is_to_end_is_let_through(shelf):
    shelf.begin()
    shelf.buy()
    shelf.run(ops.pause_api(shelf.keys, 60))
    shelf.run(ops.request_stop(shelf.keys, "r", "cancel"))
    claim = shelf.take()
    assert claim.stop_reason == "cancel"
    assert claim.part.stop_seen_at == pytest.approx(claim.now, abs=5)
    assert not claim.stop_grace_passed(60)


def test_a_message_that_was_heard_no_longer_counts(shelf):
    shelf.begin()
    shelf.clock.forward(REDISPATCH_MIN)
    shelf.look()
    assert shelf.dispatched() == {"r:0"}
    shelf.take()
    assert shelf.dispatched() == set()


def test_a_message_that_was_heard_in_vain_no_longer_counts_either(shelf):
    shelf.begin()
    shelf.clock.forward(REDISPATCH_MIN)
    shelf.look()
    shelf.claim(states={PartState.RUNNING})
    assert shelf.dispatched() == set()


def test_a_lease_is_renewed_by_its_holder_only(shelf):
    shelf.begin()
    claim = shelf.take(seconds=30)
    shelf.clock.forward(20)
    assert shelf.run(ops.renew_lease(shelf.keys, claim, 30)) is True
    assert 25 < float(shelf.part_fields()["lease"]) - shelf.clock.time() <= 30
    shelf.clock.forward(31)
    shelf.take()
    before = shelf.part_fields()
    assert shelf.run(ops.renew_lease(shelf.keys, claim, 30)) is False
    assert shelf.part_fields() == before


def test_renewing_never_shortens_a_lease(shelf):
    shelf.begin()
    claim = shelf.take(seconds=300)
    lease = shelf.part_fields()["lease"]
    assert shelf.run(ops.renew_lease(shelf.keys, claim, 30)) is True
    assert shelf.part_fields()["lease"] == lease


def test_renewing_does_not_take_back_a_lease_that_was_given_up(shelf):
    shelf.begin()
    claim = shelf.take()
    shelf.update(claim, after=20)
    assert shelf.run(ops.renew_lease(shelf.keys, claim, 30)) is True
    shelf.clock.forward(21)
    assert shelf.claim() is not None


def test_renewing_what_is_gone(shelf):
    shelf.begin()
    claim = shelf.take()
    shelf.redis.flushall()
    assert shelf.run(ops.renew_lease(shelf.keys, claim, 30)) is False
    assert shelf.redis.keys() == []


def test_an_intent_is_written_before_the_post(shelf):
    shelf.begin()
    claim = shelf.take(seconds=30)
    assert shelf.run(ops.check_before_send(shelf.keys, claim)) < 0
    verdict, when = shelf.run(ops.write_intent(shelf.keys, claim, "n", 120))
    assert verdict == "ok"
    part = shelf.part()
    assert part.state is PartState.SUBMITTING
    assert part.intent == float(when)
    assert 115 < shelf.due()["r:0"] <= 120
    assert 115 < shelf.run(ops.check_before_send(shelf.keys, claim)) <= 120


def test_an_intent_that_is_sent_again_is_the_same(shelf):
    shelf.begin()
    claim = shelf.take()
    shelf.run(ops.write_intent(shelf.keys, claim, "n", 120))
    before = shelf.part_fields()
    assert shelf.run(ops.write_intent(shelf.keys, claim, "n", 120))[0] == "ok"
    assert shelf.part_fields() == before


def test_a_second_intent_is_refused(shelf):
    shelf.begin()
    claim = shelf.take()
    shelf.run(ops.write_intent(shelf.keys, claim, "n", 120))
    assert shelf.run(ops.write_intent(shelf.keys, claim, "other", 120)) == ("stale", "")


def test_an_intent_under_an_old_fence_is_refused(shelf):
    shelf.begin()
    claim = shelf.take(seconds=30)
    shelf.clock.forward(31)
    shelf.take()
    assert shelf.run(ops.write_intent(shelf.keys, claim, "n", 120)) == ("stale", "")
    assert shelf.part().state is PartState.QUEUED


def test_a_stop_request_or_skip_unsent_comes_before_an_intent(shelf):
    shelf.begin()
    claim = shelf.take()
    shelf.redis.hset(shelf.keys.run("r"), "skip_unsent", 1)
    assert shelf.run(ops.write_intent(shelf.keys, claim, "n", 120)) == ("skip_unsent", "")
    shelf.redis.hset(shelf.keys.run("r"), "stop_reason", "deadline")
    assert shelf.run(ops.write_intent(shelf.keys, claim, "n", 120)) == ("stop_reason", "deadline")
    assert shelf.part().state is PartState.QUEUED


def test_the_guard_sees_a_lease_that_runs_out_or_is_lost(shelf):
    shelf.begin()
    claim = shelf.take(seconds=30)
    shelf.run(ops.write_intent(shelf.keys, claim, "n", 60))
    shelf.clock.forward(50)
    assert 0 < shelf.run(ops.check_before_send(shelf.keys, claim)) <= 10
    shelf.clock.forward(20)
    assert shelf.run(ops.check_before_send(shelf.keys, claim)) < 0
    shelf.take()
    assert shelf.run(ops.check_before_send(shelf.keys, claim)) == -1


def test_what_is_due_is_handed_out_with_what_its_message_needs_to_know(shelf):
    shelf.part_by_part(2)
    shelf.buy(part=1)
    shelf.redis.hset(shelf.keys.run("r"), "stop_reason", "cancel")
    shelf.clock.forward(REDISPATCH_MIN)
    due = shelf.look()
    assert {
        (d.part_id.part, d.state, d.stop_requested, d.cancel_sent, d.attempts, d.dispatches) for d in due.parts
    } == {
        (0, "queued", True, False, 0, 1),
        (1, "running", True, False, 0, 1),
    }
    assert due.now == float(f"{due.now:.4f}")


def test_a_part_whose_step_died_is_handed_out_with_its_attempts(shelf):
    shelf.begin()
    shelf.take(seconds=30)
    shelf.clock.forward(31)
    (due,) = shelf.look().parts
    assert (due.attempts, due.cancel_sent) == (1, False)


def test_a_part_that_was_told_to_stop_says_so(shelf):
    shelf.begin()
    shelf.buy()
    shelf.force(cancel_sent_at=1.5)
    shelf.clock.forward(REDISPATCH_MIN)
    assert shelf.look().parts[0].cancel_sent


def test_a_held_part_is_moved_to_the_end_of_its_lease(shelf):
    shelf.begin()
    claim = shelf.take(seconds=30)
    shelf.clock.forward(25)
    shelf.run(ops.renew_lease(shelf.keys, claim, 30))
    shelf.clock.forward(10)
    due = shelf.look()
    assert (due.parts, due.dropped) == ((), 0)
    assert 0 < due.next_at - due.now <= 20
    assert shelf.dispatched() == set()


def test_what_is_done_or_has_no_record_is_dropped(shelf):
    shelf.begin()
    shelf.finish()
    shelf.redis.zadd(shelf.keys.due, {"r:0": 1, "ghost:0": 1, "ghost:run": 1})
    due = shelf.look()
    assert due.dropped == 2
    assert (due.parts, due.runs) == ((), ())
    assert shelf.due().keys() == {"r:run"}


def test_a_message_that_nobody_hears_is_published_less_and_less_often(shelf):
    shelf.begin()
    shelf.clock.forward(REDISPATCH_MIN)
    waits = []
    for dispatches in range(1, 13):
        (due,) = shelf.look().parts
        assert due.dispatches == dispatches
        waits.append(round(shelf.due()["r:0"]))
        shelf.clock.forward(waits[-1] + 1)
    # The store's clock runs on between the two looks.
    wanted = [5, 10, 20, 40, 80, 160, *[REDISPATCH_MAX] * 6]
    assert waits == [pytest.approx(wait, abs=2) for wait in wanted]


def test_a_message_that_is_heard_starts_the_publish_interval_anew(shelf):
    shelf.begin()
    for _ in range(4):
        shelf.clock.forward(100)
        shelf.look()
    shelf.take(seconds=1)
    shelf.clock.forward(100)
    assert shelf.look().parts[0].dispatches == 1


def test_a_run_is_published_less_and_less_often_too(shelf):
    shelf.begin()
    shelf.finish()
    waits = []
    for _ in range(9):
        shelf.clock.forward(REDISPATCH_MAX + 1)
        assert shelf.look().runs[0].dispatches == len(waits) + 1
        waits.append(round(shelf.due()["r:run"]))
    assert waits == [5, 10, 20, 40, 80, 160, 300, 300, 300]


MANY = PARTS_PER_MESSAGE + 10


def crowded(shelf):
    """Many step messages of the dispatcher that no step took in time; what was published before is long due again."""
    for n in range(MANY):
        shelf.begin(f"crowd{n}")
    shelf.clock.forward(REDISPATCH_MIN)
    assert len(shelf.look(limit=1000).parts) == MANY
    shelf.clock.forward(REDISPATCH_MIN + 0.1)
    shelf.look(limit=1000)


def test_messages_that_lie_in_the_queue_for_long_are_published_less_often(shelf):
    crowded(shelf)
    assert min(shelf.due()[f"crowd{n}:0"] for n in range(MANY)) == pytest.approx(4 * REDISPATCH_MIN, abs=1)
    shelf.clock.forward(4 * REDISPATCH_MIN)
    assert len(shelf.look(limit=1000).parts) == MANY
    assert min(shelf.due()[f"crowd{n}:0"] for n in range(MANY)) == pytest.approx(4 * 4 * REDISPATCH_MIN, abs=1)


def test_in_a_backlog_what_a_step_rang_for_is_left_to_that_message(shelf):
    crowded(shelf)
    shelf.begin("fresh")
    shelf.begin("ended")
    shelf.finish("ended")
    shelf.clock.forward(REDISPATCH_MIN)
    due = shelf.look(limit=1000)
    assert (due.parts, due.runs) == ((), ())
    shelf.clock.forward(REDISPATCH_MIN)
    due = shelf.look(limit=1000)
    assert {part.part_id.run_id for part in due.parts} == {"fresh"}
    assert {run.run_id for run in due.runs} == {"ended"}


def test_in_a_backlog_what_nobody_rang_for_is_published_at_once(shelf):
    crowded(shelf)
    shelf.begin("dead")
    shelf.begin("later")
    shelf.begin("over", max_wait=8.0)
    shelf.take("dead", seconds=1)
    shelf.update(shelf.take("later"), after=1.0, state="running")
    shelf.take("over", seconds=100)
    shelf.clock.forward(2)
    due = shelf.look(limit=1000)
    assert {part.part_id.run_id for part in due.parts} == {"dead", "later"}
    shelf.clock.forward(7)
    assert {run.run_id for run in shelf.look(limit=1000).runs} == {"over"}


def test_when_a_backlog_is_over_messages_are_published_as_before(shelf):
    crowded(shelf)
    shelf.redis.delete(shelf.keys.due, shelf.keys.dispatched)
    shelf.clock.forward(8 * REDISPATCH_MIN)
    shelf.look()
    shelf.begin("fresh")
    shelf.clock.forward(REDISPATCH_MIN)
    assert [part.part_id.run_id for part in shelf.look().parts] == ["fresh"]


def test_a_message_that_is_lost_is_no_backlog(shelf):
    for n in range(PARTS_PER_MESSAGE):
        shelf.begin(f"r{n}")
    shelf.clock.forward(REDISPATCH_MIN)
    shelf.look(limit=1000)
    shelf.clock.forward(REDISPATCH_MIN + 0.1)
    assert len(shelf.look(limit=1000).parts) == PARTS_PER_MESSAGE
    assert min(shelf.due()[f"r{n}:0"] for n in range(PARTS_PER_MESSAGE)) == pytest.approx(2 * REDISPATCH_MIN, abs=1)
    assert not shelf.redis.exists(shelf.keys.queue_delay)


def test_no_more_is_handed_out_than_asked_for(shelf):
    for n in range(5):
        shelf.begin(f"r{n}")
    shelf.clock.forward(REDISPATCH_MIN)
    first, second = shelf.look(limit=3), shelf.look(limit=3)
    assert (len(first.parts), len(second.parts)) == (3, 2)
    assert not {d.part_id for d in first.parts} & {d.part_id for d in second.parts}


def test_messages_under_way_are_capped(shelf):
    for n in range(5):
        shelf.begin(f"r{n}")
    shelf.clock.forward(REDISPATCH_MIN)
    assert len(shelf.look(cap=3).parts) == 3
    waiting = shelf.look(cap=3)
    assert waiting.parts == ()
    assert waiting.next_at <= waiting.now
    heard = min(shelf.dispatched())
    shelf.take(heard.rpartition(":")[0])
    assert len(shelf.look(cap=3).parts) == 1


def test_messages_count_as_lost_after_a_while(shelf):
    for n in range(5):
        shelf.begin(f"r{n}")
    shelf.clock.forward(REDISPATCH_MIN)
    assert len(shelf.look(cap=3).parts) == 3
    shelf.clock.forward(REDISPATCH_MIN + 1)
    assert len(shelf.look(cap=3).parts) == 3


def test_nothing_is_due_in_an_empty_store(shelf):
    due = shelf.look()
    assert (due.next_at, due.parts, due.runs, due.dropped) == (None, (), (), 0)


def test_a_run_in_the_due_set_without_a_reason_is_taken_out(shelf):
    shelf.begin()
    shelf.redis.zadd(shelf.keys.due, {"r:run": 1})
    assert shelf.look().runs == ()
    assert "r:run" not in shelf.due()


def test_a_run_that_is_looked_at_before_its_deadline_waits_for_it(shelf):
    shelf.begin(max_wait=600)
    shelf.redis.zadd(shelf.keys.due, {"r:run": 1})
    assert shelf.look().runs == ()
    assert 590 < shelf.due()["r:run"] <= 600


def test_ids_with_colons_are_found(shelf):
    shelf.begin("a:b:c", max_wait=1)
    shelf.clock.forward(REDISPATCH_MIN)
    due = shelf.look()
    assert due.parts[0].part_id == PartId("a:b:c", 0)
    assert due.runs[0].run_id == "a:b:c"


def bought(shelf, run_id, age, expired_in):
    """A part with a job, whose pages the API forgets in so many seconds; it was due `age` seconds ago."""
    shelf.begin(run_id)
    shelf.buy(run_id)
    shelf.redis.zadd(shelf.keys.content_expiry, {f"{run_id}:0": shelf.clock.time() + expired_in})
    shelf.redis.zadd(shelf.keys.due, {f"{run_id}:0": shelf.clock.time() - age})


def test_work_that_is_backed_up_is_handed_out_in_the_order_of_its_remaining_life(shelf):
    bought(shelf, "long", 30, 9000)
    bought(shelf, "short", 10, 100)
    bought(shelf, "middle", 20, 5000)
    shelf.begin("unsent")
    shelf.redis.zadd(shelf.keys.due, {"unsent:0": shelf.clock.time() - 40})
    bought(shelf, "asleep", -50, 10)
    first = [part.part_id.run_id for part in shelf.look(limit=3).parts]
    assert first == ["short", "middle", "long"]
    assert [part.part_id.run_id for part in shelf.look(limit=3).parts] == ["unsent"]


def test_what_was_not_sent_has_its_share_of_what_is_handed_out(shelf):
    for n in range(8):
        bought(shelf, f"paid{n}", 10, 100 + n)
    shelf.begin("unsent")
    shelf.redis.zadd(shelf.keys.due, {"unsent:0": shelf.clock.time() - 40})
    assert "unsent" in [part.part_id.run_id for part in shelf.look(limit=4).parts]


def test_a_part_has_a_life_from_its_purchase_to_its_end(shelf):
    shelf.begin()
    shelf.buy()
    (life,) = shelf.redis.zrange(shelf.keys.content_expiry, 0, -1, withscores=True)
    assert life == (b"r:0", pytest.approx(shelf.clock.time() + 3 * 86_400, abs=5))
    shelf.run(ops.finish_part(shelf.keys, shelf.take(), "succeeded"))
    assert shelf.redis.zrange(shelf.keys.content_expiry, 0, -1) == []
