"""Test names of keys and parts, and the reading of records."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.errors import SubmitInDoubtError
from scrape_do_celery.store import Keys, PartId, PartRecord, PartState, RunRecord, RunState
from scrape_do_celery.store.codec import pack
from scrape_do_celery.store.commands.dispatch import Due, DuePart, DueRun


def flat(**fields):
    return [one for name, value in fields.items() for one in (name.encode(), str(value).encode())]


def test_every_key_starts_with_the_prefix_and_none_equals_another():
    keys = Keys("mine")
    names = [
        *(keys.run("r"), keys.part(PartId("r", 0)), keys.job(PartId("r", 0)), keys.contents(PartId("r", 0))),
        *(keys.idempotency("r"), keys.owner("r"), keys.due, keys.dispatched, keys.pause),
    ]
    assert len(set(names)) == len(names)
    assert all(name.startswith("mine:") for name in names)


def test_an_idempotency_key_of_any_text_becomes_one_plain_word():
    name = Keys("p").idempotency("prices of today ☂\n" * 1000)
    assert len(name) == len("p:idem:") + 64
    assert name.isascii()
    assert name != Keys("p").idempotency("prices")


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(0, 10_000))
def test_a_member_comes_back_from_its_text(run_id, part):
    assert PartId.parse(str(PartId(run_id, part))) == PartId(run_id, part)


def test_a_run_id_may_hold_colons():
    assert PartId.parse("a:b:7:3") == PartId("a:b:7", 3)
    with pytest.raises(ValueError, match="run"):
        PartId.parse("a:run")


def test_a_part_that_was_only_written_down():
    part = PartRecord.parse({"state": b"queued", "fence": b"0", "total": b"3", "fingerprint": b"f"})
    assert part == PartRecord(state=PartState.QUEUED, fence=0, total=3, fingerprint="f")
    assert part.refused_since is None
    assert (part.done, part.failed) == (0, 0)


def test_a_part_with_all_its_fields():
    error = SubmitInDoubtError("lost", 3, 17.5)
    fields = {
        "state": b"fetching",
        "fence": b"4",
        "total": b"3",
        "attempts": b"2",
        "intent": b"17.5",
        "job": b"j",
        "tasks": pack(["a", "b"]),
        "bought_at": b"18.25",
        "status": b"success",
        "polls": b"5",
        "not_found_polls": b"1",
        "fetch_passes": b"2",
        "api_failures": b"3",
        "refused_since": b"19.5",
        "cancel_sent_at": b"20.5",
        "reported_ok": b"2",
        "reported_failed": b"1",
        "stored_ok": b"1",
        "stored_failed": b"0",
        "gone": b"1",
        "credits": b"12.5",
        "outcome": b"in_doubt",
        "error": b'{"type": "SubmitInDoubtError", "args": ["lost", 3, 17.5]}',
    }
    part = PartRecord.parse(fields)
    assert (part.state, part.fence, part.task_ids, part.job_id) == (PartState.FETCHING, 4, ("a", "b"), "j")
    assert (part.intent, part.bought_at, part.refused_since, part.cancel_sent_at) == (17.5, 18.25, 19.5, 20.5)
    assert (part.polls, part.not_found_polls, part.fetch_passes, part.gone, part.credits) == (5, 1, 2, 1, 12.5)
    assert isinstance(part.error, SubmitInDoubtError)
    assert part.error.args == error.args
    assert part.outcome == "in_doubt"


def test_a_refusal_that_is_over_is_none():
    part = PartRecord.parse({"state": b"running", "api_failures": b"0", "refused_since": b"0.0000"})
    assert part.refused_since is None


def test_progress_is_the_larger_of_reported_and_stored():
    known = {"total": 9, "reported_ok": 5, "reported_failed": 2, "stored_ok": 3, "stored_failed": 4, "fence": 1}
    collecting, done = (PartRecord(state=state, **known) for state in (PartState.FETCHING, PartState.DONE))
    assert (collecting.done, collecting.failed) == (5, 4)
    assert (done.done, done.failed) == (3, 4)


def test_no_run():
    assert RunRecord.from_reply("r", []) is None


def test_a_run_that_has_ended():
    fields = flat(
        created=1.5,
        accepted=2.5,
        parts=2,
        outcome="failed",
        stop_reason="cancel",
        ended=9.5,
        **{"decided_by": 1, "max_wait": 60, "waiter:r": "", "waiter:other:id": '{"task": "x"}', "delivered:third": 1},
        error='{"type": "NoSuchError", "args": ["text"]}',
    )
    record = RunRecord.from_reply(
        "r", [[*fields, b"result", pack({"a": 1})], flat(state="done"), flat(state="queued"), []]
    )
    assert record.state is RunState.FAILED
    assert (record.created, record.accepted, record.ended, record.max_wait) == (1.5, 2.5, 9.5, 60.0)
    assert (record.outcome, record.stop_reason, record.decided_by, record.result) == ("failed", "cancel", 1, {"a": 1})
    assert record.waiters == {"r": "", "other:id": '{"task": "x"}'}
    assert str(record.error) == "text"
    assert [part.state for part in record.parts] == [PartState.DONE, PartState.QUEUED]
    assert record.part_id(1) == PartId("r", 1)


def test_a_run_that_waits():
    record = RunRecord.from_reply("r", [flat(created=1.5, parts=1), flat(state="running")])
    assert record.state is RunState.RUNNING
    assert (record.accepted, record.outcome, record.stop_reason, record.ended) == (None, None, None, None)
    assert (record.result, record.error, record.max_wait, record.waiters) == (None, None, None, {})


def test_nothing_is_due():
    assert Due.parse([b"7.5000", b"", 0, b""]) == Due(
        now=7.5, next_at=None, dropped=0, was_set_back=False, parts=(), runs=()
    )


def test_parts_and_runs_are_due():
    due = Due.parse([
        *(b"7.5000", b"8.5", 3, b"1"),
        [b"a:b:2", b"running", b"cancel", b"", b"4", 1],
        [b"c:0", b"queued", b"", b"6.5", b"0", 2],
        [b"a:b:run", b"run", b"", b"2", b"1", 1],
        [b"c:run", b"run", b"failed", b"0", b"", 5],
    ])  # fmt: skip
    assert (due.now, due.next_at, due.dropped, due.was_set_back) == (7.5, 8.5, 3, True)
    assert due.parts == (
        DuePart(PartId("a:b", 2), "running", stop_requested=True, cancel_sent=False, attempts=4, dispatches=1),
        DuePart(PartId("c", 0), "queued", stop_requested=False, cancel_sent=True, attempts=0, dispatches=2),
    )
    assert due.runs == (
        DueRun("a:b", None, 2, accepted=True, dispatches=1),
        DueRun("c", "failed", 0, accepted=False, dispatches=5),
    )


def test_empty_encrypted_field_counts_as_absent():
    fields = {"state": b"queued", "fence": b"1", "total": b"2", "error": b""}
    assert PartRecord.parse(fields).error is None
