"""Test encryption: Redis holds no readable request or page, and a worker without the key loses nothing."""

from __future__ import annotations

import base64
import os

import pytest
import redis

from scrape_do_celery import EncryptionKeyError, JobFailedError

OLD, NEW = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
COOKIE, PAGE = "cookie-that-is-private", "https://a.example/path-that-is-private"


def raw(url, prefix=""):
    """Return every byte of a database: the output of `DUMP`, and each value as a client reads it."""
    with redis.Redis.from_url(url) as client:
        found = []
        for key in client.scan_iter(f"{prefix}*"):
            kind = client.type(key)
            found.append(key)
            if kind == b"hash":
                found += [one for pair in client.hgetall(key).items() for one in pair]
            elif kind == b"string":
                found.append(client.get(key))
            elif kind in {b"zset", b"set"}:
                found += client.zrange(key, 0, -1) if kind == b"zset" else list(client.smembers(key))
            elif kind == b"list":
                found += client.lrange(key, 0, -1)
        return b"\n".join(found)


@pytest.fixture
def encrypted(pipeline):
    """Return a pipeline with an encryption key, and its own broker and results."""
    server = pipeline.values["redis_url"].rpartition("/")[0]
    pipeline.values |= {"broker_url": f"{server}/7", "result_backend": f"{server}/8", "encryption_key": OLD}
    return pipeline


def doctor(pipeline):
    done = pipeline.run_tool("doctor")
    return done.stdout + done.stderr


def test_wrong_key_buys_nothing_and_keys_can_be_rotated(encrypted, eventually):
    run_id = encrypted.enqueue([PAGE], set_cookies=f"a={COOKIE}").run_id

    encrypted.values["encryption_key"] = NEW
    wrong = encrypted.work()
    assert "runs of the store are encrypted with key" in encrypted.log.read_text()
    assert "runs of the store are encrypted with key" in doctor(encrypted)
    eventually(lambda: "runs wait for a worker with another encryption key" in encrypted.log.read_text())
    assert encrypted.posts() == 0
    assert encrypted.handle(run_id).state == "queued"
    wrong.terminate()
    wrong.wait(20)

    # Put the new key first. The old key still decrypts.
    encrypted.values["encryption_key"] = f"{NEW},{OLD}"
    encrypted.work()
    result = encrypted.handle(run_id).result(timeout=150)
    assert [task.url for task in result.tasks] == [PAGE]
    assert result.tasks[0].decoded_content()
    assert encrypted.app.AsyncResult(run_id).get(timeout=60)["outcome"] == "succeeded"
    newer = encrypted.enqueue([PAGE, f"{PAGE}?2"], set_cookies=f"b={COOKIE}")
    assert len(newer.result(timeout=150).tasks) == 2
    failed = encrypted.enqueue([f"{PAGE}?sandbox=error"], set_cookies=f"c={COOKIE}", raise_on_task_failure=True)
    with pytest.raises(JobFailedError):
        failed.result(timeout=150)
    with pytest.raises(JobFailedError):
        encrypted.app.AsyncResult(failed.run_id).get(timeout=60)
    assert encrypted.posts() == 3

    store = raw(encrypted.settings.redis_url, encrypted.prefix)
    for text in (COOKIE, "path-that-is-private", "a.example", "<html"):
        assert text.encode() not in store
    others = raw(encrypted.settings.broker_url) + raw(encrypted.settings.result_backend) + encrypted.log.read_bytes()
    for text in (COOKIE, OLD, NEW):
        assert text.encode() not in store + others

    encrypted.values["encryption_key"] = NEW
    assert len(encrypted.handle(newer.run_id).result().tasks) == 2
    with pytest.raises(EncryptionKeyError, match="Add that key"):
        encrypted.handle(run_id).result()
    encrypted.values["encryption_key"] = f"{NEW},{OLD}"
    assert len(encrypted.handle(run_id).result().tasks) == 1
