"""Test `meta` and `dedupe` with real workers: each input gets its own entry, and no bystander sees the data."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from urllib.parse import urlsplit

import pytest
import redis
from tcp_proxies import TcpProxy

from scrape_do_celery import IdempotencyConflictError, JobFailedError, Target, retry_failed

#: No other test writes this: the tests of a process share a store, and most of them without encryption.
PRIVATE = "meta-that-only-its-caller-reads"
PLAIN = "meta-in-a-plain-store"
SHOP, BAD = "https://shop.example/", "https://shop.example/bad?sandbox=error"


class RecordingProxy(TcpProxy):
    """A proxy that keeps each byte which passes it."""

    def __init__(self, target):
        self.seen = bytearray()
        super().__init__(target)

    async def _copy(self, reader, writer):
        with_copy = asyncio.StreamReader()

        async def tee():
            while data := await reader.read(65_536):
                self.seen += data
                with_copy.feed_data(data)
            with_copy.feed_eof()

        await asyncio.gather(tee(), super()._copy(with_copy, writer))


def dump_database(url):
    """Return every value of a database, as clients read it."""
    readers = {b"hash": "hgetall", b"string": "get", b"list": None, b"zset": None, b"set": "smembers"}
    found = []
    with redis.Redis.from_url(url) as client:
        for key in client.scan_iter():
            kind = client.type(key)
            if kind in {b"list", b"zset"}:
                found.append(client.lrange(key, 0, -1) if kind == b"list" else client.zrange(key, 0, -1))
            elif kind in readers:
                found.append(getattr(client, readers[kind])(key))
    return repr(found)


@pytest.fixture
def private(pipeline, sandbox):
    """Return a pipeline with an encryption key, databases of its own, and a record of each byte to the API."""
    server = pipeline.values["redis_url"].rpartition("/")[0]
    with RecordingProxy(urlsplit(sandbox.url).port) as proxy:
        pipeline.proxy = proxy
        pipeline.values |= {
            "broker_url": f"{server}/9",
            "result_backend": f"{server}/10",
            "encryption_key": base64.b64encode(os.urandom(32)).decode(),
            "api_url": f"http://127.0.0.1:{proxy.port}",
        }
        yield pipeline


def test_each_input_gets_its_entry_and_nobody_else_its_meta(private, sandbox):
    inputs = [
        Target(f"{SHOP}1", {"sku": PRIVATE, "n": 0}),
        Target(BAD, {"sku": PRIVATE, "n": 1}),
        f"{SHOP}2",
        Target(f"{SHOP}1", {"sku": PRIVATE, "n": 3}),
        Target(BAD, {"sku": PRIVATE, "n": 4}),
    ]
    expected = [(one.url, one.meta) if isinstance(one, Target) else (one, None) for one in inputs]
    private.work("-E")
    handle = private.enqueue(inputs, dedupe=True, idempotency_key="k")
    result = handle.result(timeout=150)
    assert [(task.url, task.meta) for task in result.tasks] == expected
    assert [task.is_success for task in result.tasks] == [True, False, True, True, False]
    assert result.order_verified
    assert [(task.url, task.meta) for task in handle.iter_tasks()] == expected
    assert [task["Meta"] for task in json.loads(result.model_dump_json(by_alias=True))["tasks"]] == [
        meta for _, meta in expected
    ]
    status = handle.status
    assert (status.total, status.done, status.failed) == (3, 2, 1)
    assert result.cost == sum({task.task_id: task.cost or 0 for task in result.tasks}.values())

    with pytest.raises(IdempotencyConflictError, match="differ in meta"):
        private.enqueue([Target(url, 1) for url, _ in expected], dedupe=True, idempotency_key="k")
    again = retry_failed(handle.run_id, settings=private.settings)
    assert again.lineage == (handle.run_id, again.run_id)
    with pytest.raises(JobFailedError) as failed:
        again.result(timeout=150)
    assert PRIVATE not in repr(failed.value.args)
    assert [(task.url, task.meta) for task in again.iter_tasks()] == [expected[1], expected[4]]
    merged = handle.merged()
    assert [(entry.task.url, entry.task.meta) for entry in merged.entries] == expected
    assert [entry.run_id for entry in merged.missing] == [again.run_id] * 2
    assert [sorted(entry["targets"]) for entry in sandbox.log() if entry["kind"] == "create_job"] == [
        sorted([f"{SHOP}1", BAD, f"{SHOP}2"]),
        [BAD],
    ]

    shown = private.run_tool("result", handle.run_id, "--out", str(private.folder / "pages"))
    assert f'{{"sku": "{PRIVATE}", "n": 3}}' in shown.stdout
    metas = [json.loads(path.read_text()) for path in (private.folder / "pages").glob("*.meta.json")]
    assert sorted(meta["n"] for meta in metas) == [0, 3]

    assert b"POST /api/v1/jobs" in private.proxy.seen
    assert PRIVATE.encode() not in private.proxy.seen
    assert PRIVATE not in json.dumps(sandbox.log())
    for name in ("redis_url", "broker_url", "result_backend"):
        assert PRIVATE not in dump_database(private.values[name])
    assert PRIVATE not in private.log.read_text()


def test_callback_reads_meta_through_its_handle(pipeline, eventually):
    pipeline.work(app="app_with_tasks")
    callback = pipeline.app.signature("user.metas", queue=pipeline.prefix)
    handle = pipeline.enqueue([Target(f"{SHOP}1", {"sku": PLAIN}), f"{SHOP}2"], on_success=callback)
    small = pipeline.app.AsyncResult(handle.run_id).get(timeout=150)
    assert PLAIN not in json.dumps(small)
    backend = pipeline.app.backend.client
    (found,) = eventually(lambda: backend.lrange(f"{pipeline.prefix}:metas", 0, -1))
    assert json.loads(found) == [{"sku": PLAIN}, None]
    backend.delete(f"{pipeline.prefix}:metas")


def test_step_called_by_name_takes_objects(pipeline):
    """A producer without this package sends JSON only."""
    pipeline.work()
    request = {"targets": [{"url": f"{SHOP}1", "meta": {"n": 1}}, {"url": f"{SHOP}1"}], "dedupe": True}
    called = pipeline.app.send_task("scrape_do.scrape", kwargs=request, queue=pipeline.prefix)
    assert called.get(timeout=150)["counts"]["total"] == 1
    assert [task.meta for task in pipeline.handle(called.id).iter_tasks()] == [{"n": 1}, None]
