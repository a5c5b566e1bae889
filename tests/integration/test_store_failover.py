"""Test a failover behind one address with real servers: old connections stay open to the server that was demoted."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.steps.store_health import StoreHealth
from scrape_do_celery.store import AsyncStore, RunSpec, Store
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.runs import ReadRun
from tests.support.redis_servers import BINARIES, RedisServer, wait_until
from tests.support.tcp_proxies import TcpProxy
from tests.support.time_limits import limit_time

SPEC = RunSpec(JobCreationRequest(targets=["https://a.example/1"]))


class Pair:
    """A primary and its replica behind one address."""

    def __init__(self, proxy, first, second):
        self.url = f"redis://127.0.0.1:{proxy.port}/0"
        self._proxy, self.primary, self.replica = proxy, first, second

    def fail_over(self):
        """Promote the replica. The primary becomes its replica, and new connections reach the new primary.

        The replica first has all writes, because Redis replicates them after it has answered.
        """
        wait_until(self._has_all_writes)
        self.replica.promote()
        self.primary.follow(self.replica)
        self._proxy.switch(self.replica.port)
        self.primary, self.replica = self.replica, self.primary

    def _has_all_writes(self):
        primary, replica = (one.open_client().info("replication") for one in (self.primary, self.replica))
        return replica["master_link_status"] == "up" and replica["slave_repl_offset"] == primary["master_repl_offset"]


@pytest.fixture(params=list(BINARIES))
def pair(request, tmp_path):
    binary = BINARIES[request.param]()
    with RedisServer(tmp_path / "a", binary) as first, RedisServer(tmp_path / "b", binary) as second:
        second.follow(first)
        with TcpProxy(first.port) as proxy:
            yield Pair(proxy, first, second)


def test_a_demoted_server_says_nothing_about_the_durability_of_its_successor(pair):
    """The successor may lose its last writes, as long as it has a replica that may take over."""

    async def go():
        store = AsyncStore.open(pair.url, "p")
        assert not await StoreHealth(store).find_durable_process()
        pair.fail_over()
        wait_until(lambda: pair.primary.open_client().info("replication")["connected_slaves"] == 1)
        # The old connection is open, and reads on it succeed.
        for server in (pair.primary, pair.replica):
            server.open_client().config_set("appendonly", "yes")
            server.open_client().config_set("appendfsync", "always")
        durable = await StoreHealth(store).find_durable_process()
        await store.aclose()
        return durable

    assert asyncio.run(go()) == ""


def create(run_id):
    return CreateRun(run_id, SPEC)


def use_many_connections(store):
    """Let the pool of the store have several connections to the present server."""
    threads = [
        threading.Thread(target=lambda: [store.run(ReadRun("none")) for _ in range(20)], daemon=True) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("at_once", [1, 3])
def test_a_process_of_threads_writes_again_at_once(pair, at_once):
    store = Store.open(pair.url, "p")
    use_many_connections(store)
    for failover in range(2):
        pair.fail_over()
        with limit_time(10):
            made = store.run_all([create(f"{failover}-{number}") for number in range(at_once)])
        assert [one.new for one in made] == [True] * at_once
    assert len(list(pair.primary.open_client().scan_iter("p:run:*"))) == 2 * at_once
    store.close()


def test_threads_that_write_through_a_failover_all_succeed(pair):
    store, errors = Store.open(pair.url, "p"), []
    is_over, counts = threading.Event(), [0] * 6

    def write(number):
        while not is_over.is_set():
            try:
                store.run(create(f"{number}-{counts[number]}"))
                counts[number] += 1
            except StoreUnavailableError as error:
                errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    pair.fail_over()
    before = list(counts)
    deadline = time.monotonic() + 10
    while not all(now > was + 3 for now, was in zip(counts, before, strict=True)):
        if time.monotonic() > deadline:
            raise TimeoutError(errors)
        time.sleep(0.02)
    failed = len(errors)
    time.sleep(0.3)
    is_over.set()
    for thread in threads:
        thread.join()
    assert len(errors) == failed, "no call fails after each thread has written once"
    store.close()


def test_a_loop_writes_again_at_once(pair):
    async def go():
        store = AsyncStore.open(pair.url, "p")
        await asyncio.gather(*(store.run(ReadRun("none")) for _ in range(200)))
        made = []
        for failover in range(2):
            await asyncio.to_thread(pair.fail_over)
            async with asyncio.timeout(10):
                made.append(await store.run(create(f"alone-{failover}")))
                made += await asyncio.gather(*(store.run(create(f"{failover}-{number}")) for number in range(120)))
        await store.aclose()
        return made

    assert all(one.new for one in asyncio.run(go()))
    assert len(list(pair.primary.open_client().scan_iter("p:run:*"))) == 242


@pytest.mark.long
def test_a_server_that_was_cut_off_is_left_within_ten_seconds(pair):
    """Freeze the primary: its connections stay open, and nothing ever answers on them."""
    store = Store.open(pair.url, "p")
    use_many_connections(store)
    pair.primary.pause()
    pair.replica.promote()
    pair._proxy.switch(pair.replica.port)
    with limit_time(10):
        assert store.run(create("r")).new
    store.close()
