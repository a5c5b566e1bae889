"""Test a multi-tenant application: callbacks and canvases run for the tenant that has started the run."""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys

import pytest

from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN

#: Two tenants call in turn from one process, in each way in which a run starts.
SCRIPT = """
import os
from celery import chain, chord, group
from app_with_tenants import REQUEST, TENANT, after, failed, pages, start
from scrape_do_celery import enqueue, enqueue_many
from scrape_do_celery.tasks import scrape

WAYS = os.environ["WAYS"].split()

def call(who, way):
    label = f"{who}-{way}"
    urls = [f"https://{label}.example/"]
    fails = [f"https://{label}.example/?sandbox=error"]
    if way == "enqueue":
        enqueue(urls, on_success=after.s(label))
    elif way == "failure":
        enqueue(fails, on_failure=failed.si(label=label))
    elif way == "many":
        enqueue_many([urls], on_success=after.s(label))
    elif way == "link":
        scrape.apply_async((urls,), link=after.s(label))
    elif way == "error":
        scrape.apply_async((fails,), link_error=failed.si(label=label))
    elif way == "chain":
        chain(pages.s(label), scrape.s(), after.s(label))()
    elif way == "chord":
        chord([scrape.s(urls), scrape.s([*urls, "https://b.example/"])], after.s(label))()
    elif way == "group":
        chain(group(scrape.s(urls), scrape.s(["https://c.example/"])), after.s(label))()
    elif way == "shared":
        # The same key: the run of the first tenant has a waiter of each tenant.
        scrape.apply_async((["https://shared.example/"],), {"idempotency_key": "shared"}, link=after.s(label))
    elif way == "inside":
        start.delay(label)

for way in WAYS:
    for who in ("red", "blue"):
        TENANT.set(who)
        REQUEST.set(f"{who}-{way}-request")
        call(who, way)
TENANT.set("public")
"""
WAYS = ("enqueue", "failure", "many", "link", "error", "chain", "chord", "group", "shared", "inside")


@pytest.fixture
def shop(pipeline):
    broker, backend = pipeline.settings.broker_url, pipeline.settings.result_backend
    return {"SHOP_BROKER": broker[:-1] + "11", "SHOP_BACKEND": backend[:-1] + "12"}


def call(pipeline, environment, ways=WAYS):
    done = pipeline.run_code(SCRIPT, **environment, WAYS=" ".join(ways))
    assert done.returncode == 0, done.stderr


def read_notes(pipeline):
    lines = pipeline.app_context.store.client.lrange(f"{pipeline.prefix}:notes", 0, -1)
    return {tuple(json.loads(line)) for line in lines}


def expected(ways=WAYS):
    labels = {f"{who}-{way}": (who, f"{who}-{way}-request") for way in ways for who in ("red", "blue")}
    notes = {(label, *rest) for label, rest in labels.items()}
    return notes | {(f"{who}-chain before", who, f"{who}-chain-request") for who in ("red", "blue") if "chain" in ways}


@pytest.mark.long
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_callbacks_run_for_the_tenant_of_the_call(pipeline, shop, eventually, pool):
    pipeline.work(app="app_with_tenants", pool=pool, **shop)
    call(pipeline, shop)
    eventually(lambda: len(read_notes(pipeline)) >= len(expected()), within=90)
    assert read_notes(pipeline) == expected()


@pytest.mark.long
def test_a_lost_message_does_not_lose_the_tenant(pipeline, shop, eventually):
    """Lose the messages of calls. The dispatcher has no tenant, and starts and delivers the runs of each."""
    ways = ("enqueue", "link", "error")
    call(pipeline, {**shop, "SHOP_BROKER": shop["SHOP_BROKER"][:-2] + "13"}, ways)
    pipeline.work(app="app_with_tenants", **shop)
    eventually(lambda: len(read_notes(pipeline)) >= 6, within=60 + 2 * REDISPATCH_MIN)
    assert read_notes(pipeline) == expected(ways)


