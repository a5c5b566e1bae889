"""Test the choice of a primary among the answers of sentinels, and when a pool asks again."""

from __future__ import annotations

import asyncio
import socket
from types import SimpleNamespace

import pytest
import redis
from redis.asyncio.sentinel import SentinelManagedConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.sentinel import MasterNotFoundError

from scrape_do_celery.config.sentinel_urls import read_sentinel_url
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.store import AsyncStore, Store, sentinels
from scrape_do_celery.store.connections import open_async_client, open_client
from scrape_do_celery.store.refusals import NO_PRIMARY, find_reason
from scrape_do_celery.store.sentinels import (
    AsyncSentinelClients,
    BlockingPrimaryPool,
    PrimaryPool,
    SentinelClients,
    UnknownPrimaryError,
    demotion_delay,
    is_watched,
)
from scrape_do_celery.store.server_kinds import refuse_unfit_server

URL = "sentinel://h1:1/4;sentinel://h2:2/4;sentinel://h3:3/4?master_name=main"
#: Until version 5.3, redis-py takes a connection for the name of a command.
COMMAND = ("GET",) if redis.VERSION < (5, 3) else ()
OLD, NEW = ("10.0.0.1", 6379), ("10.0.0.2", 6379)


class FakeSentinel:
    """A sentinel that watches `main` at an address, with a configuration epoch, or that does not answer."""

    def __init__(self, node, address=OLD, *, epoch=0, down=False, named=None, silent=False, watches="main"):
        host, port = node.split(":")
        self.connection_pool = SimpleNamespace(connection_kwargs={"host": host, "port": int(port)})
        state = {"ip": address[0], "port": address[1], "is_sdown": down, "is_odown": False, "config-epoch": epoch}
        self.masters, self.named, self.silent, self.asked, self.is_closed = (
            {watches: state},
            named or address,
            silent,
            0,
            0,
        )

    def sentinel_masters(self):
        self.asked += 1
        if self.silent:
            raise RedisConnectionError("no answer")
        return self.masters

    def sentinel_get_master_addr_by_name(self, name):
        return (self.named[0].encode(), self.named[1]) if name in self.masters else None

    def close(self):
        self.is_closed += 1


class AsyncFakeSentinel(FakeSentinel):
    async def sentinel_masters(self):
        return super().sentinel_masters()

    async def sentinel_get_master_addr_by_name(self, name):
        return super().sentinel_get_master_addr_by_name(name)

    async def aclose(self):
        self.close()


def find_primary(kind, *given):
    """Ask sentinels in threads or in a loop."""
    if kind is FakeSentinel:
        return SentinelClients([FakeSentinel(*args, **options) for args, options in given]).discover_master("main")
    clients = AsyncSentinelClients([AsyncFakeSentinel(*args, **options) for args, options in given])
    return asyncio.run(clients.discover_master("main"))


def answer(*args, **options):
    return args, options


kinds = pytest.mark.parametrize("kind", [FakeSentinel, AsyncFakeSentinel])


@kinds
def test_the_newest_answer_counts(kind):
    assert find_primary(kind, answer("h1:1"), answer("h2:2", NEW, epoch=1), answer("h3:3")) == NEW


@kinds
def test_a_sentinel_that_leads_a_failover_names_the_next_primary_first(kind):
    leader = answer("h2:2", epoch=1, down=True, named=NEW)
    assert find_primary(kind, answer("h1:1"), leader, answer("h3:3", silent=True)) == NEW


@kinds
def test_the_error_says_what_each_sentinel_said(kind):
    given = answer("h1:1", down=True), answer("h2:2", silent=True), answer("h3:3", watches="other")
    with pytest.raises(MasterNotFoundError) as caught:
        find_primary(kind, *given)
    text = str(caught.value)
    assert "no primary for main" in text
    assert "h1:1 calls it down" in text
    assert "h2:2 does not answer (ConnectionError: no answer)" in text
    assert "h3:3 does not know it" in text
    assert find_reason(caught.value) == NO_PRIMARY
    assert not isinstance(caught.value, UnknownPrimaryError)


@kinds
def test_a_name_that_most_sentinels_do_not_know_is_wrong(kind):
    given = answer("h1:1", silent=True), answer("h2:2", watches="other"), answer("h3:3", watches="other")
    with pytest.raises(UnknownPrimaryError, match="h2:2, h3:3 watch no primary named main; they watch other"):
        find_primary(kind, *given)


def test_a_name_that_one_of_three_does_not_know_may_be_right():
    given = answer("h1:1", silent=True), answer("h2:2", silent=True), answer("h3:3", watches="other")
    with pytest.raises(MasterNotFoundError) as caught:
        find_primary(FakeSentinel, *given)
    assert not isinstance(caught.value, UnknownPrimaryError)


def test_a_silent_sentinel_is_asked_again_only_if_no_other_answers():
    silent, good = FakeSentinel("h1:1", silent=True), FakeSentinel("h2:2")
    clients = SentinelClients([silent, good])
    for _ in range(3):
        assert clients.discover_master("main") == OLD
    assert (silent.asked, good.asked) == (1, 3)
    good.silent, silent.silent = True, False
    assert clients.discover_master("main") == OLD
    assert silent.asked == 2


def test_a_store_whose_name_is_wrong_is_refused():
    store = Store.open(URL, "p")
    store.client.connection_pool.sentinel_manager.sentinels = [FakeSentinel("h1:1", watches="other")]
    with pytest.raises(ConfigurationError, match=r"SCRAPE_DO_REDIS_URL.*named main; they watch other"):
        refuse_unfit_server(store)
    store.close()


