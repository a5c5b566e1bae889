"""Test the register of the stores on a server."""

from __future__ import annotations

import fakeredis
import pytest
from redis.exceptions import ResponseError

from scrape_do_celery.store import Keys, Store
from scrape_do_celery.store.register import REGISTER, StorePlace, find_neighbours, find_owner, register_store


@pytest.fixture
def open_store():
    server = fakeredis.FakeServer()

    def open_one(prefix, database=0):
        return Store(fakeredis.FakeRedis(server=server, db=database), Keys(prefix))

    return open_one


def test_stores_with_one_account_see_each_other(open_store):
    first, second, stranger = open_store("a"), open_store("b", 3), open_store("c")
    register_store(first, ["account"])
    register_store(second, ["account", "other"])
    register_store(stranger, ["unrelated"])
    assert find_neighbours(first, ["account"]) == [StorePlace(3, "b")]
    assert find_neighbours(second, ["account"]) == [StorePlace(0, "a")]
    assert find_neighbours(first, ["unknown"]) == []


def test_a_store_without_a_worker_is_forgotten_after_a_day(open_store):
    store = open_store("a")
    store.client.hset(REGISTER, "account 0 gone", "1000")
    assert find_neighbours(store, ["account"]) == []
    register_store(store, ["account"])
    assert store.client.hkeys(REGISTER) == [b"account 0 a"]


def test_the_owner_of_a_job_is_found_in_its_database(open_store):
    own, other = open_store("a"), open_store("b", 3)
    other.client.set(other.keys.owner("job"), "run:0")
    places = [StorePlace(1, "b"), StorePlace(3, "b")]
    assert find_owner(own, places, "job") == StorePlace(3, "b")
    assert find_owner(own, places, "other job") is None


def test_a_refusal_of_the_register_is_raised(open_store):
    store = open_store("a", 3)
    open_store("a").client.set(REGISTER, "the name is taken")
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        register_store(store, ["account"])
    assert store.client.get(REGISTER) is None, "the connection is back in its own database"
