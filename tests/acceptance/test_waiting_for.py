"""Test that a status says what a run waits for, with a real worker, a real store and an API that refuses."""

from __future__ import annotations

import os
import signal
import socket

import pytest
from pipeline import TOKEN, Pipeline
from redis_servers import BINARIES, RedisServer
from tcp_proxies import TcpProxy

from scrape_do_celery import ResultNotReadyError, embedded
from scrape_do_celery.rules.waits import BUY_BELOW, WaitKind

URL = "https://shop.example/1"


def kind_of(handle):
    waiting_for = handle.status.waiting_for
    return None if waiting_for is None else waiting_for.kind


def test_a_run_without_a_worker_says_so_until_one_starts(pipeline, eventually):
    handle = pipeline.enqueue([URL])
    # A server that was just started does not know for 30 seconds whether a worker serves it.
    eventually(lambda: kind_of(handle) is WaitKind.NO_WORKER)
    with pytest.raises(ResultNotReadyError, match="it waits: no worker has served the store") as caught:
        handle.result(timeout=0)
    assert caught.value.waiting_for == handle.status.to_json()["waiting_for"]
    pipeline.work()
    handle.result(timeout=60)
    assert handle.status.waiting_for is None


@pytest.mark.long
def test_a_worker_that_died_is_missed(pipeline, eventually):
    worker = pipeline.work()
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait(20)
    handle = pipeline.enqueue([URL])
    eventually(lambda: kind_of(handle) is WaitKind.NO_WORKER, within=90)
    pipeline.work()
    handle.result(timeout=90)


@pytest.mark.long
def test_a_worker_that_consumes_another_queue_does_not_count(pipeline, eventually):
    pipeline.work("-Q", f"{pipeline.prefix}-other")
    handle = pipeline.enqueue([URL])
    eventually(lambda: kind_of(handle) is WaitKind.STEP_NOT_TAKEN, within=90)
    pipeline.work()
    handle.result(timeout=90)


@pytest.mark.long
def test_a_store_that_was_just_restarted_misses_no_worker(tmp_path, sandbox, eventually):
    """Lose the lease of the worker with the restart: the worker renews it only after seconds."""
    with (
        embedded.ensure(tmp_path / "own", tie_to_parent=True) as server,
        Pipeline(server.url, sandbox, tmp_path, "young") as pipeline,
    ):
        pipeline.work(supervised=True)
        handle = pipeline.enqueue([f"{URL}?seconds=600"])
        eventually(lambda: handle.state == "running")
        store = pipeline.app_context.store
        server.restart()
        eventually(lambda: store.client.delete(store.keys.namespace_owner) is not None)
        assert kind_of(handle) is not WaitKind.NO_WORKER
        eventually(lambda: store.client.exists(store.keys.namespace_owner), within=60)
        assert kind_of(handle) is not WaitKind.NO_WORKER


def test_a_wrong_token_is_named_to_every_reader(pipeline, sandbox, eventually):
    """Read the status also in a process that has no token, and of a run that no step has tried to buy."""
    sandbox.configure(token="another-token")
    pipeline.work()
    first = pipeline.enqueue([URL])
    eventually(lambda: kind_of(first) is WaitKind.TOKEN_REFUSED)
    second = pipeline.enqueue([f"{URL}?n=2"])
    del pipeline.values["api_key"]
    for handle in (pipeline.handle(first.run_id), pipeline.handle(second.run_id)):
        waiting_for = eventually(lambda handle=handle: handle.status.waiting_for)
        assert waiting_for.kind is WaitKind.TOKEN_REFUSED
        assert waiting_for.since is not None
        assert "check SCRAPE_DO_API_KEY" in waiting_for.text
        assert TOKEN not in waiting_for.text
        assert handle.status.to_json()["error"] is None
    sandbox.configure(token=TOKEN)
    for handle in (first, second):
        handle.result(timeout=90)
    assert pipeline.posts() == 2


def test_an_api_that_cannot_be_reached_is_named_with_its_error(server_url, sandbox, tmp_path, eventually):
    with (
        TcpProxy(1) as proxy,
        Pipeline(server_url, sandbox, tmp_path, "away", api_url=f"http://127.0.0.1:{proxy.port}") as pipeline,
    ):
        pipeline.work()
        handle = pipeline.enqueue([URL])
        eventually(lambda: kind_of(handle) is WaitKind.API_UNREACHABLE, within=90)
        waiting_for = handle.status.waiting_for
        assert "Error" in waiting_for.text
        # Further failed calls do not change the time of the first.
        attempts = proxy.accepted
        eventually(lambda: proxy.accepted > attempts + 1)
        again = eventually(lambda: handle.status.waiting_for)
        assert (again.kind, again.since) == (WaitKind.API_UNREACHABLE, waiting_for.since)
        proxy.switch(int(sandbox.url.rpartition(":")[2]))
        handle.result(timeout=90)
        assert pipeline.posts() == 1


