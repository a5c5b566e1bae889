"""Test that the token is stored nowhere, and that headers, cookies and body are in the run's record only."""

from __future__ import annotations

import base64
import json
import logging
import time
import uuid

import pytest
import redis
from flower_process import BrokerCapture, FlowerProcess
from pipeline import TOKEN

from scrape_do_celery import AsyncAPIBadRequestError, JobFailedError, scheduled_run
from scrape_do_celery.store.codec import unpack_bytes

HEADER, COOKIE, BODY = "header-that-is-private", "cookie-that-is-private", "body-that-is-private"


def everything(url):
    """Return every value of a database by key, unpacked if it is packed."""
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
    return [key, *map(readable, found)]


def readable(value):
    """Return a value in readable form: packed values unpacked, decoded Base64 appended."""
    if value[:1] in (b"\x00", b"\x01"):
        return unpack_bytes(value)
    try:
        return value + base64.b64decode(json.loads(value)["body"])
    except (ValueError, KeyError, TypeError):
        return value


@pytest.fixture
def watched(pipeline):
    """Return a pipeline with its own broker and results, so that each of them can be read."""
    server = pipeline.values["redis_url"].rpartition("/")[0]
    pipeline.values |= {
        "broker_url": f"{server}/9",
        "result_backend": f"{server}/10",
        "credentials": json.dumps({"shop": {"headers": {"X-Mine": HEADER}}, "till": {"set_cookies": f"a={COOKIE}"}}),
    }
    return pipeline


def bare_message(pipeline, **kwargs):
    """Send the smallest message of a producer in another language. Return the Celery id of its outcome."""
    task_id = str(uuid.uuid4())
    headers = {"task": "scrape_do.scrape", "id": task_id}
    with pipeline.app.producer_pool.acquire() as app_context:
        app_context.publish([[], kwargs, {}], routing_key=pipeline.settings.queue, serializer="json", headers=headers)
    return task_id


def run_everything(pipeline):
    """Start runs that succeed and fail, in every way."""
    request = {"headers": {"X-Mine": HEADER}, "method": "POST", "body": BODY}
    # Targets that differ from those before: purchases of equal targets would wait for each other.
    pages = ([f"https://a.example/{n}"] for n in range(100))
    bad = ([f"https://a.example/{n}?sandbox=error"] for n in range(100))
    entry = scheduled_run("prices", 60, next(pages), credentials="till")
    queue = pipeline.settings.queue

    def send(step, /, **kwargs):
        """Send a step as a producer without this package does."""
        return pipeline.app.send_task(step, kwargs=kwargs, queue=queue)

    ids = [
        pipeline.enqueue(next(pages), **request).run_id,
        pipeline.enqueue(next(pages), set_cookies=f"a={COOKIE}").run_id,
        pipeline.scrape(targets=next(pages), headers={"X-Mine": HEADER}).id,
        send("scrape_do.scrape", targets=next(pages), credentials="shop").id,
        send("scrape_do.scrape", targets=next(pages), **request).id,
        bare_message(pipeline, targets=next(pages), **request),
        send(entry["task"], **entry["kwargs"]).get(timeout=150),
    ]
    failing = [
        pipeline.enqueue(next(bad), **request).run_id,
        send("scrape_do.scrape", targets=next(bad), credentials="till").id,
    ]
    echo = json.dumps({"Error": f"bad request: {HEADER} {BODY}", "Code": 400})
    pipeline.sandbox.fault("status", kind="create_job", target="refused.example", status=400, body=echo)
    refused = pipeline.enqueue(["https://refused.example/"], **request)
    wrong = send("scrape_do.scrape", targets=next(pages), output="x", **request)
    with pytest.raises(ValueError, match="output"):
        wrong.get(timeout=150)
    for run_id in (*ids, *failing):
        # The record of a run that starts by message exists a moment later.
        pipeline.app.AsyncResult(run_id).get(timeout=150, propagate=False)
    for run_id in ids:
        pipeline.handle(run_id).result(timeout=150)
    for run_id in failing:
        with pytest.raises(JobFailedError) as caught:
            pipeline.handle(run_id).result(timeout=150)
        assert HEADER not in repr(caught.value) + str(caught.value.args)
    with pytest.raises(AsyncAPIBadRequestError, match=r"\*\*\* \*\*\*"):
        refused.result(timeout=150)
    return [*ids, *failing, refused.run_id, wrong.id]


def seen(pipeline, flower, wire, caplog):
    """Return all texts that were logged, shown or stored, by their source."""
    settings = pipeline.settings
    pages = ["/api/tasks", "/api/workers?refresh=1", "/api/task/types", "/metrics", "/broker", "/workers"]
    found = {page: flower.text(page).encode() for page in pages}
    assert all(found.values())
    found |= {"worker's log": pipeline.log.read_bytes(), "flower's log": flower.log.read_bytes()}
    found |= {"client's log": caplog.text.encode(), "events": b"\n".join(wire.heard)}
    mine = {k: v for k, v in everything(settings.redis_url).items() if k.startswith(pipeline.prefix.encode())}
    assert mine
    return found | everything(settings.broker_url) | everything(settings.result_backend) | mine


def places(found, secret):
    return {place for place, text in found.items() if secret.encode() in text}


def test_nothing_private_is_seen(watched, caplog):
    caplog.set_level(logging.DEBUG)
    watched.sandbox.fault("status", kind="get_job", status=401, body=f'{{"Error":"bad {TOKEN}","Code":401}}', times=1)
    with FlowerProcess(watched) as flower, BrokerCapture(watched.settings.broker_url) as wire:
        watched.work("-l", "DEBUG", "-E")
        ids = run_everything(watched)
        deadline = time.monotonic() + 60
        while not all(flower.task(run_id).get("state") in {"SUCCESS", "FAILURE"} for run_id in ids):
            if time.monotonic() > deadline:
                raise TimeoutError(flower.tasks())
            time.sleep(0.05)
        found = seen(watched, flower, wire, caplog)
        assert {event["type"] for event in wire.events()} >= {"task-received", "task-succeeded", "task-failed"}
    assert b"POST" in found["worker's log"]
    assert places(found, TOKEN) == set()
    for secret in (HEADER, COOKIE, BODY):
        where = places(found, secret)
        assert where
        assert all(isinstance(place, bytes) and b":run:" in place for place in where), (secret, where)
    assert TOKEN not in repr(watched.settings) + str(watched.settings)
