"""Test stores behind real sentinels: failovers, silent and wrong sentinels, users of servers and of sentinels."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import uuid

import pytest

from scrape_do_celery import Settings
from scrape_do_celery.config.celery import celery_config
from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.findings import WARNING
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.sentinel_checks import check_failover
from scrape_do_celery.store import AsyncStore, PartId, PartState, RunSpec, Store
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.parts import ClaimPart
from scrape_do_celery.store.commands.purchases import WriteIntent
from scrape_do_celery.store.commands.runs import ReadRun
from scrape_do_celery.store.register import StorePlace, find_neighbours, register_store
from scrape_do_celery.store.server_kinds import refuse_unfit_server
from tests.support.redis_servers import BINARIES, RedisServer, SentinelGroup, wait_until
from tests.support.tcp_proxies import TcpProxy
from tests.support.time_limits import check_time, limit_time

SPEC = RunSpec(JobCreationRequest(targets=["https://a.example/1"]))
PASSWORD, SENTINEL_PASSWORD = "password-of-servers", "password-of-sentinels"


@pytest.fixture(params=list(BINARIES))
def group(request, tmp_path):
    with SentinelGroup(tmp_path / "group", BINARIES[request.param]()) as one:
        yield one


def url_of(group, **parameters):
    query = "&".join(f"{name}={value}" for name, value in {"master_name": group.name, **parameters}.items())
    return f"{group.url()}?{query}"


def create(run_id):
    return CreateRun(run_id, SPEC)


def fail_over(group, how):
    """Replace the primary, which is killed, frozen or demoted. Return it when all agree on the next one."""
    old = group.primary
    if how == "switched":
        # An operator may switch only after the failover timeout.
        wait_until(lambda: group.sentinels[0].open_client().execute_command("SENTINEL", "FAILOVER", group.name), 30)
    else:
        old.kill() if how == "killed" else old.pause()
    wait_until(lambda: group.primary is not old and group.primary.role == "master", 60.0, "a new primary")
    return old


@pytest.mark.long
@pytest.mark.parametrize("how", ["killed", "frozen", "switched"])
def test_threads_and_loops_write_again_within_ten_seconds(group, how):
    store, errors, is_over, counts = Store.open(url_of(group), "p"), [], threading.Event(), [0] * 4

    def write(number):
        while not is_over.is_set():
            try:
                store.run(create(f"{number}-{counts[number]}"))
                counts[number] += 1
                time.sleep(0.01)
            except StoreUnavailableError as error:
                errors.append(error)

    async def write_in_loop():
        loop_store = AsyncStore.open(url_of(group), "p")
        await asyncio.gather(*(loop_store.run(ReadRun("none")) for _ in range(100)))
        old = await asyncio.to_thread(fail_over, group, how)
        began, before = time.monotonic(), list(counts)
        while True:
            try:
                made = [await loop_store.run(create(uuid.uuid4().hex)) for _ in range(3)]
                break
            except StoreUnavailableError as error:
                errors.append(error)
        check_time(time.monotonic() - began, 10, f"{errors}")
        while not all(now > was + 3 for now, was in zip(counts, before, strict=True)):
            check_time(time.monotonic() - began, 10, f"{errors}")
            await asyncio.sleep(0.02)
        await loop_store.aclose()
        return old, made

    threads = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    old, made = asyncio.run(write_in_loop())
    time.sleep(1)  # a pool in use asks for its primary four times a second
    last = [f"{number}-{count}" for number, count in enumerate(counts)]
    failed = len(errors)
    time.sleep(0.5)
    is_over.set()
    for thread in threads:
        thread.join()
    assert all(one.new for one in made)
    assert len(errors) == failed, errors[failed:]
    client = group.primary.open_client()
    assert all(client.exists(f"p:run:{run_id}") for run_id in last), "these writes reached the new primary"
    store.close()
    old.resume()


def test_stores_of_one_account_notice_each_other_from_any_database(group):
    stores = [Store.open(url_of(group).replace("/0", f"/{database}"), "p") for database in (0, 3)]
    for store in stores:
        register_store(store, ["account"])
    assert find_neighbours(stores[0], ["account"]) == [StorePlace(3, "p")]
    assert find_neighbours(stores[1], ["account"]) == [StorePlace(0, "p")]
    for store in stores:
        store.close()


def test_a_fork_makes_connections_of_its_own(group):
    store = Store.open(url_of(group), "p")
    assert store.run(create("parent")).new
    if (child := os.fork()) == 0:
        os._exit(0 if store.run(create("child")).new else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert store.run(create("parent again")).new
    store.close()


def test_a_silent_sentinel_and_a_dead_one_delay_no_call_for_long(group):
    with TcpProxy(group.sentinels[0].port) as proxy:
        proxy.silence()
        nodes = (
            f"sentinel://127.0.0.1:{proxy.port};sentinel://127.0.0.1:1;sentinel://127.0.0.1:{group.sentinels[1].port}"
        )
        store = Store.open(f"{nodes}/0?master_name={group.name}", "p")
        with limit_time(4):
            assert store.run(create("r")).new
        with limit_time(1, "the sentinel that answered is asked first"):
            assert store.run(create("s")).new

        async def write():
            loop_store = AsyncStore.open(f"{nodes}/0?master_name={group.name}", "p")
            made = await loop_store.run(create("t"))
            await loop_store.aclose()
            return made

        with limit_time(4):
            assert asyncio.run(write()).new
        store.close()


def test_silent_sentinels_do_not_slow_a_pool_that_has_its_primary(group):
    with TcpProxy(group.sentinels[0].port) as proxy:
        store = Store.open(f"sentinel://127.0.0.1:{proxy.port}/0?master_name={group.name}", "p")
        assert store.run(create("0")).new
        proxy.silence()
        time.sleep(1.1)
        with limit_time(3):
            assert all(store.run(create(f"{number}")).new for number in range(1, 5))
        store.close()


def test_an_error_names_the_primary_and_each_sentinel(group):
    url = url_of(group)
    store = Store.open(url, "p", timeout=4)
    for server in group.servers:
        server.kill()
    wait_until(lambda: group.sentinels[0].open_client().sentinel_master(group.name)["is_sdown"], 30)
    with pytest.raises(StoreUnavailableError, match=f"no primary for {group.name}.*calls it down") as caught:
        store.run(create("r"))
    assert caught.value.reason == "MASTERNOTFOUND"
    assert not caught.value.was_sent, "nothing was sent, so nothing can be written"
    group.sentinels[2].kill()
    with pytest.raises(StoreUnavailableError, match=f"127.0.0.1:{group.sentinels[2].port} does not answer"):
        store.run(create("r"))
    store.close()


def test_a_wrong_name_is_explained(group):
    store = Store.open(url_of(group, master_name="other"), "p", timeout=4)
    with pytest.raises(ConfigurationError, match="watch no primary named other; they watch mymaster"):
        refuse_unfit_server(store)
    with pytest.raises(StoreUnavailableError, match="watch no primary named other; they watch mymaster"):
        store.run(create("r"))
    store.close()


def test_a_sentinel_in_place_of_a_server_and_the_reverse_are_explained(group):
    store = Store.open(group.sentinels[0].url, "p", timeout=4)
    with pytest.raises(ConfigurationError, match="names a sentinel as if it was a Redis server; write sentinel://"):
        refuse_unfit_server(store)
    store.close()
    server = f"127.0.0.1:{group.servers[0].port}"
    store = Store.open(f"sentinel://{server}/0?master_name=mymaster", "p", timeout=4)
    with pytest.raises(StoreUnavailableError, match=rf"{server} refuses \(ResponseError: unknown command"):
        store.run(create("r"))
    store.close()


def test_servers_and_sentinels_have_users_of_their_own(group):
    for server in group.servers:
        server.open_client().execute_command("ACL", "SETUSER", "store", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    for sentinel in group.sentinels:
        rules = ("on", f">{SENTINEL_PASSWORD}", "+@all")
        sentinel.open_client().execute_command("ACL", "SETUSER", "asker", *rules)
    nodes = group.url().replace("sentinel://", f"sentinel://store:{PASSWORD}@")
    url = f"{nodes}?master_name={group.name}&sentinel_username=asker&sentinel_password={SENTINEL_PASSWORD}"
    settings = Settings(redis_url=url)
    store = Store.open(url, "p")
    assert store.client.acl_whoami() == b"store" or store.client.acl_whoami() == "store"

    async def ask():
        loop_store = AsyncStore.open(url, "p")
        found = await loop_store.client.acl_whoami()
        users = {one["user"] for sentinel in group.sentinels for one in sentinel.open_client().client_list()}
        await loop_store.aclose()
        return found, users

    name, users = asyncio.run(ask())
    assert name in {b"store", "store"}
    assert "asker" in users
    for text in (repr(settings), str(settings), store.where):
        assert "password-of" not in text
    for wrong in (url.replace(PASSWORD, "wrong-password-of"), url.replace(SENTINEL_PASSWORD, "wrong-password-of")):
        refused = Store.open(wrong, "p", timeout=3)
        with pytest.raises(StoreUnavailableError) as caught:
            refused.run(create("r"))
        assert "password-of" not in str(caught.value)
        assert "WRONGPASS" in str(caught.value) or "invalid username-password" in str(caught.value)
        refused.close()
    config = celery_config(settings)
    options = config["broker_transport_options"]["sentinel_kwargs"]
    assert (options["username"], options["password"]) == ("asker", SENTINEL_PASSWORD)
    store.close()


def test_a_store_whose_primary_needs_no_replica_is_a_finding(group):
    store = Store.open(url_of(group), "p")
    (found,) = check_failover(store)
    assert found.level == WARNING
    assert "min-replicas-to-write is 0" in found.text
    group.primary.open_client().config_set("min-replicas-to-write", 1)
    assert list(check_failover(store)) == []
    store.close()


@pytest.mark.parametrize("binary", list(BINARIES))
def test_a_server_that_was_demoted_and_promoted_again_may_have_lost_an_intent(binary, tmp_path):
    """Let a replica miss the intent, take over for a moment, and give the store back to the same process."""
    with (
        RedisServer(tmp_path / "a", BINARIES[binary]()) as first,
        RedisServer(tmp_path / "b", BINARIES[binary]()) as second,
    ):
        second.follow(first)
        store = Store.open(first.url, "p")
        assert store.run(create("r")).new
        wait_until(lambda: second.open_client().exists("p:run:r"))
        second.promote()
        assert write_intent(store) == "ok"
        first.follow(second)
        first.promote()
        second.follow(first)
        assert store.client.hget("p:part:r:0", "state") == b"queued", "the intent is lost"
        assert write_intent(store) == "maybe_sent"
        store.close()


def write_intent(store):
    claim = store.run(ClaimPart(PartId("r", 0), uuid.uuid4().hex, seconds=30.0, states=PartState, account="a"))
    return store.run(WriteIntent(claim, "nonce", 30.0, account="a"))[0]
