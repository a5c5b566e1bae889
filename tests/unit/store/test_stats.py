"""Test the counters of scripts, the health of the store, and the census of live runs."""

from __future__ import annotations

import pytest

from scrape_do_celery.store import CANCEL, PartId, PartState
from scrape_do_celery.store.commands.arguments import START
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import AcceptRun, CreateRun
from scrape_do_celery.store.commands.limits import AllocateRequests, OpenBreaker, PauseAPI
from scrape_do_celery.store.commands.parts import UpdatePart
from scrape_do_celery.store.commands.runs import ReadSpec, RecordOutcome, RequestStop
from scrape_do_celery.store.commands.stats import CountLiveRuns, LiveRunCount, ReadAccounts, ReadStats

COST = {"Request-Cost": "1.5"}


@pytest.fixture
def stats(store):
    return lambda account="", ahead=(60, 600): store.run(ReadStats(account, ahead))


@pytest.fixture
def live_runs(store):
    def count():
        found = LiveRunCount()
        for account in (None, *store.run(ReadAccounts())):
            cursor = START
            while True:
                part = store.run(CountLiveRuns(account, cursor))
                found.add(part)
                cursor = part.cursor
                if cursor == START:
                    break
        return found.close()

    return count


def whole(store, make, run_id="r", *, tasks=None, job=None):
    """Make a run of two targets, and bring it to its outcome."""
    store.create_run(run_id)
    store.make_running(run_id, job=job or f"job-{run_id}", state=PartState.FETCHING)
    for position, task in enumerate(tasks or [make.task(n, scrape_do_metadata=COST) for n in range(2)]):
        store.run(StoreContent(PartId(run_id, 0), position, task))
    store.finish_part(run_id)
    store.run(RecordOutcome(run_id, "succeeded", {}))


def test_an_empty_store_stands_at_nothing(stats):
    found = stats()
    assert (found.due, found.dispatched_parts, found.wanted, found.granted, found.contents_bytes) == (0, 0, 0, 0, 0)
    assert (found.due_at, found.paused_until, found.paid_until) == (None, None, None)
    assert (found.expiring, found.accounts, dict(found.totals)) == ((0, 0), (), {})


def test_ended_run_is_counted_at_its_end(store, stats, make):
    tasks = [make.task(0, scrape_do_metadata=COST), make.task(1, status="error", content=None, gone=True)]
    whole(store, make, tasks=tasks)
    store.create_run("draft", start_delay=60)
    totals = stats().totals
    assert totals == {
        "accepted": 1,
        "ended:succeeded": 1,
        "credits": 1.5,
        "tasks:success": 1,
        "tasks:failed": 1,
        "tasks:gone": 1,
    }
    store.run(AcceptRun("draft"))
    store.run(AcceptRun("draft"))
    assert stats().totals["accepted"] == 2


def test_credits_that_are_no_whole_number_end_no_other_run(store, stats, make):
    """Add a whole number to a counter that already has a fraction."""
    whole(store, make, "r1", tasks=[make.task(0, scrape_do_metadata={"Request-Cost": "2.5"})])
    whole(store, make, "r2", tasks=[make.task(0, scrape_do_metadata={"Request-Cost": "10"})])
    assert stats().totals["credits"] == 12.5
    assert store.read_run("r2").outcome == "succeeded"


def test_a_run_without_pages_counts_no_tasks(store, stats):
    store.create_run()
    store.finish_part(outcome="failed")
    assert stats().totals == {"accepted": 1}


