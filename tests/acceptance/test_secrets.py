"""The token is nowhere; a request's headers, cookies and body are in its run's record and nowhere else."""

from __future__ import annotations

import pytest
import redis
from pipeline import TOKEN

from scrape_do_celery import JobFailedError
from scrape_do_celery.store.codec import unpack_bytes

HEADER, COOKIE, BODY = "header-that-is-private", "cookie-that-is-private", "body-that-is-private"
GOOD, BAD = "https://a.example/", "https://a.example/?sandbox=error"


def everything(url):
    """Every value of a database by key, unpacked where it is packed."""
    with redis.Redis.from_url(url) as client:
        return {key: b" ".join(values(client, key)) for key in client.scan_iter()}


def values(client, key):
    kind = client.type(key)
    if kind == b"hash":
        found = [part for pair in client.hgetall(key).items() for part in pair]
    elif kind == b"string":
        found = [client.get(key)]
    elif kind == b"list":
        found = client.lrange(key, 0, -1)
    else:
        found = client.zrange(key, 0, -1) if kind == b"zset" else client.smembers(key)
    return [key, *(unpack_bytes(value) if value[:1] in (b"\x00", b"\x01") else value for value in found)]


def test_nothing_private_is_seen(pipeline):
    pipeline.work("-l", "DEBUG", "-E")
    pipeline.sandbox.fault("status", kind="get_job", status=401, body=f'{{"Error":"bad {TOKEN}","Code":401}}', times=1)
    runs = [
        pipeline.enqueue([GOOD], headers={"X-Mine": HEADER}, method="POST", body=BODY),
        pipeline.enqueue([GOOD], set_cookies=f"a={COOKIE}"),
        pipeline.enqueue([BAD], headers={"X-Mine": HEADER}),
    ]
    runs[0].result(timeout=150)
    runs[1].result(timeout=150)
    with pytest.raises(JobFailedError) as caught:
        runs[2].result(timeout=150)
    assert HEADER not in repr(caught.value) + str(caught.value.args)
    pipeline.scrape(targets=[GOOD], headers={"X-Mine": HEADER}).get(timeout=150)

    log = pipeline.log.read_bytes()
    assert b"POST" in log
    settings = pipeline.settings
    broker, backend = everything(settings.broker_url), everything(settings.result_backend)
    store = everything(settings.redis_url)
    mine = {key: value for key, value in store.items() if key.startswith(pipeline.prefix.encode())}
    assert mine
    for place, text in {"log": log, **broker, **backend, **mine}.items():
        assert TOKEN.encode() not in text, place
    for secret in (HEADER, COOKIE, BODY):
        seen = {place for place, text in {"log": log, **broker, **backend, **mine}.items() if secret.encode() in text}
        assert seen
        assert all(isinstance(place, bytes) and b":run:" in place for place in seen), seen
    assert TOKEN not in repr(settings) + str(settings)
