"""Test a broker that accepts connections and never answers: producers and dispatchers go on without it."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import pytest
from rabbitmq_node import RabbitMQNode
from redis_servers import BINARIES, RedisServer
from tcp_proxies import TcpProxy
from time_limits import check_time

from scrape_do_celery.store import DEADLINE
from scrape_do_celery.store.commands.runs import ReadRun

#: The deadline of a publication. A loaded machine may take as long again for all else that a call does.
TIMEOUT, SLACK = 1.0, 4.0
#: A process without a connection to the broker, which enqueues three runs and tells how long each call took.
SCRIPT = """
import json, time
from scrape_do_celery import enqueue
from scrape_do_celery.tasks import scrape
found = []
for call in (enqueue, enqueue, scrape.delay):
    began = time.monotonic()
    run_id = str(getattr(call(["https://a.example/"]), "run_id", ""))
    found.append(time.monotonic() - began)
print(json.dumps(found))
"""


@pytest.fixture(params=BINARIES)
def redis_broker(request, tmp_path):
    with RedisServer(tmp_path / "broker", BINARIES[request.param]()) as server, TcpProxy(server.port) as proxy:
        proxy.url = f"redis://127.0.0.1:{proxy.port}/1"
        yield proxy


@pytest.fixture
def rabbit_broker(tmp_path):
    (tmp_path / "rabbit").mkdir()
    with RabbitMQNode(tmp_path / "rabbit") as node, TcpProxy(int(node.url.rpartition(":")[2].strip("/"))) as proxy:
        proxy.url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
        yield proxy


def configure(pipeline, broker):
    pipeline.values |= {"broker_url": broker.url, "publish_timeout": TIMEOUT}


def enqueue_timed(pipeline, url):
    began = time.monotonic()
    return pipeline.enqueue([url]), time.monotonic() - began


def check_enqueue(pipeline, broker, eventually):
    """Enqueue over open connections to a broker that falls silent. The late messages and the dispatcher's buy once."""
    configure(pipeline, broker)
    handles = [pipeline.enqueue(["https://first.example/"])]
    broker.silence()
    for number in range(5):
        handle, seconds = enqueue_timed(pipeline, f"https://{number}.example/")
        handles.append(handle)
        check_time(seconds, TIMEOUT + SLACK)
    broker.speak()
    pipeline.work()
    assert [len(handle.result(timeout=100).tasks) for handle in handles] == [1] * 6
    assert pipeline.posts() == 6
    # The broker answers again: a message is enough, and no dispatcher must find the run.
    eventually(lambda: pipeline.app_context.publish("scrape_do.aggregate_run", ["nobody"]))


@pytest.mark.long
def test_enqueue_does_not_wait_for_a_silent_redis(pipeline, redis_broker, eventually):
    check_enqueue(pipeline, redis_broker, eventually)


@pytest.mark.rabbitmq
def test_enqueue_does_not_wait_for_a_silent_rabbitmq(pipeline, rabbit_broker, eventually):
    check_enqueue(pipeline, rabbit_broker, eventually)


def check_new_process(pipeline, broker):
    configure(pipeline, broker)
    broker.silence()
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=pipeline.environment, capture_output=True, text=True, timeout=60, check=True
    )
    first, *others = json.loads(done.stdout)
    check_time(first, TIMEOUT + SLACK)
    check_time(max(others), TIMEOUT, "others do not wait for the same silence")
    assert "could not publish" in done.stderr


def test_a_new_process_does_not_wait_for_a_silent_redis(pipeline, redis_broker):
    check_new_process(pipeline, redis_broker)


@pytest.mark.rabbitmq
def test_a_new_process_does_not_wait_for_a_silent_rabbitmq(pipeline, rabbit_broker):
    check_new_process(pipeline, rabbit_broker)


def check_dispatcher(pipeline, broker, eventually):
    """Silence the broker of a working worker. Its dispatcher goes on to act on the store, and then publishes all."""
    configure(pipeline, broker)
    # With its heartbeat, any Celery worker waits for the broker as often as its policy of retries says.
    worker = pipeline.work("--without-heartbeat")
    pipeline.enqueue(["https://first.example/"]).result(timeout=60)
    broker.silence()
    waiting = [pipeline.enqueue([f"https://{number}.example/"]) for number in range(3)]
    ending = pipeline.enqueue(["https://late.example/"], max_wait=0.5)
    store = pipeline.app_context.store
    eventually(lambda: store.run(ReadRun(ending.run_id)).stop_reason == DEADLINE, within=30)
    if broker.url.startswith("redis"):
        # RabbitMQ without publisher confirms answers no publication, so a message may vanish unnoticed.
        eventually(lambda: "the broker did not answer" in pipeline.log.read_text())
    broker.cut()
    broker.speak()
    assert [len(handle.result(timeout=100).tasks) for handle in waiting] == [1] * 3
    assert pipeline.posts() == 4
    return worker


@pytest.mark.long
def test_a_dispatcher_goes_on_beside_a_silent_redis(pipeline, redis_broker, eventually):
    worker = check_dispatcher(pipeline, redis_broker, eventually)
    redis_broker.silence()
    pipeline.enqueue(["https://last.example/"])
    time.sleep(TIMEOUT)
    worker.terminate()
    assert worker.wait(60) == 0


@pytest.mark.rabbitmq
def test_a_dispatcher_goes_on_beside_a_silent_rabbitmq(pipeline, rabbit_broker, eventually):
    check_dispatcher(pipeline, rabbit_broker, eventually)
