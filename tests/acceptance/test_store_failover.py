"""Test store failovers, refusals and bad URLs under real workers, web processes and a real beat message."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from pipeline import Pipeline

from scrape_do_celery import scheduled_run
from tests.support.redis_servers import BINARIES, RedisServer
from tests.support.tcp_proxies import TcpProxy
from tests.support.time_limits import check_time
from tests.support.web_processes import WebProcess

TARGET = ["https://a.example/1"]


@pytest.fixture
def broker(tmp_path):
    with RedisServer(tmp_path / "broker") as server:
        yield server.url


@pytest.mark.long
@pytest.mark.parametrize("name", list(BINARIES))
def test_every_process_serves_again_within_ten_seconds_of_a_failover(name, broker, sandbox, tmp_path, eventually):
    binary = BINARIES[name]()
    with (
        RedisServer(tmp_path / "a", binary) as first,
        RedisServer(tmp_path / "b", binary) as second,
        TcpProxy(first.port) as proxy,
    ):
        second.follow(first)
        url = f"redis://127.0.0.1:{proxy.port}/0"
        servers = {"broker_url": broker, "result_backend": broker.removesuffix("0") + "1"}
        with Pipeline(url, sandbox, tmp_path, "failover", **servers) as pipeline, WebProcess(pipeline) as web:
            pipeline.work()
            before, _ = web.enqueue("before")
            assert before.result(timeout=60).succeeded
            running = pipeline.enqueue(["https://a.example/2?seconds=3"])
            eventually(lambda: running.state == "running")
            second.promote()
            first.follow(second)
            proxy.switch(second.port)
            began = time.monotonic()
            after, took = web.enqueue("after")
            check_time(took, 10)
            assert len(after.result(timeout=60).succeeded) == 1
            check_time(time.monotonic() - began, 20, "worker and dispatcher need 10 s at most, and the job a moment")
            assert len(running.result(timeout=60).succeeded) == 1
            assert pipeline.posts() == 3


@pytest.mark.long
@pytest.mark.parametrize("name", list(BINARIES))
def test_steps_of_callers_wait_for_a_store_that_refuses_for_now(name, broker, sandbox, tmp_path, eventually):
    """Send `scrape` by name and a tick of beat while the store refuses writes: both are requeued, and none is lost."""
    servers = {"broker_url": broker, "result_backend": broker.removesuffix("0") + "1"}
    with (
        RedisServer(tmp_path / "a", BINARIES[name]()) as store,
        Pipeline(store.url, sandbox, tmp_path, "refusals", **servers) as pipeline,
    ):
        pipeline.work()
        store.open_client().config_set("min-replicas-to-write", 1)
        by_name = pipeline.app.send_task("scrape_do.scrape", kwargs={"targets": TARGET}, queue="refusals")
        entry = scheduled_run("nightly", 60.0, ["https://a.example/2"])
        tick = {**entry["kwargs"], "tick": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}
        pipeline.app.send_task(entry["task"], kwargs=tick, queue="refusals")
        eventually(lambda: "a pass of the dispatcher failed" in pipeline.log.read_text())
        time.sleep(3)
        assert not by_name.ready()
        assert pipeline.posts() == 0
        log = pipeline.log.read_text()
        line = next(line for line in log.splitlines() if "a pass of the dispatcher failed" in line)
        assert "NOREPLICAS Not enough good replicas to write" in line
        assert "raised unexpected" not in log
        store.open_client().config_set("min-replicas-to-write", 0)
        assert by_name.get(timeout=60)
        eventually(lambda: pipeline.posts() == 2)


@pytest.mark.parametrize(
    ("parameter", "named"), [("tls=true", "tls"), ("socket_timeout=5s", "socket_timeout"), ("retry=3", "retry")]
)
def test_worker_with_a_wrong_parameter_of_the_store_ends_with_its_name(server_url, sandbox, tmp_path, parameter, named):
    with Pipeline(server_url, sandbox, tmp_path, "parameters") as pipeline:
        pipeline.values["redis_url"] = f"{server_url}?{parameter}"
        worker = pipeline.work()
        assert worker.wait(30) != 0
        assert f"SCRAPE_DO_REDIS_URL: has a parameter {named} that redis-py does not take" in pipeline.log.read_text()


@pytest.mark.parametrize("name", ["start", "_start_dispatcher"])
def test_worker_whose_start_raises_anything_ends_with_the_reason(pipeline, name):
    """Let a function of the start raise, in the worker's own process."""
    (pipeline.folder / "broken_app.py").write_text(
        "from scrape_do_celery.worker import app, lifecycle\n"
        "def fail(*_):\n"
        "    raise LookupError('no such thing')\n"
        f"lifecycle.{name} = fail\n"
    )
    worker = pipeline.work(app="broken_app", PYTHONPATH=f"{pipeline.folder}:{pipeline.environment['PYTHONPATH']}")
    assert worker.wait(30) != 0
    assert "no such thing" in pipeline.log.read_text()
