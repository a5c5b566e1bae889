"""Test connections to the node with a slot, with scripted nodes behind real sockets."""

from __future__ import annotations

import asyncio
import socketserver
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.store import AsyncStore, Keys, Store
from scrape_do_celery.store.cluster_nodes import ClusterNodes
from scrape_do_celery.store.commands.runs import ReadOutcome
from scrape_do_celery.store.connections import open_async_client, open_client

NO_CLUSTER = b"-ERR This instance has cluster support disabled\r\n"


class ScriptedNode(socketserver.StreamRequestHandler):
    """A node that answers each command by the reply for its first words, and notes the commands."""

    def handle(self):
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                self.rfile.readline()
                words.append(self.rfile.readline().strip().decode())
            self.server.seen.append(words)
            reply = self.server.replies.get(words[0], b"+OK\r\n")
            self.wfile.write(reply.pop(0) if isinstance(reply, list) else reply)


class QuietServer(socketserver.ThreadingTCPServer):
    """A server that lets its threads end by themselves."""

    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, *_):
        pass


@contextmanager
def node(**replies):
    with QuietServer(("127.0.0.1", 0), ScriptedNode) as server:
        server.seen, server.replies = (
            [],
            {"EXISTS": b":0\r\n", "PING": b"+PONG\r\n", "CLUSTER": NO_CLUSTER, "GET": b"$1\r\nx\r\n", **replies},
        )
        server.port = server.server_address[1]
        server.url = f"redis://127.0.0.1:{server.port}/0?protocol=2"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()


def moved_to(server):
    return f"-MOVED 7 127.0.0.1:{server.port}\r\n".encode()


def read_sync(url):
    client = open_client(url, 2.0, slot_key="{p}:due")
    try:
        return client.get("{p}:x")
    finally:
        client.close()


def read_async(url):
    async def go():
        client = open_async_client(url, 2.0, 2, slot_key="{p}:due")
        try:
            return await client.get("{p}:x")
        finally:
            await client.aclose()
            await client.connection_pool.disconnect()

    return asyncio.run(go())


BOTH = pytest.mark.parametrize("read", [read_sync, read_async])


@BOTH
def test_a_connection_goes_to_the_node_with_the_slot(read):
    with node(GET=b"$3\r\nyes\r\n", CLUSTER=b"*0\r\n") as owner, node(EXISTS=moved_to(owner)) as first:
        assert read(first.url) == b"yes"
    assert ["EXISTS", "{p}:due"] in first.seen
    assert not [words for words in first.seen if words[0] == "GET"]


@BOTH
def test_a_single_server_serves_every_slot(read):
    with node() as server:
        assert read(server.url) == b"x"


@BOTH
def test_a_node_whose_slot_moves_away_serves_what_it_has(read):
    with node(EXISTS=b"-ASK 7 127.0.0.1:1\r\n") as server:
        assert read(server.url) == b"x"


@BOTH
def test_another_node_is_asked_if_the_first_is_dead(read):
    with node() as server:
        assert read(f"redis://127.0.0.1:1/0?protocol=2;{server.url}") == b"x"


@BOTH
def test_a_dead_cluster_fails(read):
    with pytest.raises((RedisConnectionError, RedisTimeoutError)):
        read("redis://127.0.0.1:1/0;redis://127.0.0.1:2/0")


@BOTH
def test_a_node_that_falls_silent_is_not_asked_first_again(read, monkeypatch):
    seen = []
    put_last = ClusterNodes.put_last
    monkeypatch.setattr(ClusterNodes, "put_last", lambda self, address: (seen.append(address), put_last(self, address)))
    with node(GET=b"") as server, pytest.raises(RedisTimeoutError):
        read(f"{server.url}&socket_timeout=0.2")
    assert ("127.0.0.1", server.port) in seen


def test_a_second_connection_to_the_node_does_not_ask_for_the_others_again():
    async def connect_twice(url):
        client = open_async_client(url, 2.0, 2, slot_key="{p}:due")
        connections = [await client.connection_pool.get_connection() for _ in range(2)]
        for connection in connections:
            await client.connection_pool.release(connection)
        await client.connection_pool.disconnect()

    with node() as server:
        asyncio.run(connect_twice(server.url))
        assert [words[0] for words in server.seen].count("CLUSTER") == 1
        assert [words[0] for words in server.seen].count("EXISTS") == 2


def test_a_socket_of_this_machine_is_no_cluster(tmp_path):
    with pytest.raises(RedisConnectionError):
        read_sync(f"unix://{tmp_path}/none.sock")
    with pytest.raises(RedisConnectionError):
        read_async(f"unix://{tmp_path}/none.sock")


def test_a_store_waits_for_a_slot_that_moves():
    moving = b"-ASK 7 127.0.0.1:1\r\n"
    with node(HMGET=[moving] * 7 + [b"*3\r\n$-1\r\n$-1\r\n$-1\r\n"]) as server:
        store = Store.open(server.url, "{p}")
        assert store.run(ReadOutcome("r")) == (False, None)
        store.close()
    assert len([words for words in server.seen if words[0] == "HMGET"]) == 8


def test_a_slot_that_moves_for_too_long_is_named():
    with node(HMGET=b"-TRYAGAIN Multiple keys request during rehashing of slot\r\n") as server:
        store = Store.open(server.url, "{p}", timeout=0.5)
        with pytest.raises(StoreUnavailableError, match="its slot moves to another node") as caught:
            store.run(ReadOutcome("r"))
        assert caught.value.reason == "TRYAGAIN"
        store.close()


@pytest.mark.parametrize("reply", [b"-CROSSSLOT Keys in request don't hash\r\n", b"-MOVED 7 127.0.0.1:1\r\n"])
def test_a_prefix_without_a_hash_tag_is_named_on_a_cluster(reply):
    with node(HMGET=reply) as server:
        store = Store.open(server.url, "p")
        with pytest.raises(ConfigurationError, match=r"SCRAPE_DO_KEY_PREFIX=\{scrape_do\}"):
            store.run(ReadOutcome("r"))
        store.close()

        async def go():
            store = AsyncStore.open(server.url, "p")
            with pytest.raises(ConfigurationError, match="hash tag"):
                await store.run(ReadOutcome("r"))
            await store.aclose()

        asyncio.run(go())


def test_a_key_of_another_slot_gets_a_client_of_its_own():
    with node() as server:
        store = Store.open(server.url, "{p}")
        with store.client_for("elsewhere") as client:
            assert client is not store.client
            assert client.get("elsewhere") == b"x"
        store.close()
        single = Store.open(server.url, "p")
        with single.client_for("elsewhere") as client:
            assert client is single.client
        single.close()
    assert ["EXISTS", "elsewhere"] in server.seen


def test_a_client_library_that_is_too_old_for_a_cluster_is_named(monkeypatch):
    old = SimpleNamespace(Connection=object, Redis=redis.Redis, __version__="5.2.0")
    monkeypatch.setattr("scrape_do_celery.store.connections.redis_sync", old)
    with pytest.raises(ConfigurationError, match=r"is too old: install redis 6\.0 or newer"):
        Store.open("redis://127.0.0.1:1/0", "{p}")


def test_only_a_hash_tag_keeps_a_store_in_one_slot():
    assert Keys("a{b}c").cluster_prefix == "a{b}c"
    assert Keys("abc").cluster_prefix == ""
