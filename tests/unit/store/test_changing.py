"""What a step may write, how parts and runs end, and how long they are kept."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery.errors import JobLostError
from scrape_do_celery.store import CANCEL, DEADLINE, PartId, PartState, RunState, ops
from scrape_do_celery.store.ops import REDISPATCH_MIN

RETENTION = ops.Retention(100, 200, 300)


@pytest.fixture
def stale(shelf):
    """A claim whose part another step has by now."""
    shelf.begin()
    claim = shelf.take(seconds=30)
    shelf.clock.forward(31)
    shelf.take(seconds=300)
    return claim


def test_a_change_keeps_the_lease_where_no_next_look_is_named(shelf):
    shelf.begin()
    claim = shelf.take()
    before = shelf.part_fields()
    assert shelf.update(claim, polls=3) == "ok"
    assert shelf.part_fields() == before | {"polls": "3"}


def test_a_change_with_a_next_look_lets_the_part_go(shelf):
    shelf.begin()
    assert shelf.update(shelf.take(), after=7, polls=3) == "ok"
    assert not {"lease", "token", "attempts", "dispatches"} & shelf.part_fields().keys()
    assert 5 < shelf.due()["r:0"] <= 7
    assert shelf.part().polls == 3


def test_at_once_means_that_the_caller_publishes(shelf):
    shelf.begin()
    shelf.update(shelf.take(), after=0)
    assert 0 < shelf.due()["r:0"] <= REDISPATCH_MIN
    assert shelf.claim() is not None


def test_a_change_under_an_old_fence_is_refused(shelf, stale):
    before = shelf.contents()
    assert shelf.update(stale, after=0, state="done") == "stale"
    assert shelf.run(ops.update_part(shelf.keys, stale, {}, owner="j")) == "stale"
    assert shelf.contents() == before


def test_a_change_of_what_is_gone_is_refused(shelf):
    shelf.begin()
    claim = shelf.take()
    shelf.redis.flushall()
    assert shelf.update(claim, after=0) == "stale"
    assert shelf.redis.keys() == []


def test_the_job_is_kept_beside_the_record(shelf, make):
    shelf.begin()
    job = make.job("pending", tasks=["success", "pending"])
    assert shelf.run(ops.job(shelf.keys, PartId("r", 0))) is None
    shelf.run(ops.update_part(shelf.keys, shelf.take(), {}, job=job))
    assert shelf.run(ops.job(shelf.keys, PartId("r", 0))) == job


def test_a_job_has_one_owner(shelf):
    shelf.begin("a")
    shelf.begin("b")
    first, second = shelf.take("a"), shelf.take("b")
    assert shelf.run(ops.update_part(shelf.keys, first, {"job": "j"}, owner="j")) == "ok"
    assert shelf.run(ops.update_part(shelf.keys, first, {"job": "j"}, owner="j")) == "ok"
    before = shelf.contents()
    assert shelf.run(ops.update_part(shelf.keys, second, {"job": "j"}, owner="j", after=0.0)) == "owned"
    assert shelf.contents() == before


@pytest.mark.parametrize(
    ("state", "now"), [("running", True), ("queued", True), ("submitting", False), ("fetching", True)]
)
def test_a_stop_request_that_came_meanwhile_makes_a_part_due_now(shelf, state, now):
    shelf.begin()
    claim = shelf.take()
    shelf.run(ops.request_stop(shelf.keys, "r", CANCEL))
    shelf.update(claim, after=50, state=state)
    assert (shelf.due()["r:0"] <= 0) is now


def test_a_job_that_was_told_to_stop_keeps_its_interval(shelf):
    shelf.begin()
    claim = shelf.take()
    shelf.run(ops.request_stop(shelf.keys, "r", CANCEL))
    shelf.update(claim, after=50, state="running", cancel_sent_at=1.5)
    assert shelf.due()["r:0"] > 40


@pytest.fixture
def collecting(shelf):
    shelf.begin()
    shelf.buy(state=PartState.FETCHING)
    return lambda position, task: shelf.run(ops.store_content(shelf.keys, PartId("r", 0), position, task))


def test_the_first_to_store_a_task_wins(shelf, collecting, make):
    assert collecting(0, make.task(0, content="first")) == 1
    assert collecting(0, make.task(0, content="second", status="error")) == 0
    (kept,) = shelf.run(ops.contents(shelf.keys, PartId("r", 0), [0]))
    assert kept.content == "first"
    assert (shelf.part().stored_ok, shelf.part().stored_failed) == (1, 0)


def test_tasks_are_counted_by_how_they_ended(shelf, collecting, make):
    cost = {"scrape_do_metadata": {"Request-Cost": "2.5"}}
    collecting(0, make.task(0, **cost))
    collecting(1, make.task(1, status="error", **cost))
    collecting(2, make.task(2, status="canceled"))
    collecting(3, make.task(3, status="error", gone=True))
    part = shelf.part()
    assert (part.stored_ok, part.stored_failed, part.gone, part.credits) == (1, 3, 1, 5.0)
    assert shelf.run(ops.fetched(shelf.keys, PartId("r", 0))) == {0, 1, 2, 3}


@pytest.fixture
def held(shelf, collecting, make):
    """A part that holds a page of task 0, which cost two credits."""
    page = make.task(0, status="error", given_up=True, scrape_do_metadata={"Request-Cost": "2"})
    assert shelf.run(ops.hold_content(shelf.keys, PartId("r", 0), 0, page)) == 1
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
def test_a_task_without_a_page_gives_way_to_the_held_one_and_is_counted_as_that(shelf, collecting, make, held, less):
    bare = make.task(0, **{"content": None, "scrape_do_metadata": {"Request-Cost": "7"}, **less})
    assert [collecting(0, bare) for _ in range(2)] == [1, 0]
    part = shelf.part()
    assert (part.stored_ok, part.stored_failed, part.gone, part.credits) == (0, 1, 0, 2.0)
    assert shelf.run(ops.contents(shelf.keys, PartId("r", 0), [0])) == [held]


@pytest.mark.parametrize(
    "more",
    [
        {"status": "success", "content": "the page"},
        {"status": "error", "unreadable": True, "content": '{"Content": "the page"}'},
        {"status": "error", "too_large": True, "content": None},
    ],
)
def test_a_task_with_a_page_is_stored_instead_of_the_held_one(shelf, collecting, make, held, more):
    task = make.task(0, **more)
    assert collecting(0, task) == 1
    shelf.finish()
    part = shelf.part()
    assert part.stored_ok + part.stored_failed == 1
    assert shelf.run(ops.contents(shelf.keys, PartId("r", 0), [0])) == [task]


def test_what_is_held_is_stored_when_the_part_ends(shelf, collecting, make, held):
    collecting(1, make.task(1))
    shelf.finish(outcome="canceled")
    part = shelf.part()
    assert (part.stored_ok, part.stored_failed, part.credits) == (1, 1, 2.0)
    assert shelf.run(ops.contents(shelf.keys, PartId("r", 0), [0])) == [held]
    assert not shelf.redis.exists(shelf.keys.provisional("r", 0))


def test_nothing_is_stored_for_a_run_that_is_gone(shelf, collecting, make):
    shelf.redis.flushall()
    assert collecting(0, make.task(0)) == -1
    assert shelf.redis.keys() == []


def test_contents_are_read_by_position(shelf, collecting, make):
    collecting(2, make.task(2))
    first, none, third = shelf.run(ops.contents(shelf.keys, PartId("r", 0), [2, 0, 2]))
    assert (first, none) == (third, None)
    assert shelf.run(ops.fetched(shelf.keys, PartId("other", 0))) == set()


def test_a_part_ends_with_its_outcome_and_its_error(shelf):
    shelf.part_by_part(2)
    claim = shelf.take(part=1)
    assert shelf.run(ops.finish_part(shelf.keys, claim, "lost", error=JobLostError("gone", "r"))) == 1
    part = shelf.part(part=1)
    assert (part.state, part.outcome, str(part.error)) == (PartState.DONE, "lost", "gone")
    assert "r:1" not in shelf.due()
    assert "r:run" not in shelf.due()
    assert shelf.view().state is RunState.QUEUED


def test_the_last_part_makes_its_run_due(shelf):
    shelf.part_by_part(2)
    assert shelf.finish(part=0) == 1
    assert shelf.finish(part=1) == 0
    assert shelf.due().keys() == {"r:run"}
    assert 0 < shelf.due()["r:run"] <= REDISPATCH_MIN
    assert shelf.view().state is RunState.FETCHING


def test_a_part_that_is_ended_twice_counts_once(shelf):
    shelf.part_by_part(2)
    claim = shelf.take()
    assert shelf.run(ops.finish_part(shelf.keys, claim, "failed")) == 1
    assert shelf.run(ops.finish_part(shelf.keys, claim, "succeeded")) == 1
    assert shelf.part().outcome == "failed"


def test_a_part_is_not_ended_under_an_old_fence(shelf, stale):
    before = shelf.contents()
    assert shelf.run(ops.finish_part(shelf.keys, stale, "failed", skip_unsent=True)) is None
    assert shelf.contents() == before


def test_a_part_that_ends_does_not_stop_the_others(shelf):
    shelf.part_by_part(2)
    shelf.finish(outcome="failed")
    assert not shelf.take(part=1).skip_unsent


def test_a_part_that_stops_the_others_wakes_those_that_were_not_sent(shelf):
    shelf.part_by_part(4)
    held = shelf.take(part=1, seconds=300)
    shelf.buy(part=2)
    waits = shelf.due()
    shelf.finish(part=0, outcome="failed", skip_unsent=True)
    due = shelf.due()
    assert due["r:3"] <= 0
    assert due["r:2"] == pytest.approx(waits["r:2"], abs=1)
    assert due["r:1"] > 200
    assert shelf.run(ops.write_intent(shelf.keys, held, "n", 60)) == ("skip_unsent", "")
    assert shelf.take(part=3).skip_unsent


def test_a_stop_request_for_nothing(shelf):
    assert shelf.run(ops.request_stop(shelf.keys, "r", CANCEL)) is None
    assert shelf.redis.keys() == []


def test_a_stop_request_ends_what_was_not_sent(shelf):
    shelf.part_by_part(2)
    old = shelf.take(part=1, seconds=1)
    shelf.clock.forward(2)
    assert shelf.run(ops.request_stop(shelf.keys, "r", DEADLINE)) == []
    record = shelf.view()
    assert {(part.state, part.outcome) for part in record.parts} == {(PartState.DONE, "timed_out")}
    assert record.stop_reason == DEADLINE
    assert shelf.due().keys() == {"r:run"}
    assert shelf.due()["r:run"] <= 0
    assert shelf.run(ops.write_intent(shelf.keys, old, "n", 60)) == ("stale", "")


def test_only_the_first_stop_request_counts(shelf):
    shelf.begin()
    shelf.take()
    shelf.run(ops.request_stop(shelf.keys, "r", CANCEL))
    stopped = shelf.run_fields()["stop_requested_at"]
    shelf.clock.forward(5)
    shelf.run(ops.request_stop(shelf.keys, "r", DEADLINE))
    assert shelf.view().stop_reason == CANCEL
    assert shelf.run_fields()["stop_requested_at"] == stopped


def test_a_stop_request_names_the_running_parts_that_are_to_act_now(shelf):
    shelf.part_by_part(6)
    shelf.buy(part=0)
    shelf.buy(part=1)
    shelf.update(shelf.take(part=1), after=500)
    shelf.buy(part=2)
    shelf.take(part=2, seconds=300)
    shelf.buy(part=3)
    shelf.force(part=3, cancel_sent_at=1.5)
    shelf.buy(part=4, state=PartState.FETCHING)
    shelf.finish(part=5)
    states = [part.state for part in shelf.view().parts]
    assert shelf.run(ops.request_stop(shelf.keys, "r", CANCEL)) == [PartId("r", 0), PartId("r", 1)]
    assert [part.state for part in shelf.view().parts] == states
    due = shelf.due()
    assert due["r:0"] <= 0
    assert due["r:1"] <= 0
    assert due["r:2"] > 200
    assert shelf.run_fields()["left"] == "5"


def test_a_part_in_the_hands_of_a_submit_hears_of_a_stop_request_by_itself(shelf):
    shelf.begin()
    claim = shelf.take()
    assert shelf.run(ops.request_stop(shelf.keys, "r", CANCEL)) == []
    assert shelf.part().state is PartState.QUEUED
    assert shelf.run(ops.write_intent(shelf.keys, claim, "n", 60)) == ("stop_reason", CANCEL)


def test_a_stop_request_comes_too_late(shelf):
    shelf.begin()
    shelf.finish()
    shelf.run(ops.record_outcome(shelf.keys, "r", "succeeded", {}))
    before = shelf.contents()
    assert shelf.run(ops.request_stop(shelf.keys, "r", CANCEL)) is None
    assert shelf.contents() == before


def test_the_first_outcome_stands(shelf):
    shelf.begin()
    shelf.finish()
    assert shelf.run(ops.record_outcome(shelf.keys, "r", "succeeded", {"decided_by": 0})) == "succeeded"
    before = shelf.contents()
    assert shelf.run(ops.record_outcome(shelf.keys, "r", "failed", {"decided_by": 7})) == "succeeded"
    assert shelf.contents() == before
    record = shelf.view()
    assert (record.state, record.decided_by) == (RunState.SUCCEEDED, 0)
    assert record.ended is not None
    assert 0 < shelf.due()["r:run"] <= REDISPATCH_MIN


def test_nothing_is_decided_for_a_run_that_is_gone(shelf):
    assert shelf.run(ops.record_outcome(shelf.keys, "r", "succeeded", {})) == ""
    assert shelf.redis.keys() == []


def test_the_outcome_alone(shelf):
    assert shelf.run(ops.outcome(shelf.keys, "r")) == (False, None)
    shelf.begin()
    assert shelf.run(ops.outcome(shelf.keys, "r")) == (True, None)
    shelf.finish()
    shelf.run(ops.record_outcome(shelf.keys, "r", "failed", {}))
    assert shelf.run(ops.outcome(shelf.keys, "r")) == (True, "failed")


def ended(shelf, make, **options):
    """A run of two parts that has ended, with everything that a run can have."""
    shelf.part_by_part(2, **options)
    for n in range(2):
        shelf.buy(part=n, state=PartState.FETCHING)
        claim = shelf.take(part=n)
        shelf.run(ops.update_part(shelf.keys, claim, {}, job=make.job("success")))
        shelf.run(ops.store_content(shelf.keys, PartId("r", n), 0, make.task(0)))
        shelf.run(ops.finish_part(shelf.keys, claim, "succeeded"))
    shelf.run(ops.record_outcome(shelf.keys, "r", "succeeded", {}))


def test_the_last_report_starts_the_lives(shelf, make):
    ended(shelf, make, key="k", waiter="a", max_wait=600)
    shelf.run(ops.accept_run(shelf.keys, "r", "b", "s"))
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "a", RETENTION)) == 1
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "a", RETENTION)) == 1
    assert set(shelf.ttls().values()) == {None}
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "b", RETENTION)) == 0
    keys = shelf.keys
    expected = {keys.run("r"): 200, keys.idempotency("k"): 300}
    for n in range(2):
        expected |= {keys.part("r", n): 200, keys.job("r", n): 200, keys.contents("r", n): 100}
        expected |= {keys.owner(f"job-r-{n}"): 604_800}
    assert shelf.ttls() == {name: pytest.approx(life, abs=2) for name, life in sorted(expected.items())}
    assert shelf.due() == {}


def test_a_run_without_a_job_or_a_key_has_lives_too(shelf):
    shelf.begin()
    shelf.finish(outcome="failed")
    shelf.run(ops.record_outcome(shelf.keys, "r", "failed", {}))
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "r", RETENTION)) == 0
    assert None not in shelf.ttls().values()


def test_a_run_that_lives_is_not_counted_down(shelf):
    shelf.begin()
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "r", RETENTION)) == 0
    assert set(shelf.ttls().values()) == {None}
    assert "r:0" in shelf.due()


def test_a_report_of_a_run_that_is_gone(shelf):
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "r", RETENTION)) == -1
    assert shelf.redis.keys() == []


def test_a_view_has_no_targets(shelf):
    shelf.begin()
    reply = shelf.store._scripts["read_run"](keys=[shelf.keys.run("r")], args=["r", "p"])
    assert not [field for field in reply[0][::2] if field.startswith(b"targets:")]
    assert shelf.run(ops.read_run(shelf.keys, "other")) is None


def test_requests_that_are_not_there(shelf):
    assert shelf.run(ops.spec(shelf.keys, "r", 1)) is None
    assert shelf.run(ops.part_spec(shelf.keys, PartId("r", 0))) is None
    shelf.begin()
    assert shelf.run(ops.part_spec(shelf.keys, PartId("r", 1))) is None


def test_forgetting(shelf, make):
    assert shelf.run(ops.forget_run(shelf.keys, "r")) == 0
    shelf.begin("other")
    before = shelf.contents()
    ended(shelf, make, key="k")
    shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "r", RETENTION))
    assert shelf.run(ops.forget_run(shelf.keys, "r")) == 1
    marks = shelf.ttls().keys() - {key.decode() for key in before}
    assert marks == {shelf.keys.run("r"), shelf.keys.owner("job-r-0"), shelf.keys.owner("job-r-1")}
    assert all(shelf.ttls()[mark] for mark in marks)
    # What was counted stays counted.
    before.pop(shelf.keys.totals.encode())
    assert {key: value for key, value in shelf.contents().items() if key in before} == before
    assert shelf.view() is None
    assert shelf.run(ops.forget_run(shelf.keys, "r")) == 0


def test_a_run_that_is_forgotten_before_its_report_is_freed_right_after_it(shelf, make):
    ended(shelf, make, key="k", waiter="a")
    shelf.run(ops.accept_run(shelf.keys, "r", "b", "s"))
    assert shelf.run(ops.forget_run(shelf.keys, "r")) == 1
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "a", RETENTION)) == 1
    assert shelf.view() is not None
    assert shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "b", RETENTION)) == 0
    assert shelf.view() is None
    assert None not in shelf.ttls().values()
    assert shelf.due() == {}


def test_what_was_forgotten_is_not_bought_again_by_an_old_message(shelf):
    shelf.begin(key="k", waiter="w")
    shelf.finish()
    shelf.run(ops.record_outcome(shelf.keys, "r", "succeeded", {}))
    shelf.run(ops.acknowledge_delivery(shelf.keys, "r", "w", RETENTION))
    shelf.run(ops.forget_run(shelf.keys, "r"))
    again = shelf.begin()
    assert again.result == "forgotten"
    assert shelf.run(ops.accept_run(shelf.keys, "r", "w", "s")) == ops.FORGOTTEN
    assert shelf.run(ops.outcome(shelf.keys, "r")) == (False, None)
    assert shelf.begin("other", key="k").new


def test_attempts_to_decide_are_counted(shelf):
    shelf.begin()
    assert [shelf.run(ops.count_decision_attempt(shelf.keys, "r")) for _ in range(3)] == [1, 2, 3]


def test_a_page_is_progress(shelf, collecting, make):
    claim = shelf.take()
    assert shelf.part().attempts == 1
    collecting(0, make.task(0))
    assert shelf.part().attempts == 0
    shelf.run(ops.finish_part(shelf.keys, claim, "succeeded"))
    assert collecting(1, make.task(1)) == -1


def test_a_run_that_lives_is_not_forgotten(shelf):
    shelf.begin()
    before = shelf.contents()
    assert shelf.run(ops.forget_run(shelf.keys, "r")) == -1
    assert shelf.contents() == before


def test_errors_are_kept_as_json(shelf):
    shelf.begin()
    shelf.finish(outcome="lost", error=JobLostError("gone", "r"))
    assert json.loads(shelf.part_fields()["error"]) == {"type": "JobLostError", "args": ["gone", "r"]}