@pytest.fixture
def beat(pipeline, shop):
    """Start the beat of one tenant."""
    with (pipeline.folder / "beat.log").open("wb") as log:
        command = [sys.executable, "-m", "celery", "-A", "app_with_tenants", "beat", "--pidfile=", "-l", "INFO"]
        process = subprocess.Popen(
            [*command, "-s", str(pipeline.folder / "schedule")],
            env={**pipeline.environment, **shop, "WITH_SCHEDULE": "1", "OUTSIDE_TENANT": "green"},
            cwd=pipeline.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    yield process
    os.killpg(process.pid, signal.SIGTERM)
    process.wait(30)


@pytest.mark.long
@pytest.mark.usefixtures("beat")
def test_runs_of_beat_belong_to_the_tenant_of_beat(pipeline, shop, eventually):
    pipeline.work(app="app_with_tenants", **shop)
    eventually(lambda: {label for label, *_ in read_notes(pipeline)} == {"beat", "plain"})
    assert read_notes(pipeline) == {("beat", "green", "none"), ("plain", "green", "none")}


BY_NAME = """
import os
from celery import Celery, signature
from celery.signals import before_task_publish

@before_task_publish.connect(weak=False)
def add_tenant(headers, **_):
    # Some instrumentations write their headers twice.
    headers.update(tenant="red", request_no="by-name", headers={"trace-of-a-tool": "1"})

app = Celery("bare", broker=os.environ["SHOP_BROKER"], backend=os.environ["SHOP_BACKEND"])
queue = os.environ["SCRAPE_DO_QUEUE"]
link = signature("tenants.after", kwargs={"label": "bare"}, queue=queue)
app.send_task("scrape_do.scrape", args=[["https://a.example/"]], queue=queue, link=link)
"""


@pytest.mark.long
def test_a_producer_without_this_package_names_its_tenant(pipeline, shop, eventually):
    pipeline.work(app="app_with_tenants", **shop)
    subprocess.run(
        [sys.executable, "-c", BY_NAME],
        env={**pipeline.environment, **shop},
        timeout=60,
        check=True,
        cwd=pipeline.folder,
    )
    eventually(lambda: read_notes(pipeline))
    assert read_notes(pipeline) == {("bare", "red", "by-name")}


SECRET = "tenant-secret-that-must-not-be-seen"
WITH_SECRET = f"""
from app_with_tenants import TENANT, after
from scrape_do_celery import enqueue
from scrape_do_celery.tasks import scrape
TENANT.set({SECRET!r})
enqueue(["https://a.example/"], on_success=after.s("a"))
scrape.apply_async((["https://b.example/"],), link=after.s("b"))
TENANT.set("x" * 20_000)
for call in (lambda: enqueue(["https://c.example/"]), lambda: scrape.delay(["https://d.example/"])):
    try:
        call()
    except ValueError as error:
        print(error)
"""


@pytest.mark.long
def test_headers_are_encrypted_bounded_and_in_no_log(pipeline, shop, eventually):
    pipeline.values["encryption_key"] = base64.b64encode(os.urandom(32)).decode()
    done = pipeline.run_code(WITH_SECRET, patience=60, **shop)
    done.check_returncode()
    refusals = done.stdout.splitlines()
    assert len(refusals) == 2
    for line in refusals:
        assert re.search(r"have 20,\d\d\d bytes as JSON, and a run keeps at most 16,384;.* The longest is tenant", line)
    client = pipeline.app_context.store.client
    runs = [key for key in pipeline.stored_keys() if key.startswith(f"{pipeline.prefix}:run:")]
    assert len(runs) == 2
    for key in runs:
        assert SECRET not in str(client.hgetall(key))
    assert SECRET not in str([pipeline.handle(key.rpartition(":")[2]).status for key in runs])
    pipeline.work(app="app_with_tenants", **shop)
    eventually(lambda: len(read_notes(pipeline)) == 2)
    assert {tenant for _, tenant, _ in read_notes(pipeline)} == {SECRET}
    assert SECRET not in pipeline.log.read_text()