@pytest.mark.parametrize("name", ["redis_mode", "server_mode"])
def test_a_sentinel_in_place_of_a_server_is_refused(name, monkeypatch):
    store = Store.open("redis://h:26379/0", "p")
    monkeypatch.setattr(store.client, "info", lambda _: {name: "sentinel"})
    with pytest.raises(ConfigurationError, match="names a sentinel as if it was a Redis server"):
        refuse_unfit_server(store)


def test_clients_of_both_kinds_follow_the_primary():
    client = open_client(URL, 3.0)
    pool = client.connection_pool
    assert isinstance(pool, PrimaryPool)
    assert is_watched(client)
    assert demotion_delay(client) == 10.0
    assert (pool.service_name, pool.connection_kwargs["db"], pool.connection_kwargs["socket_timeout"]) == (
        "main",
        4,
        3.0,
    )
    asked = [one.connection_pool.connection_kwargs for one in pool.sentinel_manager.sentinels]
    assert [(one["host"], one["port"], one["socket_timeout"]) for one in asked] == [
        ("h1", 1, 1.0),
        ("h2", 2, 1.0),
        ("h3", 3, 1.0),
    ]
    plain = open_client("redis://h/0", 3.0)
    assert not is_watched(plain)
    assert demotion_delay(plain) == 0.0

    async def go():
        loop_client = open_async_client(URL, 3.0, 7)
        loop_pool = loop_client.connection_pool
        assert isinstance(loop_pool, BlockingPrimaryPool)
        assert is_watched(loop_client)
        assert loop_pool.max_connections == 7
        await loop_pool.disconnect()

    asyncio.run(go())


def test_tls_of_servers_and_sentinels():
    group = read_sentinel_url(f"{URL}&ssl_cert_reqs=none&sentinel_ssl_ca_certs=")
    pool = sentinels.make_sentinel_pool(group, {})
    assert pool.connection_class is sentinels.PrimaryTlsConnection
    kinds = {one.connection_pool.connection_class for one in pool.sentinel_manager.sentinels}
    assert kinds == {sentinels.CLASSES["rediss"]}


class FakeConnection(sentinels.PrimaryTcpConnection):
    """A connection that is made without a network, to the address that its pool names."""

    def connect_to(self, address):
        self.host, self.port = address
        self._sock = socket.socket()

    def can_read(self, *_, **__):
        return False


class AsyncFakeConnection(SentinelManagedConnection):
    disconnects = 0

    async def connect_to(self, address):
        self.host, self.port = address
        self._reader = True

    async def can_read(self, *_, **__):
        return False

    can_read_destructive = can_read

    async def disconnect(self, *_, **__):
        self._reader, self.disconnects = None, self.disconnects + 1


@pytest.fixture
def times(monkeypatch):
    """Provide the clock of the timer of pools."""
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(sentinels, "time", clock)
    return clock


def test_a_pool_of_threads_notices_another_primary(times):
    sentinel = FakeSentinel("h1:1")
    pool = PrimaryPool("main", SentinelClients([sentinel]), connection_class=FakeConnection)
    connection = pool.get_connection(*COMMAND)
    pool.release(connection)
    sentinel.masters["main"] |= {"ip": NEW[0], "config-epoch": 1}
    sentinel.named = NEW
    times.now += 1.1
    found = pool.get_connection(*COMMAND)
    assert (found.host, found.port) == NEW
    asked = sentinel.asked
    pool.release(found)
    assert pool.get_connection(*COMMAND) is found
    assert sentinel.asked == asked, "a pool asks four times a second at most"


def test_silent_sentinels_are_asked_less_often(times):
    class SlowSentinel(FakeSentinel):
        def sentinel_masters(self):
            times.now += 1.0 if self.silent else 0.0
            return super().sentinel_masters()

    sentinel = SlowSentinel("h1:1")
    pool = PrimaryPool("main", SentinelClients([sentinel]), connection_class=FakeConnection)
    pool.release(pool.get_connection(*COMMAND))
    sentinel.silent = True
    times.now += 1.1
    before = sentinel.asked
    for _ in range(5):
        pool.release(pool.get_connection(*COMMAND))
        times.now += 2.0
    assert sentinel.asked == before + 1
    times.now += 31.0
    pool.release(pool.get_connection(*COMMAND))
    assert sentinel.asked == before + 2


def test_a_pool_of_a_loop_drops_connections_to_an_earlier_primary(times):
    async def go():
        sentinel = AsyncFakeSentinel("h1:1")
        pool = BlockingPrimaryPool("main", AsyncSentinelClients([sentinel]), connection_class=AsyncFakeConnection)
        first, second = await pool.get_connection(*COMMAND), await pool.get_connection(*COMMAND)
        await pool.release(second)
        sentinel.masters["main"] |= {"ip": NEW[0], "config-epoch": 1}
        sentinel.named = NEW
        times.now += 1.1
        found = await pool.get_connection(*COMMAND)
        assert (found.host, found.port) == NEW
        await pool.release(first)
        assert first.disconnects == 1, "it was in use when the primary changed"
        sentinel.silent = True
        times.now += 1.1
        await pool.release(found)
        assert (await pool.get_connection(*COMMAND)).host == NEW[0], "the primary is still up"
        await pool.disconnect()
        return sentinel.is_closed

    with pytest.raises(MasterNotFoundError):
        asyncio.run(fail_to_connect())
    assert asyncio.run(go()) == 1


async def fail_to_connect():
    silent = AsyncSentinelClients([AsyncFakeSentinel("h1:1", silent=True)])
    await BlockingPrimaryPool("main", silent, connection_class=AsyncFakeConnection).get_connection(*COMMAND)


def test_a_store_of_a_loop_opens_by_sentinels():
    async def go():
        store = AsyncStore.open(URL, "p")
        await store.aclose()

    asyncio.run(go())
