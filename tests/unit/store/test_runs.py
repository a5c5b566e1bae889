"""Test how runs are created, and how drafts are accepted."""

from __future__ import annotations

import pytest

from scrape_do_celery.models.urls import strict_digest
from scrape_do_celery.store import PartId, PartState, Retention, RunState
from scrape_do_celery.store.commands.creation import AcceptResult, AcceptRun, Created
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN
from scrape_do_celery.store.commands.parts import ReadPartSpec
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ReadSpec, RecordOutcome, RequestStop


def test_a_run_is_written_whole(store, make):
    made = store.create_run("r:1", 2, raise_on_task_failure=True, request={"super": True})
    assert (made.run_id, made.new, len(made.digest)) == ("r:1", True, 32)
    record = store.read_run("r:1")
    assert record.state is RunState.QUEUED
    assert record.accepted == record.created == pytest.approx(store.clock.time(), abs=5)
    assert record.waiters == {"r:1": ""}
    assert (record.max_wait, record.outcome, record.stop_reason) == (None, None, None)
    (part,) = record.parts
    assert (part.state, part.total, part.fence, part.attempts) == (PartState.QUEUED, 2, 0, 0)
    assert part.fingerprint == strict_digest(make.urls(2))
    spec = store.run(ReadSpec("r:1", 1))
    assert spec.request.targets == make.urls(2)
    assert (spec.request.super, spec.raise_on_task_failure, spec.max_wait) == (True, True, None)


def test_the_caller_has_time_to_publish_before_the_dispatcher_does(store):
    store.create_run()
    assert 0 < store.due_parts()["r:0"] <= REDISPATCH_MIN
    assert store.claim_due().parts == ()
    store.clock.forward(REDISPATCH_MIN)
    assert [due.part_id for due in store.claim_due().parts] == [PartId("r", 0)]


def test_nothing_of_a_live_run_has_a_life(store):
    store.create_run(key="k", max_wait=60)
    assert set(store.ttls().values()) == {None}


def test_a_run_of_many_parts(store, make):
    store.create_multi_part_run(3)
    record = store.read_run()
    assert [part.total for part in record.parts] == [1000, 1000, 1]
    assert store.run_fields()["left"] == "3"
    assert set(store.due_parts()) == {"r:0", "r:1", "r:2"}
    assert [len(f) for f in {part.fingerprint for part in record.parts}] == [32, 32, 32]
    last = store.run(ReadPartSpec(PartId("r", 2)))
    assert last.request.targets == make.urls(1, 2000)


def test_the_same_id_again_writes_nothing(store):
    first = store.create_run()
    before = store.dump_keys()
    again = store.create_run(targets=5)
    assert (again.run_id, again.new, again.digest) == ("r", False, first.digest)
    assert store.dump_keys() == before


def test_the_same_key_again_gives_the_run_that_has_it(store):
    first = store.create_run("a:b", key="prices")
    before = store.dump_keys()
    same, other = store.create_run("second", key="prices"), store.create_run("third", 7, key="prices")
    assert same == other == Created("a:b", first.digest, "exists")
    assert store.dump_keys() == before
    assert store.create_run("fourth", key="other").new


def test_a_key_outlives_the_record_that_it_led_to(store):
    first = store.create_run(key="prices")
    store.redis.delete(store.keys.run("r"))
    assert store.create_run("second", key="prices") == Created("r", first.digest, "exists")


def test_max_wait_counts_from_now(store):
    store.create_run(max_wait=60)
    assert 50 < store.due_parts()["r:run"] <= 60
    assert store.claim_due().runs == ()
    store.clock.forward(61)
    (run,) = store.claim_due().runs
    assert (run.run_id, run.outcome, run.left, run.accepted, run.dispatches) == ("r", None, 1, True, 1)
    assert store.read_run().max_wait == 60


def test_a_draft_is_not_due_until_its_time_is_up(store):
    store.create_run(start_delay=100, waiter="celery-id", signature='{"task": "x"}', max_wait=60, key="k")
    record = store.read_run()
    assert record.accepted is None
    assert record.waiters == {"celery-id": '{"task": "x"}'}
    assert list(store.due_parts()) == ["r:run"]
    assert store.claim_due().runs == ()
    store.clock.forward(100 + REDISPATCH_MIN)
    (run,) = store.claim_due().runs
    assert (run.run_id, run.accepted, run.left, run.outcome) == ("r", False, 1, None)
    assert store.due_parts()["r:run"] > 0
    assert set(store.ttls().values()) == {None}


def test_accepting_a_draft_makes_it_live(store):
    store.create_run(start_delay=1000, max_wait=60)
    assert store.run(AcceptRun("r")).parts == 1
    record = store.read_run()
    assert record.accepted is not None
    assert store.due_parts().keys() == {"r:0", "r:run"}
    assert 0 < store.due_parts()["r:0"] <= REDISPATCH_MIN
    assert 50 < store.due_parts()["r:run"] <= 60


def test_accepted_draft_without_deadline_has_only_due_parts(store):
    store.create_run(start_delay=1000)
    store.run(AcceptRun("r"))
    assert store.due_parts().keys() == {"r:0"}


def test_accepting_twice_changes_nothing(store):
    store.create_run(start_delay=1000, waiter="w", signature="s", max_wait=60)
    store.run(AcceptRun("r", "w", "s"))
    before = store.dump_keys()
    store.clock.forward(10)
    assert store.run(AcceptRun("r", "w", "another")).parts == 1
    assert store.dump_keys() == before
    assert store.read_run().waiters == {"w": "s"}


def test_accepting_nothing(store):
    assert store.run(AcceptRun("r", "w", "s")).result is AcceptResult.GONE
    assert store.redis.keys() == []


def test_waiters_are_added_once_each(store):
    store.create_run(waiter="a", signature="1")
    for waiter in ("b", "b", "a"):
        store.run(AcceptRun("r", waiter, "2"))
    assert store.read_run().waiters == {"a": "1", "b": "2"}
    assert store.run_fields()["waiting"] == "2"


def test_accepting_a_draft_that_was_canceled_leads_to_its_end(store):
    store.create_run(start_delay=1000)
    assert store.run(RequestStop("r", "cancel")) == []
    assert store.part().state is PartState.DONE
    assert store.run(AcceptRun("r")).parts == 1
    assert store.due_parts().keys() == {"r:run"}
    (run,) = store.claim_due().runs
    assert (run.left, run.accepted, run.outcome) == (0, True, None)


RETENTION = Retention(100, 200, 300)


def test_waiter_after_the_outcome_is_served_at_once(store):
    store.create_run()
    store.finish_part()
    store.run(RecordOutcome("r", "succeeded", {}))
    assert store.claim_due().runs == ()
    store.run(AcceptRun("r", "late", "s"))
    (run,) = store.claim_due().runs
    assert (run.outcome, run.dispatches) == ("succeeded", 1)
    assert store.read_run().waiters == {"r": "", "late": "s"}


def test_a_waiter_that_was_told_is_not_added_again(store):
    store.create_run(waiter="w")
    store.finish_part()
    store.run(RecordOutcome("r", "succeeded", {}))
    assert store.run(AcknowledgeDelivery("r", "w", RETENTION)) == 0
    store.run(AcceptRun("r", "w", "s"))
    assert store.read_run().waiters == {}
    assert store.due_parts() == {}
