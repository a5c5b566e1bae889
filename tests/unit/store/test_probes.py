"""Test the probes by which `doctor` checks the receiver of webhooks."""

from __future__ import annotations

import pytest

from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.deliveries import TakeDelivery
from scrape_do_celery.store.commands.probes import OpenProbe, ReadProbe, TakenProbe
from scrape_do_celery.store.webhook_keys import PROBE_TTL


def deliver(store, run_id, *ids, **options):
    assert store.run(TakeDelivery(PartId(run_id, 0), 1, None, *ids, **options)).result == "gone"


@pytest.mark.parametrize(
    ("ids", "is_proven", "expected"),
    [
        (("j", "t"), True, TakenProbe(is_proven=True, task_id="t")),
        (("j", "t"), False, TakenProbe(is_proven=False, task_id="t")),
        ((), True, TakenProbe(is_proven=True, task_id="")),
    ],
)
def test_delivery_of_a_probe_is_noted(store, ids, is_proven, expected):
    store.run(OpenProbe("probe"))
    assert store.run(ReadProbe("probe")) is None
    deliver(store, "probe", *ids, is_proven=is_proven)
    assert store.run(ReadProbe("probe")) == expected
    assert 0 < store.redis.ttl(store.keys.webhook_probe("probe")) <= PROBE_TTL


def test_deliveries_for_runs_that_do_not_exist_leave_nothing_behind(store):
    store.run(OpenProbe("probe"))
    before = set(store.redis.keys()) | {store.keys.totals.encode()}
    deliver(store, "forgotten", "j", "t", is_proven=True)
    assert set(store.redis.keys()) == before
    assert store.run(ReadProbe("probe")) is None


def test_delivery_for_a_run_is_no_probe(store):
    store.create_run("r")
    store.run(OpenProbe("r"))
    assert store.run(TakeDelivery(PartId("r", 0), 0, None, "j", "t", is_proven=True)).result == "other"
    assert store.run(ReadProbe("r")) is None
