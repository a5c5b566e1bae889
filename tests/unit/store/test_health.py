"""Test which waits of a new run the health checks are told."""

from __future__ import annotations

import fakeredis
import pytest

from scrape_do_celery.rules.states import PartState
from scrape_do_celery.rules.waits import PartFacts, StoreFacts, WaitKind, list_waits
from scrape_do_celery.store import Keys, Store
from scrape_do_celery.store.commands.dispatch import ClaimNamespace
from scrape_do_celery.store.commands.health import CheckHealth
from scrape_do_celery.store.commands.limits import OpenBreaker


@pytest.fixture
def store():
    return Store(fakeredis.FakeRedis(), Keys("p"))


def kinds(store, account, **options):
    return [one.kind for one in store.run(CheckHealth(account, **options))]


def test_a_refused_token_is_told_to_its_account_and_to_who_knows_none(store):
    store.run(ClaimNamespace("app"))
    store.client.sadd(store.keys.accounts, "a", "b")
    store.run(OpenBreaker("a", "of-a", 60.0))
    assert [kinds(store, account) for account in ("a", "b", "")] == [
        [WaitKind.TOKEN_REFUSED],
        [],
        [WaitKind.TOKEN_REFUSED],
    ]


def test_the_refusal_of_another_token_is_told_as_such(store):
    store.run(ClaimNamespace("app"))
    store.run(OpenBreaker("a", "old", 60.0))
    (same,), (other,) = (store.run(CheckHealth("a", token)) for token in ("old", "new"))
    assert "another token" not in str(same)
    assert "another token" in str(other)


def test_a_store_without_an_account_still_misses_its_worker(store):
    assert kinds(store, "", writes=True) == [WaitKind.NO_WORKER]
    assert store.client.keys() == []


def test_no_reason_hides_another():
    facts = StoreFacts(now=0.0, has_worker=False, is_young=False, paused_until=9.0, used=0.9, policy="allkeys-lru")
    found = list_waits(PartFacts(PartState.QUEUED, refused_since=0.0), facts)
    full = [WaitKind.STORE_FULL, WaitKind.STORE_FULL]
    assert [one.kind for one in found] == [WaitKind.NO_WORKER, WaitKind.TOKEN_REFUSED, *full, WaitKind.RATE_LIMITED]
