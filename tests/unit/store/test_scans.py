"""Test scans across the keys of a store."""

from __future__ import annotations

import pytest

from scrape_do_celery.store import CANCEL, PartId, PartState
from scrape_do_celery.store.commands.changes import CountChangedRuns
from scrape_do_celery.store.commands.limits import LONGEST_PROBE, OpenBreaker
from scrape_do_celery.store.commands.runs import RequestStop
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.store.scans import (
    WaitingPart,
    count_parts_by_account,
    list_due_entries,
    read_waiting_part,
)
from scrape_do_celery.store.token_refusals import find_refusals, read_refusal


def test_a_refused_token_tells_since_when_and_until_when(store):
    assert list(find_refusals(store.sync_store)) == []
    store.run(OpenBreaker("a", "of a", 50.0))
    (found,) = find_refusals(store.sync_store)
    assert found == read_refusal(store.sync_store, "a")._replace(now=found.now, fails_at=found.fails_at)
    assert (found.account, found.token_id, found.is_tried) == ("a", "of a", True)
    assert found.since == pytest.approx(store.clock.time(), abs=1)
    assert found.fails_at == pytest.approx(found.since + 50, abs=1)
    store.clock.forward(2 * LONGEST_PROBE)
    assert not read_refusal(store.sync_store, "a").is_tried
    # An earlier version wrote only these fields.
    store.redis.hdel(store.keys.breaker("a"), "token", "grace")
    assert read_refusal(store.sync_store, "a")[2:4] == (None, "")


def test_a_part_that_another_token_may_buy_waits_for_no_account(store):
    for run_id, purchases in (("once", 1), ("twice", 2)):
        store.create_run(run_id)
        store.force_state(run_id, 0, PartState.RECONCILING)
        store.set_fields(run_id, account="old", refused="token", purchases=purchases)
    assert count_parts_by_account(store.sync_store, 10) == {"old": 1}


def test_parts_with_a_job_are_counted_by_account(store):
    store.create_run("draft", start_delay=60)
    store.create_run("running")
    store.make_running("running")
    store.set_fields("running", account="a")
    assert count_parts_by_account(store.sync_store, 10) == {"a": 1}


def test_entries_of_all_due_sets_are_listed(store):
    store.create_run("queued")
    store.create_run("running")
    store.make_running("running")
    listed = dict(list_due_entries(store.sync_store))
    assert listed == {**store.due_times(), **listed}
    assert {"queued:0", "running:0"} <= set(listed)


def test_a_waiting_part_tells_its_job_and_its_stop_request(store):
    store.create_run()
    assert read_waiting_part(store.sync_store, PartId("r", 0)) == WaitingPart(False, None, False)
    store.make_running("r")
    store.run(RequestStop("r", CANCEL))
    waiting = read_waiting_part(store.sync_store, PartId("r", 0))
    assert waiting == WaitingPart(True, store.part().job_id, True)


def test_changes_that_may_be_announced_are_counted(store):
    store.create_run()
    now = store.run(ReadClock())
    assert store.run(CountChangedRuns(now - 60)) == 0
    assert store.run(CountChangedRuns(now + 60)) == 1
