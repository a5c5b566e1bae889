"""Test callers in Django, with its real transactions, against a store that goes silent or holds other requests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.redis_servers import BINARIES, RedisServer
from tests.support.time_limits import check_time

#: Seconds of the setting in these tests, and seconds within which a call that has this time must end.
LIMIT, SLACK = 1.0, 1.5
CALLERS = 50

PROJECT = f"""
import asyncio, json, sys, threading, time
from contextlib import suppress
import django
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from tests.support.tcp_proxies import TcpProxy
proxy = TcpProxy(int(sys.argv[1]))
settings.configure(
    INSTALLED_APPS=["scrape_do_celery.contrib.django"],
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": sys.argv[2]}}}},
    SCRAPE_DO={{
        "REDIS_URL": f"redis://127.0.0.1:{{proxy.port}}/0",
        "BROKER_URL": "memory://",
        "STORE_TIMEOUT": {LIMIT},
        "MIRROR": True,
    }},
    USE_TZ=True,
)
django.setup()
from django.core.management import call_command
from django.db import transaction
from scrape_do_celery import RunHandle, aenqueue, aenqueue_many, enqueue, enqueue_many
from scrape_do_celery.contrib.django.models import ScrapeRun
from scrape_do_celery.errors import IdempotencyConflictError, RunNotFoundError, StoreUnavailableError
call_command("migrate", verbosity=0)
URL = "https://a.example/"
found = {{}}
def is_written(handle):
    with suppress(RunNotFoundError):
        return bool(handle.state)
    return False
"""


@pytest.fixture(params=list(BINARIES))
def server(request, tmp_path):
    with RedisServer(tmp_path / "a", BINARIES[request.param]()) as one:
        yield one


def run_project(server, script):
    """Return what a script in a Django project has found."""
    root, text = Path(__file__).parents[2], f"{PROJECT}\n{script}\nprint(json.dumps(found))"
    done = subprocess.run(
        [sys.executable, "-c", text, str(server.port), server.folder / "db"],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", str(root / "src")), str(root)])},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout.splitlines()[-1]), "said": done.stderr}


SILENT = f"""
async def call_all(**options):
    began = time.monotonic()
    calls = (aenqueue([f"https://{{n}}.example/"], **{{name: value + str(n) for name, value in options.items()}})
             for n in range({CALLERS}))
    answers = await asyncio.gather(*calls, return_exceptions=True)
    return answers, time.monotonic() - began
async def ask_database():
    longest = 0.0
    while True:
        began = time.monotonic()
        await ScrapeRun.objects.afirst()
        longest = found["query"] = max(longest, time.monotonic() - began)
        await asyncio.sleep(0.01)
async def go():
    meter = asyncio.ensure_future(ask_database())
    answers, took = await call_all()
    meter.cancel()
    return answers, took
async_to_sync(call_all)()
proxy.silence()
answers, found["took"] = async_to_sync(go)()
found["answers"] = sorted({{type(answer).__name__ for answer in answers}})
found["ids"] = all(answer.run_id for answer in answers)
with transaction.atomic():
    answers, found["took in a transaction"] = async_to_sync(call_all)(idempotency_key="key")
found["answers in a transaction"] = sorted({{type(answer).__name__ for answer in answers}})
"""


def test_callers_of_a_silent_store_wait_for_the_store_and_not_for_each_other(server):
    found = run_project(server, SILENT)
    assert found["answers"] == found["answers in a transaction"] == ["StoreUnavailableError"]
    assert found["ids"]
    for calls in ("took", "took in a transaction"):
        check_time(found[calls], LIMIT + SLACK, f"one by one, {CALLERS} callers take {CALLERS} times the setting")
    check_time(found["query"], LIMIT, "a query of the application needs the thread that all callers share")


TRANSACTIONS = """
async def start(n, **options):
    return await aenqueue([f"{URL}{n}"], **options)
async def start_many(n, **options):
    return (await aenqueue_many([[f"{URL}{n}"]] * 2, **options))[1]
for name, call in {"one": start, "many": start_many}.items():
    with suppress(KeyError), transaction.atomic():
        gone = async_to_sync(call)(name)
        raise KeyError
    with transaction.atomic():
        with suppress(KeyError), transaction.atomic():
            inner = async_to_sync(call)(name)
            raise KeyError
        kept = async_to_sync(call)(name)
        before = is_written(kept)
    found[name] = [is_written(gone), is_written(inner), before, is_written(kept)]
