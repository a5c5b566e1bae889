"""Test the store's promises on a real server with many concurrent clients."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from scrape_do_celery.models import JobCreationRequest, TaskDetails
from scrape_do_celery.store import CANCEL, PartId, PartState, Retention, RunSpec, Store
from scrape_do_celery.store.commands.contents import ReadContents, StoreContent, StoreResult
from scrape_do_celery.store.commands.creation import CreateResult, CreateRun, ScheduleTick
from scrape_do_celery.store.commands.dispatch import ClaimDue
from scrape_do_celery.store.commands.listing import ListRuns
from scrape_do_celery.store.commands.parts import ClaimPart, FinishPart, UpdatePart
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ReadRun, RecordOutcome, RequestStop

MANY = 20


@pytest.fixture
def store(server_url):
    one = Store.open(server_url, f"s{uuid.uuid4().hex[:8]}")
    yield one
    for key in one.client.scan_iter(f"{one.keys.prefix}:*"):
        one.client.delete(key)
    one.close()


@pytest.fixture
def at_once():
    """Return a function that runs an action in `MANY` threads at once, and returns their results."""

    def race(act):
        barrier = Barrier(MANY)

        def go(number):
            barrier.wait()
            return act(number)

        with ThreadPoolExecutor(MANY) as pool:
            return list(pool.map(go, range(MANY)))

    return race


def spec(count=1):
    return RunSpec(JobCreationRequest(targets=[f"https://a.example/{n}" for n in range(count)]))


def begun(store, run_id="r", count=1):
    store.run(CreateRun(run_id, spec(count)))
    return PartId(run_id, 0)


def taken(store, part_id, states=tuple(PartState)):
    return store.run(ClaimPart(part_id, uuid.uuid4().hex, seconds=30, states=states))


def test_one_key_is_one_run(store, at_once):
    found = at_once(lambda n: store.run(CreateRun(f"r{n}", spec(), key="k")))
    assert len({created.run_id for created in found}) == 1
    assert sum(created.new for created in found) == 1
    assert len(list(store.client.scan_iter(f"{store.keys.prefix}:run:*"))) == 1


def test_one_part_is_claimed_once(store, at_once):
    part_id = begun(store)
    claims = [claim for claim in at_once(lambda _: taken(store, part_id)) if claim]
    assert len(claims) == 1
    assert claims[0].part.attempts == 1


def test_one_intent_is_one_permission(store, at_once):
    claim = taken(store, begun(store))
    answers = at_once(lambda n: store.run(WriteIntent(claim, f"nonce{n}", 60))[0])
    assert sorted(answers) == ["ok", *["stale"] * (MANY - 1)]


def test_one_page_is_stored_once(store, at_once):
    claim = taken(store, begun(store))
    # A shortcut: no transition leads from queued to fetching.
    store.client.hset(store.keys.part(claim.part_id), "state", PartState.FETCHING)
    pages = [TaskDetails(task_id="t", job_id="j", status="success", content=f"page {n}") for n in range(MANY)]
    won = at_once(lambda n: store.run(StoreContent(claim.part_id, 0, pages[n])).result is StoreResult.STORED)
    assert sum(won) == 1
    [kept] = store.run(ReadContents(claim.part_id, [0]))
    assert kept == pages[won.index(True)]
    assert store.run(ReadRun("r")).parts[0].stored_ok == 1


def test_a_run_is_decided_once(store, at_once):
    claim = taken(store, begun(store))
    store.run(FinishPart(claim, "succeeded"))
    outcomes = ["succeeded", "failed"]
    stands = at_once(lambda n: store.run(RecordOutcome("r", outcomes[n % 2], {"decided_by": n})))
    assert len(set(stands)) == 1


def test_parts_that_end_together_leave_none_behind(store, at_once):
    run = store.run(CreateRun("r", spec(MANY * 1000)))
    claims = [taken(store, PartId(run.run_id, n)) for n in range(MANY)]
    left = at_once(lambda n: store.run(FinishPart(claims[n], "succeeded")))
    assert sorted(left) == list(range(MANY))


def test_due_part_is_claimed_once(store, at_once):
    for n in range(30):
        begun(store, f"r{n}")
        store.run(RequestStop(f"r{n}", CANCEL))
    found = at_once(lambda _: store.run(ClaimDue(limit=500, cap=1000)))
    handed = [run.run_id for due in found for run in due.runs]
    assert sorted(handed) == sorted(f"r{n}" for n in range(30))


def test_a_run_that_waits_is_small(store):
    """Measure the memory of a waiting run by the server's own count, because a hundred thousand may wait."""
    claim = taken(store, begun(store))
    store.run(WriteIntent(claim, uuid.uuid4().hex, 60))
    fields = {"job": str(uuid.uuid4()), "tasks": b"\x00" + b"x" * 40, "api_failures": 0}
    store.run(UpdatePart(claim, fields, to=PartState.RUNNING, after=30, owner="job"))
    size = sum(store.client.memory_usage(key) for key in store.client.scan_iter(f"{store.keys.prefix}:*:*"))
    assert size < 2_500


def test_list_finds_runs_once_while_others_begin_and_end(store, at_once):
    """Read pages of two runs while 20 threads create runs, end them and have them delivered."""
    for n in range(30):
        begun(store, f"old-{n:02}")

    def page_through():
        found, position = [], None
        while not found or position:
            page = store.run(ListRuns(2, position=position))
            found += [record.run_id for record in page.records]
            position = page.position
        return found

    def change(number):
        run_id = f"new-{number:02}"
        store.run(CreateRun(run_id, RunSpec(spec().request, label="new", tags=["x"])))
        if number == 0:
            return page_through()
        ended = f"old-{number:02}"
        store.run(FinishPart(taken(store, PartId(ended, 0)), "lost"))
        store.run(RecordOutcome(ended, "lost", {}))
        store.run(AcknowledgeDelivery(ended, ended, Retention(100, 200, 300)))
        return []

    found = at_once(change)[0]
    assert len(set(found)) == len(found)
    assert {f"old-{n:02}" for n in range(30)} <= set(found)
    assert len(store.run(ListRuns(100, label="new", state="live")).records) == MANY
    assert len(store.run(ListRuns(100, state="lost")).records) == MANY - 1
    assert store.client.ttl(store.keys.runs("lost")) == pytest.approx(180, abs=30)


def test_one_run_of_concurrent_ticks_goes_on(store, at_once):
    """Cancel the run of each earlier tick. Each returned run exists, and one of them is not canceled."""

    def tick(number):
        one = ScheduleTick("prices", f"t{number % 8}", "cancel_previous")
        made = store.run(CreateRun(str(uuid.uuid4()), spec(), tick=one, start_delay=60.0))
        return None if made.result is CreateResult.TICK_SKIPPED else made.run_id

    records = [store.run(ReadRun(run_id)) for run_id in {*at_once(tick)} - {None}]
    assert None not in records
    assert len([record for record in records if record.accepted and not record.stop_reason]) == 1
