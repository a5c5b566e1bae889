"""Test which writes a step may make, how parts and runs end, and how long they are kept."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery.errors import JobLostError
from scrape_do_celery.store import CANCEL, DEADLINE, PartId, PartState, RunState
from scrape_do_celery.store.commands.contents import HoldContent, ReadContents, ReadStoredPositions, StoreContent
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN
from scrape_do_celery.store.commands.parts import FinishPart, ReadJob, ReadPartSpec, UpdatePart
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import (
    CountDecisionAttempt,
    ReadOutcome,
    ReadRun,
    ReadRunWait,
    ReadSpec,
    RecordOutcome,
    RequestStop,
)


@pytest.fixture
def stale(store):
    """Return a claim whose part another step has claimed since."""
    store.create_run()
    claim = store.claim_part(seconds=30)
    store.clock.forward(31)
    store.claim_part(seconds=300)
    return claim


def test_update_without_after_keeps_the_lease(store):
    store.create_run()
    claim = store.claim_part()
    before = store.part_fields()
    assert store.update_part(claim, polls=3) == "ok"
    assert store.part_fields() == before | {"polls": "3"}


def test_update_with_after_releases_the_part(store):
    store.create_run()
    assert store.update_part(store.claim_part(), after=7, polls=3) == "ok"
    assert not {"lease", "token", "attempts", "dispatches"} & store.part_fields().keys()
    assert 5 < store.due_parts()["r:0"] <= 7
    assert store.part().polls == 3


def test_at_once_means_that_the_caller_publishes(store):
    store.create_run()
    store.update_part(store.claim_part(), after=0)
    assert 0 < store.due_parts()["r:0"] <= REDISPATCH_MIN
    assert store.try_claim_part() is not None


def test_a_change_under_an_old_fence_is_refused(store, stale):
    before = store.dump_keys()
    assert store.update_part(stale, after=0, to="done") == "stale"
    assert store.run(UpdatePart(stale, {}, owner="j")) == "stale"
    assert store.dump_keys() == before


def test_a_change_of_what_is_gone_is_refused(store):
    store.create_run()
    claim = store.claim_part()
    store.redis.flushall()
    assert store.update_part(claim, after=0) == "stale"
    assert store.redis.keys() == []


def test_the_job_is_kept_beside_the_record(store, make):
    store.create_run()
    job = make.job("pending", tasks=["success", "pending"])
    assert store.run(ReadJob(PartId("r", 0))) is None
    store.run(UpdatePart(store.claim_part(), {}, job=job))
    assert store.run(ReadJob(PartId("r", 0))) == job


def test_a_job_has_one_owner(store):
    store.create_run("a")
    store.create_run("b")
    first, second = store.claim_part("a"), store.claim_part("b")
    assert store.run(UpdatePart(first, {"job": "j"}, owner="j")) == "ok"
    assert store.run(UpdatePart(first, {"job": "j"}, owner="j")) == "ok"
    before = store.dump_keys()
    assert store.run(UpdatePart(second, {"job": "j"}, owner="j", after=0.0)) == "owned"
    assert store.dump_keys() == before


@pytest.mark.parametrize(
    ("state", "now"), [("running", True), ("queued", True), ("submitting", False), ("fetching", True)]
)
def test_stop_request_meanwhile_makes_a_part_due(store, state, now):
    store.create_run()
    claim = store.claim_part()
    store.run(RequestStop("r", CANCEL))
    store.force_state(state=state)
    store.update_part(claim, after=50)
    assert (store.due_parts()["r:0"] <= 0) is now


def test_a_job_that_was_told_to_stop_keeps_its_interval(store):
    store.create_run()
    claim = store.claim_part()
    store.run(RequestStop("r", CANCEL))
    store.force_state()
    store.update_part(claim, after=50, cancel_sent_at=1.5)
    assert store.due_parts()["r:0"] > 40


@pytest.fixture
def collecting(store):
    store.create_run()
    store.make_running(state=PartState.FETCHING)
    return lambda position, task: store.run(StoreContent(PartId("r", 0), position, task)).result


def test_the_first_to_store_a_task_wins(store, collecting, make):
    assert collecting(0, make.task(0, content="first")) == "stored"
    assert collecting(0, make.task(0, content="second", status="error")) == "known"
    (kept,) = store.run(ReadContents(PartId("r", 0), [0]))
    assert kept.content == "first"
    assert (store.part().stored_ok, store.part().stored_failed) == (1, 0)


def test_tasks_are_counted_by_how_they_ended(store, collecting, make):
    cost = {"scrape_do_metadata": {"Request-Cost": "2.5"}}
    collecting(0, make.task(0, **cost))
    collecting(1, make.task(1, status="error", **cost))
    collecting(2, make.task(2, status="canceled"))
    collecting(3, make.task(3, status="error", gone=True))
    part = store.part()
    assert (part.stored_ok, part.stored_failed, part.gone, part.credits) == (1, 3, 1, 5.0)
    assert store.run(ReadStoredPositions(PartId("r", 0))) == {0, 1, 2, 3}


@pytest.fixture
def held(store, collecting, make):
    """Return a held page of task 0, which cost two credits."""
    page = make.task(0, status="error", given_up=True, scrape_do_metadata={"Request-Cost": "2"})
    assert store.run(HoldContent(PartId("r", 0), 0, page))
    return page


@pytest.mark.parametrize(
    "less",
    [
        {"status": "error"},
        {"status": "error", "gone": True},
        {"status": "success"},
        {"status": "error", "unreadable": True, "content": '{"Content": null}'},
    ],
)
def test_held_page_replaces_a_task_without_a_page(store, collecting, make, held, less):
    bare = make.task(0, **{"content": None, "scrape_do_metadata": {"Request-Cost": "7"}, **less})
    assert [collecting(0, bare) for _ in range(2)] == ["stored", "known"]
    part = store.part()
    assert (part.stored_ok, part.stored_failed, part.gone, part.credits) == (0, 1, 0, 2.0)
    assert store.run(ReadContents(PartId("r", 0), [0])) == [held]


@pytest.mark.parametrize(
    "more",
    [
        {"status": "success", "content": "the page"},
        {"status": "error", "unreadable": True, "content": '{"Content": "the page"}'},
        {"status": "error", "too_large": True, "content": None},
    ],
)
def test_task_with_a_page_replaces_the_held_one(store, collecting, make, held, more):
    task = make.task(0, **more)
    assert collecting(0, task) == "stored"
    store.finish_part()
    part = store.part()
    assert part.stored_ok + part.stored_failed == 1
    assert store.run(ReadContents(PartId("r", 0), [0])) == [task]


def test_held_page_is_stored_at_the_end(store, collecting, make, held):
    collecting(1, make.task(1))
    store.finish_part(outcome="canceled")
    part = store.part()
    assert (part.stored_ok, part.stored_failed, part.credits) == (1, 1, 2.0)
    assert store.run(ReadContents(PartId("r", 0), [0])) == [held]
    assert not store.redis.exists(store.keys.provisional(PartId("r", 0)))


def test_nothing_is_stored_for_a_run_that_is_gone(store, collecting, make):
    store.redis.flushall()
    assert collecting(0, make.task(0)) == "gone"
    assert store.redis.keys() == []


def test_contents_are_read_by_position(store, collecting, make):
    collecting(2, make.task(2))
    first, none, third = store.run(ReadContents(PartId("r", 0), [2, 0, 2]))
    assert (first, none) == (third, None)
    assert store.run(ReadStoredPositions(PartId("other", 0))) == set()


def test_a_part_ends_with_its_outcome_and_its_error(store):
    store.create_multi_part_run(2)
    claim = store.claim_part(part=1)
    assert store.run(FinishPart(claim, "lost", error=JobLostError("gone", "r"))) == 1
    part = store.part(part=1)
    assert (part.state, part.outcome, str(part.error)) == (PartState.DONE, "lost", "gone")
    assert "r:1" not in store.due_parts()
    assert "r:run" not in store.due_parts()
    assert store.read_run().state is RunState.QUEUED


def test_the_last_part_makes_its_run_due(store):
    store.create_multi_part_run(2)
    assert store.finish_part(part=0) == 1
    assert store.finish_part(part=1) == 0
    assert store.due_parts().keys() == {"r:run"}
    assert 0 < store.due_parts()["r:run"] <= REDISPATCH_MIN
    assert store.read_run().state is RunState.FETCHING


def test_a_part_that_is_ended_twice_counts_once(store):
    store.create_multi_part_run(2)
    claim = store.claim_part()
    assert store.run(FinishPart(claim, "failed")) == 1
    assert store.run(FinishPart(claim, "succeeded")) == 1
    assert store.part().outcome == "failed"


def test_a_part_is_not_ended_under_an_old_fence(store, stale):
    before = store.dump_keys()
    assert store.run(FinishPart(stale, "failed", skip_unsent=True)) is None
    assert store.dump_keys() == before


def test_a_part_that_ends_does_not_stop_the_others(store):
    store.create_multi_part_run(2)
    store.finish_part(outcome="failed")
    assert not store.claim_part(part=1).skip_unsent


def test_part_that_stops_others_wakes_unsent_parts(store):
    store.create_multi_part_run(4)
    held = store.claim_part(part=1, seconds=300)
    store.make_running(part=2)
    waits = store.due_parts()
    store.finish_part(part=0, outcome="failed", skip_unsent=True)
    due = store.due_parts()
    assert due["r:3"] <= 0
    assert due["r:2"] == pytest.approx(waits["r:2"], abs=1)
    assert due["r:1"] > 200
    assert store.run(WriteIntent(held, "n", 60)) == ("skip_unsent", "")
    assert store.claim_part(part=3).skip_unsent


def test_a_stop_request_for_nothing(store):
    assert store.run(RequestStop("r", CANCEL)) is None
    assert store.redis.keys() == []


def test_a_stop_request_ends_what_was_not_sent(store):
    store.create_multi_part_run(2)
    old = store.claim_part(part=1, seconds=1)
    store.clock.forward(2)
    assert store.run(RequestStop("r", DEADLINE)) == []
    record = store.read_run()
    assert {(part.state, part.outcome) for part in record.parts} == {(PartState.DONE, "timed_out")}
    assert record.stop_reason == DEADLINE
    assert store.due_parts().keys() == {"r:run"}
    assert store.due_parts()["r:run"] <= 0
    assert store.run(WriteIntent(old, "n", 60)) == ("stale", "")


def test_only_the_first_stop_request_counts(store):
    store.create_run()
    store.claim_part()
    store.run(RequestStop("r", CANCEL))
    stopped = store.run_fields()["stop_requested_at"]
    store.clock.forward(5)
    store.run(RequestStop("r", DEADLINE))
    assert store.read_run().stop_reason == CANCEL
    assert store.run_fields()["stop_requested_at"] == stopped


def test_stop_request_returns_the_running_parts(store):
    store.create_multi_part_run(6)
    store.make_running(part=0)
    store.make_running(part=1)
    store.update_part(store.claim_part(part=1), after=500)
    store.make_running(part=2)
    store.claim_part(part=2, seconds=300)
    store.make_running(part=3)
    store.set_fields(part=3, cancel_sent_at=1.5)
    store.make_running(part=4, state=PartState.FETCHING)
    store.finish_part(part=5)
    states = [part.state for part in store.read_run().parts]
    assert store.run(RequestStop("r", CANCEL)) == [PartId("r", 0), PartId("r", 1)]
    assert [part.state for part in store.read_run().parts] == states
    due = store.due_parts()
    assert due["r:0"] <= 0
    assert due["r:1"] <= 0
    assert due["r:2"] > 200
    assert store.run_fields()["left"] == "5"


def test_part_in_submit_is_not_returned_by_a_stop_request(store):
    store.create_run()
    claim = store.claim_part()
    assert store.run(RequestStop("r", CANCEL)) == []
    assert store.part().state is PartState.QUEUED
    assert store.run(WriteIntent(claim, "n", 60)) == ("stop_reason", CANCEL)


def test_a_stop_request_comes_too_late(store):
    store.create_run()
    store.finish_part()
    store.run(RecordOutcome("r", "succeeded", {}))
    before = store.dump_keys()
    assert store.run(RequestStop("r", CANCEL)) is None
    assert store.dump_keys() == before


def test_the_first_outcome_stands(store):
    store.create_run()
    store.finish_part()
    assert store.run(RecordOutcome("r", "succeeded", {"decided_by": 0})) == "succeeded"
    before = store.dump_keys()
    assert store.run(RecordOutcome("r", "failed", {"decided_by": 7})) == "succeeded"
    assert store.dump_keys() == before
    record = store.read_run()
    assert (record.state, record.decided_by) == (RunState.SUCCEEDED, 0)
    assert record.ended is not None
    assert 0 < store.due_parts()["r:run"] <= REDISPATCH_MIN


def test_nothing_is_decided_for_a_run_that_is_gone(store):
    assert store.run(RecordOutcome("r", "succeeded", {})) == ""
    assert store.redis.keys() == []


def test_the_outcome_alone(store):
    assert store.run(ReadOutcome("r")) == (False, None)
    store.create_run()
    assert store.run(ReadOutcome("r")) == (True, None)
    store.finish_part()
    store.run(RecordOutcome("r", "failed", {}))
    assert store.run(ReadOutcome("r")) == (True, "failed")


def test_a_view_has_no_targets(store):
    store.create_run()
    encoded = ReadRunWait("r", "account").encode(store.keys)
    reply = store.sync_store._scripts["read_run"](keys=encoded.keys, args=encoded.args)
    assert not [field for field in reply[0][::2] if field.startswith(b"targets:")]
    assert store.run(ReadRun("other")) is None


def test_requests_that_are_not_there(store):
    assert store.run(ReadSpec("r", 1)) is None
    assert store.run(ReadPartSpec(PartId("r", 0))) is None
    store.create_run()
    assert store.run(ReadPartSpec(PartId("r", 1))) is None


def test_attempts_to_decide_are_counted(store):
    store.create_run()
    assert [store.run(CountDecisionAttempt("r")) for _ in range(3)] == [1, 2, 3]


def test_a_page_is_progress(store, collecting, make):
    claim = store.claim_part()
    assert store.part().attempts == 1
    collecting(0, make.task(0))
    assert store.part().attempts == 0
    store.run(FinishPart(claim, "succeeded"))
    assert collecting(1, make.task(1)) == "gone"


def test_errors_are_kept_as_json(store):
    store.create_run()
    store.finish_part(outcome="lost", error=JobLostError("gone", "r"))
    assert json.loads(store.part_fields()["error"]) == {"type": "JobLostError", "args": ["gone", "r"]}
