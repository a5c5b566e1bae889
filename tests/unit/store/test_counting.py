"""What is counted in the scripts, how the store stands, and the census of live runs."""

from __future__ import annotations

import pytest

from scrape_do_celery.store import CANCEL, PartId, PartState, counting, ops

COST = {"Request-Cost": "1.5"}


@pytest.fixture
def stats(shelf):
    return lambda account="", ahead=(60, 600): shelf.run(counting.read_stats(shelf.keys, account, ahead))


@pytest.fixture
def live_runs(shelf):
    def count(*keys):
        found = counting.LiveRunCount()
        for key in keys or (shelf.keys.due, *map(shelf.keys.poll_set, shelf.run(counting.accounts(shelf.keys)))):
            cursor = ops.START
            while True:
                part = shelf.run(counting.count_live_runs(shelf.keys, key, cursor))
                found.add(part)
                cursor = part.cursor
                if cursor == ops.START:
                    break
        return found.close()

    return count


def whole(shelf, make, run_id="r", *, tasks=None, job=None):
    """A run of two targets brought to its outcome."""
    shelf.begin(run_id)
    shelf.buy(run_id, job=job or f"job-{run_id}", state=PartState.FETCHING)
    for position, task in enumerate(tasks or [make.task(n, scrape_do_metadata=COST) for n in range(2)]):
        shelf.run(ops.store_content(shelf.keys, PartId(run_id, 0), position, task))
    shelf.finish(run_id)
    shelf.run(ops.record_outcome(shelf.keys, run_id, "succeeded", {}))


def test_an_empty_store_stands_at_nothing(stats):
    found = stats()
    assert (found.due, found.dispatched_parts, found.wanted, found.granted, found.contents_bytes) == (0, 0, 0, 0, 0)
    assert (found.due_at, found.paused_until, found.paid_until) == (None, None, None)
    assert (found.expiring, found.accounts, dict(found.totals)) == ((0, 0), (), {})


def test_what_ended_is_counted_when_it_ends(shelf, stats, make):
    tasks = [make.task(0, scrape_do_metadata=COST), make.task(1, status="error", content=None, gone=True)]
    whole(shelf, make, tasks=tasks)
    shelf.begin("draft", start_delay=60)
    totals = stats().totals
    assert totals == {
        "accepted": 1,
        "ended:succeeded": 1,
        "credits": 1.5,
        "tasks:success": 1,
        "tasks:failed": 1,
        "tasks:gone": 1,
    }
    shelf.run(ops.accept_run(shelf.keys, "draft"))
    shelf.run(ops.accept_run(shelf.keys, "draft"))
    assert stats().totals["accepted"] == 2


def test_credits_that_are_no_whole_number_end_no_other_run(shelf, stats, make):
    """A counter that has a fraction by now takes a whole number as well."""
    whole(shelf, make, "r1", tasks=[make.task(0, scrape_do_metadata={"Request-Cost": "2.5"})])
    whole(shelf, make, "r2", tasks=[make.task(0, scrape_do_metadata={"Request-Cost": "10"})])
    assert stats().totals["credits"] == 12.5
    assert shelf.view("r2").outcome == "succeeded"


def test_a_run_without_pages_counts_no_tasks(shelf, stats):
    shelf.begin()
    shelf.finish(outcome="failed")
    assert stats().totals == {"accepted": 1}


