"""Test workers that start while the store is away: they check it before they consume the first step message."""

from __future__ import annotations

import pytest
from pipeline import Pipeline

from tests.support.redis_servers import BINARIES, RedisServer

URLS = ["https://a.example/"]
WAITS = "consumes no scrapes until it has checked the store"
#: A user of Redis without a right that steps need.
LIMITED = ("--user", "limited", "on", ">secret", "~*", "&*", "+@all", "-zadd")


@pytest.fixture
def make_late(request, server_url, sandbox, tmp_path):
    """Return a function that makes a pipeline whose store is a server of its own, which is down."""
    made = []

    def make(binary, *options, user=""):
        server = RedisServer(tmp_path / "store", BINARIES[binary](), "--appendfsync", "always", *options)
        made.append(server)
        server.kill()
        others = server_url.rpartition("/")[0]
        urls = {"broker_url": f"{others}/11", "result_backend": f"{others}/12", "store_timeout": 1}
        prefix = f"late{server.port}"
        pipeline = Pipeline(f"redis://{user}127.0.0.1:{server.port}/0", sandbox, tmp_path, prefix, **urls)
        made.append(pipeline)
        return server, pipeline

    yield make
    for one in reversed(made):
        one.__exit__()


@pytest.mark.long
@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_worker_serves_once_the_store_has_passed(make_late, eventually, binary, pool):
    server, pipeline = make_late(binary)
    pipeline.work(pool=pool)
    assert WAITS in pipeline.log.read_text()
    server.restart()
    eventually(lambda: "the store answers; this worker consumes the queue" in pipeline.log.read_text())
    assert len(pipeline.enqueue(URLS).result(timeout=60).tasks) == 1


@pytest.mark.long
@pytest.mark.parametrize("binary", BINARIES)
@pytest.mark.parametrize(
    ("options", "user", "fault"),
    [
        (LIMITED, "limited:secret@", "the store's user lacks rights"),
        (("--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru"), "", "maxmemory-policy is volatile-lru"),
    ],
    ids=["rights", "eviction"],
)
def test_worker_ends_if_the_store_cannot_be_used(make_late, binary, options, user, fault):
    server, pipeline = make_late(binary, *options, user=user)
    worker = pipeline.work()
    assert WAITS in pipeline.log.read_text()
    server.restart()
    assert worker.wait(60) == 1
    assert fault in pipeline.log.read_text()
    assert "this worker ends" in pipeline.log.read_text()
    assert pipeline.posts() == 0