@pytest.mark.long
def test_a_dead_proxy_is_named_to_every_reader(pipeline, eventually):
    """Give the proxy a password, which nothing may show."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        place = f"127.0.0.1:{listener.getsockname()[1]}"
    pipeline.values["proxy"] = f"http://worker:password-of-proxy@{place}"
    pipeline.work()
    handle, through = pipeline.enqueue([URL]), f"no answer through the proxy {place}: "
    waiting_for = eventually(lambda: handle.status.waiting_for)
    assert (waiting_for.kind, through in waiting_for.text) == (WaitKind.API_UNREACHABLE, True)
    log, told = pipeline.log.read_text(), pipeline.run_tool("doctor").stdout
    assert through in log
    (line,) = [line for line in told.splitlines() if "the API at" in line]
    assert line.startswith("wrong    SCRAPE_DO_PROXY: the API at ")
    assert (line.count(place), through in line) == (1, True)
    assert "password-of-proxy" not in log + told + waiting_for.text


def test_a_429_is_named_with_its_end(pipeline, sandbox, eventually):
    sandbox.fault("status", kind="create_job", status=429, retry_after=600)
    pipeline.work()
    handle = pipeline.enqueue([URL])
    eventually(lambda: kind_of(handle) is WaitKind.RATE_LIMITED)
    other = pipeline.enqueue([f"{URL}?n=2"])
    for one in (handle, other):
        waiting_for = eventually(lambda one=one: one.status.waiting_for)
        assert waiting_for.kind is WaitKind.RATE_LIMITED
        assert 0 < (waiting_for.until - one.status.created).total_seconds() <= 660
        assert f"until {waiting_for.until:%H:%M:%S} UTC" in waiting_for.text


def test_a_run_in_line_counts_the_runs_before_it(server_url, sandbox, tmp_path, eventually):
    with Pipeline(server_url, sandbox, tmp_path, "line", max_active_jobs=1) as pipeline:
        pipeline.work()
        first = pipeline.enqueue([f"{URL}?seconds=600"])
        eventually(lambda: first.state == "running")
        waiting = []
        for number in range(2):
            waiting.append(pipeline.enqueue([f"{URL}?n={number}"]))
            eventually(lambda: kind_of(waiting[-1]) is WaitKind.IN_LINE)
        found = [handle.status.waiting_for for handle in waiting]
        assert [one.ahead for one in found] == [0, 1]
        assert found[0].since < found[1].since
        assert first.status.waiting_for is None
        first.cancel()
        for handle in waiting:
            handle.result(timeout=90)
            assert handle.status.waiting_for is None


@pytest.mark.parametrize("binary", BINARIES)
def test_a_full_store_is_named(tmp_path, sandbox, eventually, binary):
    with (
        RedisServer(tmp_path / "server", BINARIES[binary](), "--maxmemory-policy", "noeviction") as server,
        Pipeline(server.url, sandbox, tmp_path, "full") as pipeline,
    ):
        pipeline.work()
        client = server.open_client()
        used = int(client.info("memory")["used_memory"])
        client.config_set("maxmemory", int(used / (BUY_BELOW + 0.08)))
        handle = pipeline.enqueue([URL])
        eventually(lambda: kind_of(handle) is WaitKind.STORE_FULL)
        assert "no job is bought until less is used" in handle.status.waiting_for.text
        assert pipeline.posts() == 0
        client.config_set("maxmemory", 0)
        handle.result(timeout=90)


def test_a_purchase_in_doubt_is_named(pipeline, sandbox, eventually):
    sandbox.fault("reset_after", kind="create_job", times=1)
    sandbox.fault("list_lag", seconds=600)
    pipeline.work()
    handle = pipeline.enqueue([URL])
    eventually(lambda: kind_of(handle) is WaitKind.RECONCILING)
    waiting_for = handle.status.waiting_for
    assert "a job may have been bought since" in waiting_for.text
    assert waiting_for.since >= handle.status.created
    sandbox.clear_faults()
    handle.result(timeout=90)
    assert pipeline.posts() == 1


def test_equal_targets_wait_for_each_other(pipeline, sandbox, eventually):
    sandbox.fault("slow", kind="create_job", seconds=2, times=1)
    pipeline.work()
    handles = [pipeline.enqueue([URL]), pipeline.enqueue([URL])]
    eventually(lambda: WaitKind.SAME_TARGETS in {kind_of(handle) for handle in handles})
    for handle in handles:
        handle.result(timeout=90)
    assert pipeline.posts() == 2


def test_a_status_costs_one_command_and_writes_nothing(pipeline):
    """Compare the commands that clients sent to the server, without the commands inside scripts."""
    handle, client = pipeline.enqueue([URL]), pipeline.app_context.store.client
    assert handle.status.state == "queued"
    before = client.info("commandstats")
    handle.status  # noqa: B018 (the property reads the store)
    after = client.info("commandstats")
    calls = {name: after[name]["calls"] - before.get(name, {"calls": 0})["calls"] for name in after}
    assert calls["cmdstat_evalsha"] == 1
    assert not {"cmdstat_hset", "cmdstat_set", "cmdstat_zadd", "cmdstat_hdel"} & {n for n, c in calls.items() if c}
