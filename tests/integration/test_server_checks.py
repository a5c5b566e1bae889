"""Test the checks of the store's server against servers that are silent, or refuse: same errors, same deadlines."""

from __future__ import annotations

import asyncio

import pytest

from scrape_do_celery.diagnostics import check_store
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.findings import WRONG
from scrape_do_celery.server_checks import find_eviction, read_info
from scrape_do_celery.steps.store_health import BUY_BELOW, StoreHealth
from scrape_do_celery.store import AsyncStore, PartId, Store
from scrape_do_celery.store.plain_values import find_plain_runs
from scrape_do_celery.store.register import find_neighbours, register_store
from scrape_do_celery.store.scans import (
    count_parts_by_account,
    list_due_entries,
    read_waiting_part,
)
from scrape_do_celery.store.server_kinds import refuse_unfit_server
from scrape_do_celery.store.token_refusals import find_refusals
from tests.support.redis_servers import BINARIES, RedisServer, wait_until
from tests.support.tcp_proxies import TcpProxy
from tests.support.time_limits import limit_time

#: Seconds of a call, and seconds within which a check that makes one call ends.
LIMIT, SLACK = 0.75, 1.0
#: Name -> a search of keys or a register; a replica without its primary refuses them.
SEARCHES = {
    "refused tokens": lambda store: list(find_refusals(store)),
    "accounts": lambda store: count_parts_by_account(store, 10),
    "due entries": lambda store: list(list_due_entries(store)),
    "waiting part": lambda store: read_waiting_part(store, PartId("r", 0)),
    "neighbours": lambda store: find_neighbours(store, ["a"]),
    "register": lambda store: register_store(store, ["a"]),
    "plain values": lambda store: find_plain_runs(store, 1000),
}
FACTS = {
    "info": read_info,
    "eviction": find_eviction,
    "kind": refuse_unfit_server,
}


async def _is_healthy(url, ask):
    store = AsyncStore.open(url, "p", timeout=LIMIT)
    try:
        return await ask(StoreHealth(store))
    finally:
        await store.aclose()


HEALTH = {
    "memory": lambda health: health.is_below(BUY_BELOW),
    "durability": lambda health: health.find_durable_process(),
}


@pytest.fixture(scope="module", params=BINARIES)
def server(request, tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("server"), BINARIES[request.param]()) as one:
        yield one


@pytest.fixture
def silent(server):
    """Return the URL of a server that accepts and never answers."""
    with TcpProxy(server.port) as proxy:
        proxy.silence()
        yield f"redis://127.0.0.1:{proxy.port}/0"


@pytest.mark.parametrize("check", {**SEARCHES, **FACTS}.values(), ids={**SEARCHES, **FACTS})
def test_check_of_a_silent_server_ends_in_time(silent, check):
    store = Store.open(silent, "p", timeout=LIMIT)
    with limit_time(LIMIT + SLACK), pytest.raises(StoreUnavailableError, match=r"the store at redis://127\.0\.0\.1"):
        check(store)
    (found,) = check_store(store)
    assert found.level == WRONG
    assert "does not answer" in found.text
    store.close()


@pytest.mark.parametrize("ask", HEALTH.values(), ids=HEALTH)
def test_health_of_a_silent_server_ends_in_time(silent, ask):
    # The second of two attempts may begin just before the end.
    with limit_time(2 * LIMIT + SLACK), pytest.raises(StoreUnavailableError):
        asyncio.run(_is_healthy(silent, ask))


@pytest.fixture(scope="module")
def stale(server, tmp_path_factory):
    """Return the URL of a replica that has lost its primary, and answers no reads."""
    folder = tmp_path_factory.mktemp("replica")
    with RedisServer(folder, server._binary) as one:
        client = one.open_client()
        client.config_set("replica-serve-stale-data", "no")
        client.replicaof("127.0.0.1", "1")
        wait_until(lambda: client.info("replication")["master_link_status"] == "down")
        yield one.url


@pytest.mark.parametrize("check", SEARCHES.values(), ids=SEARCHES)
def test_refused_search_names_the_reason(stale, check):
    store = Store.open(stale, "p", timeout=LIMIT)
    with pytest.raises(StoreUnavailableError) as caught:
        check(store)
    assert caught.value.reason == "MASTERDOWN"
    store.close()


@pytest.mark.parametrize("check", {**SEARCHES, **FACTS}.values(), ids={**SEARCHES, **FACTS})
def test_check_reaches_the_successor_of_a_server_that_was_cut_off(server, check):
    with TcpProxy(server.port) as proxy:
        store = Store.open(f"redis://127.0.0.1:{proxy.port}/0", "p", timeout=10.0)
        check(store)
        proxy.cut()
        check(store)
        store.close()