def test_pages_are_held_until_their_hour_is_over(shelf, stats):
    def store(size, life):
        hour = int((shelf.clock.time() + life) // 3600)
        shelf.run(
            ops.allocate_requests(shelf.keys, "p", 1, 0, limit=5, counted={"bytes": size, f"stored:{hour}": size})
        )

    store(100, 3600)
    store(50, 3600)
    store(7, 30 * 3600)
    assert (stats().contents_bytes, stats().totals["bytes"]) == (157, 157)
    shelf.clock.forward(4 * 3600)
    assert stats().contents_bytes == 7
    # The next one that is held takes what is over away.
    store(1, 40 * 3600)
    assert stats().contents_bytes == 8
    assert shelf.redis.hlen(shelf.keys.stored) == 2


def test_accounts_stand_by_their_jobs_their_line_and_their_breaker(shelf, stats):
    shelf.redis.sadd(shelf.keys.accounts, "a", "b")
    now = shelf.clock.time()
    shelf.redis.zadd(shelf.keys.poll_set("a"), {"x:0": now + 5, "y:0": now - 7})
    shelf.redis.zadd(f"{shelf.keys.prefix}:slots:a", {"x:0": now})
    shelf.redis.zadd(f"{shelf.keys.prefix}:slot_waiters:b", {"z:0": now - 30})
    shelf.run(ops.open_breaker(shelf.keys, "mine"))
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
    # One that has running jobs and is the caller's is there once.
    assert len(stats("a").accounts) == 2


def test_messages_pauses_requests_and_what_expires(shelf, stats):
    now = shelf.clock.time()
    shelf.redis.zadd(shelf.keys.dispatched, {"x:0": now + 5, "lost:0": now - 5})
    shelf.redis.zadd(shelf.keys.content_expiry, {"x:0": now + 30, "y:0": now + 500, "z:0": now + 5000})
    shelf.run(ops.pause_api(shelf.keys, 40))
    shelf.run(ops.allocate_requests(shelf.keys, "p1", 4, 0, limit=5))
    shelf.run(
        ops.allocate_requests(
            shelf.keys, "p2", 4, 0, limit=5, counted={"requests:get_job:ok": 2, "seconds:get_job": 0.25}
        )
    )
    shelf.run(ops.allocate_requests(shelf.keys, "p2", 4, 0, limit=5, counted={"requests:get_job:ok": 1}))
    found = stats()
    assert found.dispatched_parts == 1
    assert found.expiring == (1, 2)
    assert found.paid_until == pytest.approx(now + 30, abs=1)
    assert found.paused_until == pytest.approx(now + 40, abs=5)
    assert (found.wanted, found.granted) == (8, 5)
    assert found.totals == {"requests:get_job:ok": 3, "seconds:get_job": 0.25}
    shelf.clock.forward(60)
    assert (stats().wanted, stats().granted) == (0, 0)


def test_a_count_of_live_runs_tells_live_runs_by_state(shelf, live_runs, make):
    shelf.begin("queued")
    shelf.clock.forward(10)
    shelf.begin("younger")
    shelf.begin("draft", start_delay=60)
    shelf.begin("running")
    shelf.buy("running")
    whole(shelf, make, "ended")
    shelf.begin("decided")
    shelf.finish("decided")
    shelf.begin("deadline", max_wait=600.0)
    found = live_runs()
    assert found.runs == {"queued": 3, "draft": 1, "running": 1, "delivering": 1, "fetching": 1}
    assert shelf.clock.time() - found.since["queued"] == pytest.approx(10, abs=5)
    assert "draft" not in found.since


def test_a_count_of_live_runs_finds_watched_jobs(shelf, live_runs):
    shelf.begin()
    claim = shelf.take()
    shelf.force(account="a")
    shelf.run(ops.update_part(shelf.keys, claim, {"state": PartState.RUNNING, "job": "j"}, after=60.0, owner="j"))
    assert shelf.redis.exists(shelf.keys.poll_set("a"))
    assert live_runs().runs == {"running": 1}


def test_a_run_of_several_parts_counts_once_by_the_most_telling(shelf, live_runs):
    shelf.part_by_part(3)
    shelf.buy("r", 0)
    found = live_runs()
    assert {state: number for state, number in found.runs.items() if number} == {"running": 1}
    shelf.finish("r", 0)
    assert {state: number for state, number in live_runs().runs.items() if number} == {"queued": 1}


def test_entries_without_a_record_count_nothing(shelf, live_runs):
    shelf.redis.zadd(shelf.keys.due, {"gone:0": 1, "gone:run": 1})
    assert live_runs().runs == {}
    shelf.begin()
    shelf.redis.delete(shelf.keys.part("r", 0))
    assert live_runs().runs == {}


def test_a_canceled_draft_counts_as_accepted_once_it_is(shelf, live_runs, stats):
    shelf.begin(start_delay=60)
    shelf.run(ops.request_stop(shelf.keys, "r", CANCEL))
    assert live_runs().runs == {"draft": 1}
    shelf.run(ops.accept_run(shelf.keys, "r"))
    assert live_runs().runs == {"fetching": 1}
    assert stats().totals == {"accepted": 1}


def test_a_trace_is_kept_where_there_is_one(shelf, make):
    shelf.begin("plain")
    assert "trace" not in shelf.run_fields("plain")
    spec = shelf.run(ops.spec(shelf.keys, "plain", 1))
    shelf.run(ops.create_run(shelf.keys, "r", spec, trace="00-aa-bb-01"))
    assert shelf.take("r").trace == shelf.view("r").trace == "00-aa-bb-01"
    assert shelf.take("plain").trace == shelf.view("plain").trace == ""


def test_a_claim_tells_how_late_it_is(shelf):
    shelf.begin()
    shelf.clock.stop()
    assert shelf.take().late == pytest.approx(0, abs=2)
    shelf.begin("s")
    shelf.clock.forward(20)
    assert 20 <= shelf.take("s").late < 25
