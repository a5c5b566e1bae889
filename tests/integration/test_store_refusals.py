"""Test refusals that pass, as real servers make them: in single commands, scripts and pipelines, sync and async."""

from __future__ import annotations

import asyncio
import random
import threading
from contextlib import contextmanager, suppress

import pytest
import redis

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.store import AsyncStore, RunSpec, Store
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.runs import ReadOutcome
from tests.support.redis_servers import BINARIES, RedisServer, find_free_port, wait_until

SPEC = RunSpec(JobCreationRequest(targets=["https://a.example/1"]))


@pytest.fixture(params=list(BINARIES))
def server(request, tmp_path, options):
    with RedisServer(tmp_path / "a", BINARIES[request.param](), *options) as one:
        yield one


@pytest.fixture
def options():
    return ()


@contextmanager
def without_replicas(server):
    server.open_client().config_set("min-replicas-to-write", 1)
    yield
    server.open_client().config_set("min-replicas-to-write", 0)


@contextmanager
def with_failed_snapshot(server):
    client = server.open_client()
    # Nothing can replace a folder, also not as root.
    (server.folder / "dump.rdb").unlink(missing_ok=True)
    (server.folder / "dump.rdb" / "x").mkdir(parents=True)
    client.config_set("save", "900 1")
    with suppress(redis.ResponseError):
        client.bgsave()
    wait_until(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", hint="a failed snapshot")
    yield
    client.config_set("save", "")


@contextmanager
def without_memory(server):
    server.open_client().config_set("maxmemory", 1)
    yield
    server.open_client().config_set("maxmemory", 0)


@contextmanager
def as_replica(server):
    server.open_client().replicaof("127.0.0.1", str(find_free_port()))
    yield
    server.promote()


@contextmanager
def as_stale_replica(server):
    server.open_client().config_set("replica-serve-stale-data", "no")
    with as_replica(server):
        yield


@contextmanager
def while_busy(server):
    client = server.open_client()
    for name in ("lua-time-limit", "busy-reply-threshold"):
        with suppress(redis.ResponseError):
            client.config_set(name, 50)

    def spin():
        with suppress(redis.RedisError):
            redis.Redis(port=server.port, socket_timeout=60).eval("while true do end", 0)

    spinner = threading.Thread(target=spin)
    spinner.start()
    wait_until(lambda: _is_busy(server), hint="a busy server")
    yield
    client.script_kill()
    spinner.join()


def _is_busy(server):
    try:
        server.open_client().get("x")
    except redis.ResponseError as error:
        return "BUSY" in str(error)
    return False


REFUSALS = {
    "NOREPLICAS": without_replicas,
    "MISCONF": with_failed_snapshot,
    "OOM": without_memory,
    "READONLY": as_replica,
    "MASTERDOWN": as_stale_replica,
    "BUSY": while_busy,
}


def create(name):
    return CreateRun(name, SPEC)


def read_errors(url, make=create):
    """Return the errors of all ways in which the package sends the commands that `make` returns."""
    store, errors = Store.open(url, "p"), []
    for command in (lambda: store.run(make("a")), lambda: store.run_all([make("b"), make("c")])):
        with pytest.raises(StoreUnavailableError) as caught:
            command()
        errors.append(caught.value)
    store.close()

    async def go():
        store = AsyncStore.open(url, "p")
        alone = await asyncio.gather(store.run(make("d")), return_exceptions=True)
        batch = await asyncio.gather(*(store.run(make(f"e{n}")) for n in range(5)), return_exceptions=True)
        await store.aclose()
        return alone + batch

    return errors + asyncio.run(go())


@pytest.mark.parametrize("reason", list(REFUSALS))
def test_a_refusal_that_passes_is_the_store_s_error_with_its_reason(server, reason):
    store = Store.open(server.url, "p")
    with REFUSALS[reason](server):
        errors = read_errors(server.url)
        assert [type(error) for error in errors] == [StoreUnavailableError] * 8
        assert {error.reason for error in errors} == {reason}
        assert all(reason in str(error) for error in errors)
    assert store.run(create("later")).new
    assert store.client.exists("p:run:a", "p:run:b", "p:run:d", "p:run:e0") == 0
    store.close()


@pytest.mark.parametrize("reason", ["MASTERDOWN", "BUSY"])
def test_a_plain_command_is_refused_with_its_reason_too(server, reason):
    assert ReadOutcome.script == "", "a plain command, or this test shows nothing"
    with REFUSALS[reason](server):
        assert {error.reason for error in read_errors(server.url, ReadOutcome)} == {reason}


@pytest.mark.parametrize("options", [("--cluster-enabled", "yes")])
def test_a_cluster_without_slots_says_so(server):
    assert {error.reason for error in read_errors(server.url, ReadOutcome)} == {"CLUSTERDOWN"}


#: Options that make a server slow to load, and answer meanwhile.
SLOW = {
    "valkey": ("--key-load-delay", "120000", "--loading-process-events-interval-bytes", "1024"),
    "redis-6.2": ("--key-load-delay", "120000"),
}


@pytest.mark.long
@pytest.mark.parametrize("name", list(BINARIES))
def test_a_server_that_reads_its_file_says_so(name, tmp_path):
    with RedisServer(tmp_path, BINARIES[name](), "--auto-aof-rewrite-percentage", "0", *SLOW[name]) as server:
        client = server.open_client()
        # Redis 6.2 answers after every two megabytes of its file, and the file is compressed.
        for number in range(130):
            client.set(f"k{number}", random.randbytes(1_000_000))
        client.bgrewriteaof()
        wait_until(lambda: not client.info("persistence")["aof_rewrite_in_progress"], hint="a new file")
        server.kill()
        starting = threading.Thread(target=server.restart)
        starting.start()
        store = Store.open(server.url, "p", timeout=4)
        wait_until(lambda: "Loading RDB" in (tmp_path / "server.log").read_text(), hint="a server that loads")
        with pytest.raises(StoreUnavailableError) as caught:
            store.run(create("now"))
        starting.join()
        assert caught.value.reason == "LOADING"
        assert store.run(create("later")).new
        store.close()
