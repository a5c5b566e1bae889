"""Test the result backend `rpc://`: an outcome reaches its own caller, with RabbitMQ and with Redis as the broker."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from rabbitmq_node import RabbitMQNode
from redis_servers import BINARIES, RedisServer
from tcp_proxies import TcpProxy
from time_limits import check_time

TIMEOUT, SLACK = 1.0, 4.0
#: A caller waits for results in each way. Its name makes its pages.
CALLER = """
import json, sys
from celery import chain
from celery.result import AsyncResult
from app_with_rpc import app, outcome
from scrape_do_celery import JobFailedError, enqueue
from scrape_do_celery.tasks import scrape

name, found = sys.argv[1], {}
url = f"https://{name}.example/"
waiting = [scrape.delay([f"{url}{number}"]) for number in range(3)]
run = enqueue([f"{url}enqueued"])
failing = scrape.delay([f"{url}?sandbox=error"])
following = chain(scrape.s([f"{url}chain"]), outcome.s())()
print("called", flush=True)
found["ids"] = [one.get(timeout=100)["run_id"] == one.id for one in waiting]
found["enqueued"] = AsyncResult(run.run_id).get(timeout=100)["outcome"]
found["chain"] = following.get(timeout=100)
try:
    failing.get(timeout=100)
except JobFailedError as error:
    found["error"] = error.job.status
print(json.dumps(found))
"""
RIGHT = {"ids": [True] * 3, "enqueued": "succeeded", "chain": "succeeded", "error": "error"}


class Caller:
    """A process that calls and waits. `told` waits for its results."""

    def __init__(self, pipeline, environment, name):
        self._errors = pipeline.folder / f"{name}.errors"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-c", CALLER, name],
                env={**pipeline.environment, **environment},
                cwd=pipeline.folder,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def wait_until_called(self):
        assert self._process.stdout.readline() == "called\n", self._errors.read_text()

    def told(self):
        # `communicate` would lose what `readline` has read ahead. The caller's own timeouts end it.
        with self._process.stdout as output:
            out = output.read()
        assert self._process.wait(150) == 0, self._errors.read_text()
        return json.loads(out.splitlines()[-1])


@pytest.fixture
def rabbit(tmp_path):
    (tmp_path / "rabbit").mkdir()
    with RabbitMQNode(tmp_path / "rabbit") as node:
        yield node


def check_two_callers(pipeline, broker_url, *, again):
    """Let two processes wait at once. With `again`, replace the worker while they wait."""
    environment = {"SHOP_BROKER": broker_url}
    worker = pipeline.work(app="app_with_rpc", **environment)
    callers = [Caller(pipeline, environment, name) for name in ("first", "second")]
    for caller in callers:
        caller.wait_until_called()
    if again:
        worker.kill()
        worker.wait(20)
        pipeline.work(app="app_with_rpc", **environment)
    assert [caller.told() for caller in callers] == [RIGHT] * 2
    assert pipeline.posts() == 12


@pytest.mark.long
@pytest.mark.parametrize("again", [False, True], ids=["one worker", "a killed worker"])
@pytest.mark.parametrize("binary", BINARIES)
def test_callers_get_their_results_with_redis(pipeline, tmp_path, binary, again):
    with RedisServer(tmp_path / "broker", BINARIES[binary]()) as server:
        check_two_callers(pipeline, f"redis://127.0.0.1:{server.port}/1", again=again)


@pytest.mark.rabbitmq
@pytest.mark.parametrize("again", [False, True], ids=["one worker", "a killed worker"])
def test_callers_get_their_results_with_rabbitmq(pipeline, rabbit, again):
    check_two_callers(pipeline, rabbit.url, again=again)


#: A process without a connection to the broker calls in each way, and tells how long each call took.
TIMED = '''
import json, time
from app_with_rpc import app
from scrape_do_celery import enqueue
from scrape_do_celery.tasks import scrape

URLS = ["https://a.example/"]

def with_the_pool():
    """Publish as a canvas of Celery does."""
    with app.producer_or_acquire() as producer:
        scrape.apply_async((URLS,), producer=producer)

found = []
for call in (lambda: scrape.delay(URLS), lambda: enqueue(URLS), with_the_pool):
    began = time.monotonic()
    call()
    found.append(time.monotonic() - began)
print(json.dumps(found))
'''


def check_silence(pipeline, server_port, url):
    """Call beside a silent broker. A worker that starts later buys each run once, and delivers it."""
    pipeline.values["publish_timeout"] = TIMEOUT
    with TcpProxy(server_port) as proxy:
        environment = {"SHOP_BROKER": url.format(port=proxy.port)}
        proxy.silence()
        done = pipeline.run_code(TIMED, patience=60, **environment)
        done.check_returncode()
        check_time(max(json.loads(done.stdout)), TIMEOUT + SLACK)
        assert "could not publish" in done.stderr
        runs = [key for key in pipeline.stored_keys() if key.startswith(f"{pipeline.prefix}:run:")]
        assert len(runs) == 3
        proxy.cut()
        proxy.speak()
        pipeline.work(app="app_with_rpc", **environment)
        for key in runs:
            assert len(pipeline.handle(key.rpartition(":")[2]).result(timeout=100).tasks) == 1
    assert pipeline.posts() == 3


@pytest.mark.long
@pytest.mark.parametrize("binary", BINARIES)
def test_calls_do_not_wait_for_a_silent_redis(pipeline, tmp_path, binary):
    with RedisServer(tmp_path / "broker", BINARIES[binary]()) as server:
        check_silence(pipeline, server.port, "redis://127.0.0.1:{port}/1")


@pytest.mark.rabbitmq
def test_calls_do_not_wait_for_a_silent_rabbitmq(pipeline, rabbit):
    check_silence(pipeline, int(rabbit.url.rpartition(":")[2].strip("/")), "amqp://guest:guest@127.0.0.1:{port}//")
