"""Test how long records and contents stay, and how a run is forgotten."""

from __future__ import annotations

import pytest

from scrape_do_celery.store import PartId, PartState, Retention
from scrape_do_celery.store.commands.contents import StoreContent
from scrape_do_celery.store.commands.creation import AcceptResult, AcceptRun
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import AcknowledgeDelivery, ForgetRun, ReadOutcome, RecordOutcome
from scrape_do_celery.store.retention import SPARE_TTL

RETENTION = Retention(100, 200, 300)


def ended(store, make, **options):
    """Make an ended run of two parts with every key that a run can have."""
    store.create_multi_part_run(2, **options)
    for n in range(2):
        store.make_running(part=n, state=PartState.FETCHING)
        claim = store.claim_part(part=n)
        store.run(UpdatePart(claim, {}, job=make.job("success")))
        store.run(StoreContent(PartId("r", n), 0, make.task(0)))
        store.run(FinishPart(claim, "succeeded"))
    store.run(RecordOutcome("r", "succeeded", {}))


def test_last_delivery_starts_the_retention(store, make):
    ended(store, make, key="k", waiter="a", max_wait=600)
    store.run(AcceptRun("r", "b", "s"))
    assert store.run(AcknowledgeDelivery("r", "a", RETENTION)) == 1
    assert store.run(AcknowledgeDelivery("r", "a", RETENTION)) == 1
    assert set(store.ttls().values()) == {None}
    assert store.run(AcknowledgeDelivery("r", "b", RETENTION)) == 0
    keys = store.keys
    expected = {keys.run("r"): 200, keys.idempotency("k"): 300 + SPARE_TTL}
    for n in range(2):
        expected |= {keys.part(PartId("r", n)): 200, keys.job(PartId("r", n)): 200, keys.contents(PartId("r", n)): 100}
        expected |= {keys.owner(f"job-r-{n}"): 604_800}
    expected[keys.runs("succeeded")] = 180
    assert store.ttls() == {name: pytest.approx(life, abs=2) for name, life in sorted(expected.items())}
    assert store.due_parts() == {}


def test_run_without_job_or_key_expires(store):
    store.create_run()
    store.finish_part(outcome="failed")
    store.run(RecordOutcome("r", "failed", {}))
    assert store.run(AcknowledgeDelivery("r", "r", RETENTION)) == 0
    assert None not in store.ttls().values()


def test_live_run_does_not_expire(store):
    store.create_run()
    assert store.run(AcknowledgeDelivery("r", "r", RETENTION)) == 0
    assert set(store.ttls().values()) == {None}
    assert "r:0" in store.due_parts()


def test_delivery_of_a_missing_run_is_ignored(store):
    assert store.run(AcknowledgeDelivery("r", "r", RETENTION)) is None
    assert store.redis.keys() == []


def test_forget_deletes_the_run(store, make):
    assert store.run(ForgetRun("r")) == "unknown"
    store.create_run("other")
    before = store.dump_keys()
    ended(store, make, key="k")
    store.run(AcknowledgeDelivery("r", "r", RETENTION))
    assert store.run(ForgetRun("r")) == "freed"
    marks = store.ttls().keys() - {key.decode() for key in before}
    assert marks == {store.keys.run("r"), store.keys.owner("job-r-0"), store.keys.owner("job-r-1")}
    assert all(store.ttls()[mark] for mark in marks)
    # Totals still count the forgotten run.
    before.pop(store.keys.totals.encode())
    assert {key: value for key, value in store.dump_keys().items() if key in before} == before
    assert store.read_run() is None
    assert store.run(ForgetRun("r")) == "unknown"


def test_run_forgotten_before_delivery_is_deleted_after_it(store, make):
    ended(store, make, key="k", waiter="a")
    store.run(AcceptRun("r", "b", "s"))
    assert store.run(ForgetRun("r")) == "freed"
    assert store.run(AcknowledgeDelivery("r", "a", RETENTION)) == 1
    assert store.read_run() is not None
    assert store.run(AcknowledgeDelivery("r", "b", RETENTION)) == 0
    assert store.read_run() is None
    assert None not in store.ttls().values()
    assert store.due_parts() == {}


def test_old_message_does_not_buy_a_forgotten_run(store):
    store.create_run(key="k", waiter="w")
    store.finish_part()
    store.run(RecordOutcome("r", "succeeded", {}))
    store.run(AcknowledgeDelivery("r", "w", RETENTION))
    store.run(ForgetRun("r"))
    again = store.create_run()
    assert again.result == "forgotten"
    assert store.run(AcceptRun("r", "w", "s")).result is AcceptResult.FORGOTTEN
    assert store.run(ReadOutcome("r")) == (False, None)
    assert store.create_run("other", key="k").new


def test_live_run_cannot_be_forgotten(store):
    store.create_run()
    before = store.dump_keys()
    assert store.run(ForgetRun("r")) == "live"
    assert store.dump_keys() == before