async def start_and_read():
    handle = await start("free")
    return [await ScrapeRun.objects.filter(run_id=handle.run_id).aexists(), is_written(handle)]
found["without a transaction"] = async_to_sync(start_and_read)()

async def end_while_a_call_waits(*ending):
    # No program should open a transaction like this. Here it stands for any task that ends the transaction meanwhile.
    atomic = transaction.atomic()
    await sync_to_async(atomic.__enter__)()
    proxy.silence()
    waiting = asyncio.ensure_future(start("waits", idempotency_key=f"key {ending}"))
    await asyncio.sleep(0.2)
    await sync_to_async(atomic.__exit__)(*ending)
    proxy.speak()
    return await sync_to_async(is_written)(await waiting)
found["committed meanwhile"] = async_to_sync(end_while_a_call_waits)(None, None, None)
found["rolled back meanwhile"] = async_to_sync(end_while_a_call_waits)(KeyError, KeyError(), None)
"""


def test_run_of_an_async_caller_shares_the_fate_of_its_transaction(server):
    found = run_project(server, TRANSACTIONS)
    assert found["one"] == found["many"] == [False, False, False, True]
    assert found["without a transaction"] == [True, True], "the caller reads the row that its own call has written"
    assert found["committed meanwhile"]
    assert not found["rolled back meanwhile"]


LATE = """
called = []
proxy.silence()
try:
    with transaction.atomic():
        row = ScrapeRun.objects.create(run_id="mine", state="queued", created="2026-01-01T00:00:00Z")
        handle = enqueue([URL])
        transaction.on_commit(lambda: called.append(1))
except StoreUnavailableError as error:
    found["named"] = error.run_id == handle.run_id
found["row"], found["called"] = ScrapeRun.objects.filter(run_id="mine").exists(), called
proxy.speak()
found["same"] = enqueue([URL], run_id=handle.run_id) == handle
found["written"] = is_written(handle)
"""


def test_store_that_is_silent_at_the_commit_leaves_the_rows_and_names_the_run(server):
    found = run_project(server, LATE)
    assert found["named"]
    assert found["row"]
    assert found["called"] == []
    assert found["same"]
    assert found["written"]


REPEATS = """
def refuse(call, *args, **options):
    try:
        with transaction.atomic():
            call(*args, **options)
    except IdempotencyConflictError as error:
        return [error.run_id, list(error.fields)]
async def start(urls, **options):
    return await aenqueue(urls, **options)
first = enqueue([URL], run_id="order-1")
found["enqueue"] = refuse(enqueue, [URL], run_id="order-1", geo_code="us")
found["enqueue_many"] = refuse(enqueue_many, [[URL], [URL]], run_ids=["new", "order-1"], geo_code="us")
found["aenqueue"] = refuse(async_to_sync(start), [URL], run_id="order-1", geo_code="us")
found["with a key"] = refuse(enqueue, [URL], run_id="order-1", geo_code="us", idempotency_key="k")
with transaction.atomic():
    found["same"] = enqueue([URL], run_id="order-1") == first
first.cancel()
proxy.silence()
with suppress(KeyError), transaction.atomic():
    began = time.monotonic()
    enqueue([URL], run_id="order-2", geo_code="us")
    found["look at a silent store"] = time.monotonic() - began
    raise KeyError
with transaction.atomic():
    later = enqueue([URL], run_id="order-1", geo_code="us")
    proxy.speak()
found["state"] = first.state.value
found["new"] = is_written(RunHandle("new")) or is_written(RunHandle("order-2"))
"""


def test_repeat_with_another_request_is_refused_at_the_call_and_not_at_the_commit(server):
    found = run_project(server, REPEATS)
    refused = ["order-1", ["geo_code"]]
    assert [found[way] for way in ("enqueue", "enqueue_many", "aenqueue", "with a key")] == [refused] * 4
    assert found["same"]
    check_time(found["look at a silent store"], LIMIT + SLACK, "the caller goes on, and the commit decides")
    assert "the id belongs to run order-1, with another request: the requests differ in geo_code" in found["said"]
    assert not found["new"]