def test_pages_are_held_until_their_hour_is_over(store, stats):
    def store_pages(size, life):
        hour = int((store.clock.time() + life) // 3600)
        store.run(AllocateRequests("p", 1, 0, limit=5, counted={"bytes": size, f"stored:{hour}": size}))

    store_pages(100, 3600)
    store_pages(50, 3600)
    store_pages(7, 30 * 3600)
    assert (stats().contents_bytes, stats().totals["bytes"]) == (157, 157)
    store.clock.forward(4 * 3600)
    assert stats().contents_bytes == 7
    # The next held page removes expired hours.
    store_pages(1, 40 * 3600)
    assert stats().contents_bytes == 8
    assert store.redis.hlen(store.keys.stored) == 2


def test_accounts_stand_by_their_jobs_their_line_and_their_breaker(store, stats):
    store.redis.sadd(store.keys.accounts, "a", "b")
    now = store.clock.time()
    store.redis.zadd(store.keys.poll_set("a"), {"x:0": now + 5, "y:0": now - 7})
    store.redis.zadd(f"{store.keys.prefix}:slots:a", {"x:0": now})
    store.redis.zadd(f"{store.keys.prefix}:slot_waiters:b", {"z:0": now - 30})
    store.run(OpenBreaker("mine"))
    a, b, mine = sorted(stats("mine").accounts, key=lambda one: one.account)
    assert (a.account, a.polled_by_list, a.active, a.waiting_for_slot, a.first_waiting_since, a.refused_since) == (
        "a",
        2,
        1,
        0,
        None,
        None,
    )
    assert a.next_poll_at == pytest.approx(now - 7, abs=1)
    assert (b.waiting_for_slot, b.first_waiting_since) == (1, pytest.approx(now - 30, abs=1))
    assert mine.refused_since == pytest.approx(now, abs=5)
    # The caller's account is listed once, even if it has running jobs.
    assert len(stats("a").accounts) == 2


def test_messages_pauses_requests_and_what_expires(store, stats):
    now = store.clock.time()
    store.redis.zadd(store.keys.dispatched, {"x:0": now + 5, "lost:0": now - 5})
    store.redis.zadd(store.keys.content_expiry, {"x:0": now + 30, "y:0": now + 500, "z:0": now + 5000})
    store.run(PauseAPI(40))
    store.run(AllocateRequests("p1", 4, 0, limit=5))
    store.run(AllocateRequests("p2", 4, 0, limit=5, counted={"requests:get_job:ok": 2, "seconds:get_job": 0.25}))
    store.run(AllocateRequests("p2", 4, 0, limit=5, counted={"requests:get_job:ok": 1}))
    found = stats()
    assert found.dispatched_parts == 1
    assert found.expiring == (1, 2)
    assert found.paid_until == pytest.approx(now + 30, abs=1)
    assert found.paused_until == pytest.approx(now + 40, abs=5)
    assert (found.wanted, found.granted) == (8, 5)
    assert found.totals == {"requests:get_job:ok": 3, "seconds:get_job": 0.25}
    store.clock.forward(60)
    assert (stats().wanted, stats().granted) == (0, 0)


def test_a_count_of_live_runs_tells_live_runs_by_state(store, live_runs, make):
    store.create_run("queued")
    store.clock.forward(10)
    store.create_run("younger")
    store.create_run("draft", start_delay=60)
    store.create_run("running")
    store.make_running("running")
    whole(store, make, "ended")
    store.create_run("decided")
    store.finish_part("decided")
    store.create_run("deadline", max_wait=600.0)
    found = live_runs()
    assert found.runs == {"queued": 3, "draft": 1, "running": 1, "delivering": 1, "fetching": 1}
    assert store.clock.time() - found.since["queued"] == pytest.approx(10, abs=5)
    assert "draft" not in found.since


def test_a_count_of_live_runs_finds_watched_jobs(store, live_runs):
    store.create_run()
    claim = store.claim_part()
    store.set_fields(account="a")
    store.force_state()
    store.run(UpdatePart(claim, {"job": "j"}, after=60.0, owner="j"))
    assert store.redis.exists(store.keys.poll_set("a"))
    assert live_runs().runs == {"running": 1}


def test_multi_part_run_counts_once_by_its_main_state(store, live_runs):
    store.create_multi_part_run(3)
    store.make_running("r", 0)
    found = live_runs()
    assert {state: number for state, number in found.runs.items() if number} == {"running": 1}
    store.finish_part("r", 0)
    assert {state: number for state, number in live_runs().runs.items() if number} == {"queued": 1}


def test_entries_without_a_record_count_nothing(store, live_runs):
    store.redis.zadd(store.keys.due, {"gone:0": 1, "gone:run": 1})
    assert live_runs().runs == {}
    store.create_run()
    store.redis.delete(store.keys.part(PartId("r", 0)))
    assert live_runs().runs == {}


def test_a_canceled_draft_counts_as_accepted_once_it_is(store, live_runs, stats):
    store.create_run(start_delay=60)
    store.run(RequestStop("r", CANCEL))
    assert live_runs().runs == {"draft": 1}
    store.run(AcceptRun("r"))
    assert live_runs().runs == {"fetching": 1}
    assert stats().totals == {"accepted": 1}


def test_a_trace_is_kept_where_there_is_one(store, make):
    store.create_run("plain")
    assert "trace" not in store.run_fields("plain")
    spec = store.run(ReadSpec("plain", 1))
    store.run(CreateRun("r", spec, trace="00-aa-bb-01"))
    assert store.claim_part("r").trace == store.read_run("r").trace == "00-aa-bb-01"
    assert store.claim_part("plain").trace == store.read_run("plain").trace == ""


def test_a_claim_tells_how_late_it_is(store):
    store.create_run()
    store.clock.stop()
    assert store.claim_part().late == pytest.approx(0, abs=2)
    store.create_run("s")
    store.clock.forward(20)
    assert 20 <= store.claim_part("s").late < 25
