"""Test the durability and the free memory of the store."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest
from redis.exceptions import ResponseError

from scrape_do_celery.config.sentinel_urls import read_sentinel_url
from scrape_do_celery.rules.waits import BUY_BELOW, FETCH_BELOW
from scrape_do_celery.steps import store_health
from scrape_do_celery.steps.store_health import StoreHealth
from scrape_do_celery.store.sentinels import make_sentinel_pool


class Server:
    connection_pool = None

    def __init__(
        self,
        config=None,
        used=0,
        limit=0,
        replicas=0,
        policy="noeviction",
        role="master",
        backlog=0,
        mode="standalone",
    ):
        self.policy, self.role, self.backlog, self.mode = policy, role, backlog, mode
        self.config, self.used, self.limit, self.replicas, self.asked = config, used, limit, replicas, 0

    async def config_get(self, _):
        if self.config is None:
            raise ResponseError("unknown command")
        return self.config

    def pipeline(self, *, transaction):
        return Pipeline(self)

    async def info(self, section):
        self.asked += 1
        if self.used is None:
            raise ResponseError("unknown command")
        facts = {"role": self.role, "connected_slaves": self.replicas, "maxmemory_policy": self.policy}
        facts["repl_backlog_active"] = self.backlog
        facts |= {"redis_mode": self.mode, "run_id": "process"}
        return {**facts, "used_memory": self.used, "maxmemory": self.limit}


class Pipeline:
    """A pipeline that carries out its calls one after the other."""

    def __init__(self, server):
        self._server, self._calls = server, []

    def info(self, section):
        self._calls.append(self._server.info(section))

    def config_get(self, pattern):
        self._calls.append(self._server.config_get(pattern))

    async def execute(self):
        return [await call for call in self._calls]

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


def health(server):
    return StoreHealth(SimpleNamespace(client=server, call_server=lambda call: call(server)))


SYNCED = {"appendonly": "yes", "appendfsync": "always"}


@pytest.mark.parametrize(
    ("server", "durable"),
    [
        (Server(SYNCED), True),
        (Server(SYNCED, replicas=1), False),
        (Server(SYNCED, role="slave"), False),
        (Server(SYNCED, backlog=1), False),
        (Server({"appendonly": "yes", "appendfsync": "everysec"}), False),
        (Server({**SYNCED, "no-appendfsync-on-rewrite": "yes"}), False),
        (Server({"appendonly": "no", "appendfsync": "always"}), False),
        (Server(None), False),
        # A slot may move to a node that syncs no write, and a replica may take over.
        (Server(SYNCED, mode="cluster"), False),
    ],
)
def test_only_a_store_that_syncs_each_write_loses_none(server, durable):
    assert asyncio.run(health(server).find_durable_process()) == ("process" if durable else "")


def test_a_store_whose_primary_sentinels_may_replace_is_never_durable():
    server = Server(SYNCED)
    server.connection_pool = make_sentinel_pool(read_sentinel_url("sentinel://h/0?master_name=main"), {})
    assert not asyncio.run(health(server).find_durable_process())


@pytest.mark.parametrize(
    ("used", "limit", "buys", "fetches"),
    [(0, 0, True, True), (79, 100, True, True), (81, 100, False, True), (96, 100, False, False), (None, 1, True, True)],
)
def test_a_full_store_is_spared(used, limit, buys, fetches):
    one = health(Server(used=used, limit=limit))
    assert asyncio.run(one.is_below(BUY_BELOW)) is buys
    assert asyncio.run(one.is_below(FETCH_BELOW)) is fetches


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl"])
def test_nothing_is_bought_while_the_store_evicts(policy, caplog):
    server = Server(policy=policy)
    one = health(server)
    with caplog.at_level(logging.ERROR):
        assert [asyncio.run(one.is_below(BUY_BELOW)) for _ in range(2)] == [False, False]
    assert caplog.text.count(f"maxmemory-policy is {policy}") == 1
    assert asyncio.run(one.is_below(FETCH_BELOW)), "pages that are paid for are fetched all the same"


def test_store_is_checked_once_a_second_and_logged_once(monkeypatch, caplog):
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(store_health, "time", clock)
    server = Server(used=90, limit=100)
    one = health(server)
    with caplog.at_level(logging.ERROR):
        for _ in range(30):
            assert not asyncio.run(one.is_below(BUY_BELOW))
            clock.now += 0.1
    assert server.asked == 3
    assert caplog.text.count("no job is bought") == 1
    server.used, clock.now = 10, 200.0
    assert asyncio.run(one.is_below(BUY_BELOW))
    server.used, clock.now = 97, 300.0
    asyncio.run(one.is_below(BUY_BELOW))
    asyncio.run(one.is_below(FETCH_BELOW))
    assert caplog.text.count("no job is bought") == 2
    assert "fetching pauses" in caplog.text
