"""Writing runs down, and bringing drafts to life."""

from __future__ import annotations

import pytest

from scrape_do_celery.models.urls import strict_digest
from scrape_do_celery.store import PartId, PartState, RunState, ops
from scrape_do_celery.store.ops import REDISPATCH_MIN


def test_a_run_is_written_whole(shelf, make):
    made = shelf.begin("r:1", 2, raise_on_task_failure=True, request={"super": True})
    assert (made.run_id, made.new, len(made.digest)) == ("r:1", True, 32)
    record = shelf.view("r:1")
    assert record.state is RunState.QUEUED
    assert record.accepted == record.created == pytest.approx(shelf.clock.time(), abs=5)
    assert record.waiters == {"r:1": ""}
    assert (record.max_wait, record.outcome, record.stop_reason) == (None, None, None)
    (part,) = record.parts
    assert (part.state, part.total, part.fence, part.attempts) == (PartState.QUEUED, 2, 0, 0)
    assert part.fingerprint == strict_digest(make.urls(2))
    spec = shelf.run(ops.spec(shelf.keys, "r:1", 1))
    assert spec.request.targets == make.urls(2)
    assert (spec.request.super, spec.raise_on_task_failure, spec.max_wait) == (True, True, None)
    assert shelf.run_fields("r:1")["v"] == "1"


def test_the_caller_has_time_to_publish_before_the_dispatcher_does(shelf):
    shelf.begin()
    assert 0 < shelf.due()["r:0"] <= REDISPATCH_MIN
    assert shelf.look().parts == ()
    shelf.clock.forward(REDISPATCH_MIN)
    assert [due.part_id for due in shelf.look().parts] == [PartId("r", 0)]


def test_nothing_of_a_live_run_has_a_life(shelf):
    shelf.begin(key="k", max_wait=60)
    assert set(shelf.ttls().values()) == {None}


def test_a_run_of_many_parts(shelf, make):
    shelf.part_by_part(3)
    record = shelf.view()
    assert [part.total for part in record.parts] == [1000, 1000, 1]
    assert shelf.run_fields()["left"] == "3"
    assert set(shelf.due()) == {"r:0", "r:1", "r:2"}
    assert [len(f) for f in {part.fingerprint for part in record.parts}] == [32, 32, 32]
    last = shelf.run(ops.part_spec(shelf.keys, PartId("r", 2)))
    assert last.request.targets == make.urls(1, 2000)


def test_the_same_id_again_writes_nothing(shelf):
    first = shelf.begin()
    before = shelf.contents()
    again = shelf.begin(targets=5)
    assert (again.run_id, again.new, again.digest) == ("r", False, first.digest)
    assert shelf.contents() == before


def test_the_same_key_again_gives_the_run_that_has_it(shelf):
    first = shelf.begin("a:b", key="prices")
    before = shelf.contents()
    same, other = shelf.begin("second", key="prices"), shelf.begin("third", 7, key="prices")
    assert same == other == ops.Created("a:b", first.digest, "exists")
    assert shelf.contents() == before
    assert shelf.begin("fourth", key="other").new


def test_a_key_outlives_the_record_that_it_led_to(shelf):
    first = shelf.begin(key="prices")
    shelf.redis.delete(shelf.keys.run("r"))
    assert shelf.begin("second", key="prices") == ops.Created("r", first.digest, "exists")


def test_max_wait_counts_from_now(shelf):
    shelf.begin(max_wait=60)
    assert 50 < shelf.due()["r:run"] <= 60
    assert shelf.look().runs == ()
    shelf.clock.forward(61)
    (run,) = shelf.look().runs
    assert (run.run_id, run.outcome, run.left, run.accepted, run.dispatches) == ("r", None, 1, True, 1)
    assert shelf.view().max_wait == 60


def test_a_draft_is_not_due_until_its_time_is_up(shelf):
    shelf.begin(start_delay=100, waiter="celery-id", signature='{"task": "x"}', max_wait=60, key="k")
    record = shelf.view()
    assert record.accepted is None
    assert record.waiters == {"celery-id": '{"task": "x"}'}
    assert list(shelf.due()) == ["r:run"]
    assert shelf.look().runs == ()
    shelf.clock.forward(100 + REDISPATCH_MIN)
    (run,) = shelf.look().runs
    assert (run.run_id, run.accepted, run.left, run.outcome) == ("r", False, 1, None)
    assert shelf.due()["r:run"] > 0
    assert set(shelf.ttls().values()) == {None}


def test_accepting_a_draft_makes_it_live(shelf):
    shelf.begin(start_delay=1000, max_wait=60)
    assert shelf.run(ops.accept_run(shelf.keys, "r")) == 1
    record = shelf.view()
    assert record.accepted is not None
    assert shelf.due().keys() == {"r:0", "r:run"}
    assert 0 < shelf.due()["r:0"] <= REDISPATCH_MIN
    assert 50 < shelf.due()["r:run"] <= 60


def test_accepting_a_draft_without_a_deadline_leaves_only_its_parts_due(shelf):
    shelf.begin(start_delay=1000)
    shelf.run(ops.accept_run(shelf.keys, "r"))
    assert shelf.due().keys() == {"r:0"}


def test_accepting_twice_changes_nothing(shelf):
    shelf.begin(start_delay=1000, waiter="w", signature="s", max_wait=60)
    shelf.run(ops.accept_run(shelf.keys, "r", "w", "s"))
    before = shelf.contents()
    shelf.clock.forward(10)
    assert shelf.run(ops.accept_run(shelf.keys, "r", "w", "another")) == 1
    assert shelf.contents() == before
    assert shelf.view().waiters == {"w": "s"}


def test_accepting_nothing(shelf):
    assert shelf.run(ops.accept_run(shelf.keys, "r", "w", "s")) == 0
    assert shelf.redis.keys() == []


def test_waiters_are_added_once_each(shelf):
    shelf.begin(waiter="a", signature="1")
    for waiter in ("b", "b", "a"):
        shelf.run(ops.accept_run(shelf.keys, "r", waiter, "2"))
    assert shelf.view().waiters == {"a": "1", "b": "2"}
    assert shelf.run_fields()["waiting"] == "2"


def test_accepting_a_draft_that_was_canceled_leads_to_its_end(shelf):
    shelf.begin(start_delay=1000)
    assert shelf.run(ops.request_stop(shelf.keys, "r", "cancel")) == []
    assert shelf.part().state is PartState.DONE
    assert shelf.run(ops.accept_run(shelf.keys, "r")) == 1
    assert shelf.due().keys() == {"r:run"}
    (run,) = shelf.look().runs
    assert (run.left, run.accepted, run.outcome) == (0, True, None)


RETENTION = ops.Retention(100, 200, 300)


def test_a_waiter_that_comes_after_the_outcome_is_told_at_once(shelf):
    shelf.begin()
    shelf.finish()
    shelf.run(ops.record_outcome(shelf.keys, "r", "succeeded", {}))
    assert shelf.look().runs == ()
    shelf.run(ops.accept_run(shelf.keys, "r", "late", "s"))
    (run,) = shelf.look().runs
    assert (run.outcome, run.dispatches) == ("succeeded", 1)
    assert shelf.view().waiters == {"r": "", "late": "s"}


def test_a_waiter_that_was_told_is_not_added_again(shelf):
    shelf.begin(waiter="w")
    shelf.finish()
    shelf.run(ops.record_outcome(shelf.keys, "r", "succeeded", {}))
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "w", RETENTION)) == 0
    shelf.run(ops.accept_run(shelf.keys, "r", "w", "s"))
    assert shelf.view().waiters == {}
    assert shelf.due() == {}
