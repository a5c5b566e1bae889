"""Test that reported costs are counted by host and day of the purchase, within bounds."""

from __future__ import annotations

import pytest

from scrape_do_celery.rules.prices import PriceGroup
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.budgets import ReadHostSpend
from scrape_do_celery.store.commands.contents import HoldContent, StoreContent
from scrape_do_celery.store.commands.parts import FinishPart
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.retention import LEDGER_TTL, MAX_SPEND_HOSTS, SECONDS_PER_DAY

PART = PartId("r", 0)


@pytest.fixture
def bought(store):
    """Return the day of a purchase of four targets."""
    store.create_run(targets=4)
    verdict, _ = store.run(
        WriteIntent(store.claim_part(), "n", 30.0, account="me", groups=[PriceGroup("x", 1, 0, 4000, None)])
    )
    assert verdict == "ok"
    return int(float(store.part_fields()["intent"]) // SECONDS_PER_DAY)


def cost(make, position, credits_, **fields):
    return make.task(position, scrape_do_metadata={"Request-Cost": str(credits_)}, **fields)


def test_costs_count_for_the_host_and_the_day_of_the_purchase(store, make, bought):
    store.clock.forward(2 * SECONDS_PER_DAY)
    for position, (price_key, credits_) in enumerate([("a.example", 1), ("a.example|super", 2.5), ("plugin/x/y", 0)]):
        store.run(StoreContent(PART, position, cost(make, position, credits_), price_key))
    store.run(StoreContent(PART, 3, cost(make, 3, 5), "plugin/x/y|render"))
    assert store.run(ReadHostSpend(bought)) == {"a.example": 3500, "plugin/x/y": 5000}
    assert store.run(ReadHostSpend(bought + 2)) == {}
    assert store.redis.ttl(store.keys.host_spend(bought)) == LEDGER_TTL
    assert store.wrong_lives() == {}


def test_stored_task_counts_once(store, make, bought):
    for _ in range(2):
        store.run(StoreContent(PART, 0, cost(make, 0, 3), "a.example"))
    assert store.run(ReadHostSpend(bought)) == {"a.example": 3000}


def test_masked_and_unknown_hosts_count_together(store, make, bought):
    store.run(StoreContent(PART, 0, cost(make, 0, 1), "#0123abc|super"))
    store.run(StoreContent(PART, 1, cost(make, 1, 2), ""))
    assert store.run(ReadHostSpend(bought)) == {"(other)": 3000}


def test_hosts_of_a_day_are_bounded(store, make, bought):
    store.redis.hset(store.keys.host_spend(bought), mapping={f"{n}.example": 1 for n in range(MAX_SPEND_HOSTS)})
    store.run(StoreContent(PART, 0, cost(make, 0, 1), "new.example"))
    store.run(StoreContent(PART, 1, cost(make, 1, 2), "7.example"))
    found = store.run(ReadHostSpend(bought))
    assert (found["(other)"], found["7.example"], len(found)) == (1000, 2001, MAX_SPEND_HOSTS + 1)


@pytest.mark.parametrize("is_replaced", [True, False])
def test_held_page_counts_for_its_host_when_it_is_stored(store, make, bought, is_replaced):
    store.run(HoldContent(PART, 0, cost(make, 0, 4), "a.example"))
    assert store.run(ReadHostSpend(bought)) == {}
    if is_replaced:
        store.run(StoreContent(PART, 0, cost(make, 0, 9, content=None, status="error"), "a.example"))
    else:
        store.set_fields(lease=0)
        store.run(FinishPart(store.claim_part(account="me"), "failed"))
    assert store.run(ReadHostSpend(bought)) == {"a.example": 4000}
