"""Test users of Redis with few rights: the documented rights suffice. A missing right is found before a purchase."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pipeline import Pipeline

from scrape_do_celery import (
    JobCanceledError,
    JobFailedError,
    RunHandle,
    Settings,
    diagnostics,
    retry_failed,
    scheduled_run,
)
from scrape_do_celery.api_diagnostics import check_refusals
from scrape_do_celery.findings import OK, WARNING, WRONG
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.waits import WaitKind
from scrape_do_celery.server_checks import find_eviction, find_missing_rights
from scrape_do_celery.store import RunSpec, Store
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.runs import ReadRunWait
from tests.support.redis_servers import BINARIES, RedisServer

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "redis.md"
#: The lines of the page that make the user of the store and the user of Celery.
STORE_LINE, CELERY_LINE = re.findall(r"^ACL SETUSER .*$", PAGE.read_text(), re.MULTILINE)
URLS = ["https://a.example/", "https://b.example/"]
#: Rights that the page calls dispensable.
DISPENSABLE = ("+info", "+config|get")


@pytest.fixture(scope="module", params=BINARIES)
def server(request, tmp_path_factory):
    with RedisServer(tmp_path_factory.mktemp("server"), BINARIES[request.param](), "--appendfsync", "always") as one:
        yield one


def set_user(server, line, without=()):
    """Carry out a line of the page, without some rights. Return the URL of its user, without the database."""
    _, _, name, *rules = line.split()
    rules = [rule for rule in rules if rule not in without]
    server.open_client().execute_command("ACL", "SETUSER", name, *rules)
    password = next(rule[1:] for rule in rules if rule.startswith(">"))
    return f"redis://{name}:{password}@127.0.0.1:{server.port}"


@pytest.fixture(params=[(), DISPENSABLE], ids=["documented", "least"])
def limited(request, server, sandbox, tmp_path):
    """Provide a pipeline whose store and broker have the documented users."""
    server.open_client().flushall()
    server.open_client().execute_command("ACL", "LOG", "RESET")
    server.open_client().script_flush()
    store_url, celery_url = set_user(server, STORE_LINE, request.param), set_user(server, CELERY_LINE)
    urls = {"broker_url": f"{celery_url}/1", "result_backend": f"{celery_url}/2"}
    with Pipeline(f"{store_url}/0", sandbox, tmp_path, "scrape_do", **urls) as one:
        one.dispensed = request.param
        yield one


def start_beat(pipeline):
    """Publish one tick of a schedule, as beat does."""
    entry = scheduled_run("daily", 3600.0, URLS)
    app = pipeline.app
    app.loader.import_default_modules()
    return app.tasks[entry["task"]].apply_async(kwargs=entry["kwargs"])


@pytest.mark.long
def test_the_documented_rights_suffice_for_all_work(limited, server, eventually):
    worker = limited.work()
    assert worker.poll() is None, limited.log.read_text()
    plain, keyed = limited.enqueue(URLS), limited.enqueue(URLS[:1], idempotency_key="order 7")
    assert limited.enqueue(URLS[:1], idempotency_key="order 7").run_id == keyed.run_id
    assert len(plain.result(timeout=120).tasks) == 2
    assert len(keyed.result(timeout=120).tasks) == 1
    assert plain.async_result.get(timeout=60)["outcome"] == "succeeded"
    assert plain.first_delivery("mail")
    assert not plain.first_delivery("mail")

    failing = limited.enqueue(["https://c.example/?sandbox=error"])
    with pytest.raises(JobFailedError):
        failing.result(timeout=120)
    again = retry_failed(failing.run_id, settings=limited.settings)
    assert again.run_id != failing.run_id

    long = limited.enqueue(["https://long.example/?seconds=60"])
    eventually(lambda: long.state == "running")
    assert long.cancel()
    with pytest.raises(JobCanceledError):
        long.result(timeout=120)

    ticked = start_beat(limited).get(timeout=60)
    handle = RunHandle(ticked, settings=limited.settings)
    assert len(handle.result(timeout=120).tasks) == 2
    plain.forget()
    # redis-py tells the server its version (CLIENT SETINFO) and goes on if it may not.
    denied = {str(entry["object"]) for entry in server.open_client().acl_log()} - {"client", "client|setinfo"}
    assert denied <= ({"info", "config", "config|get"} if limited.dispensed else set())
    assert "Traceback" not in limited.log.read_text()


def test_the_store_needs_no_more_than_the_page_says(server, tmp_path):
    # The worker of another test has left its lease.
    server.open_client().flushall()
    store = Store.open(f"{set_user(server, STORE_LINE, DISPENSABLE)}/0", "scrape_do")
    assert find_missing_rights(store) is None
    levels = [finding.level for finding in diagnostics.check_store(store, "account")]
    assert levels == [OK, WARNING]
    store.run(CreateRun("r", RunSpec(JobCreationRequest(targets=URLS))))
    # Without INFO, the memory of the server is not known, and its age counts as high.
    _, waiting_for = store.run(ReadRunWait("r", "account"))
    assert waiting_for.kind is WaitKind.NO_WORKER
    set_user(server, f"{STORE_LINE} -scan")
    found = list(check_refusals(store, Settings(api_key="t")))
    assert [finding.level for finding in found] == [WARNING]
    assert "allow +scan" in found[0].text
    store.close()


@pytest.mark.parametrize(
    ("rule", "named"),
    [
        ("-hset", "+hset on ~scrape_do:*"),
        ("-zadd", "+zadd on ~scrape_do:*"),
        ("-@sortedset", "+zadd +zcard +zcount"),
        ("-del", "+del"),
        ("-time", "+time"),
        ("-evalsha", "may not run scripts"),
        ("-@scripting", "may not run scripts"),
        ("resetkeys", "may not run scripts"),
    ],
)
def test_a_missing_right_is_found_before_a_purchase(server, rule, named):
    url = set_user(server, f"{STORE_LINE} {rule}")
    store = Store.open(f"{url}/0", "scrape_do")
    assert named in find_missing_rights(store)
    found = list(diagnostics.check_store(store, "account"))
    assert [finding.text for finding in found if finding.level == WRONG and named in finding.text], found
    store.close()


def test_a_worker_without_rights_ends_with_the_reason(server, sandbox, tmp_path):
    url, celery = set_user(server, f"{STORE_LINE} -hset"), set_user(server, CELERY_LINE)
    urls = {"broker_url": f"{celery}/1", "result_backend": f"{celery}/2"}
    with Pipeline(f"{url}/0", sandbox, tmp_path, "scrape_do", **urls) as pipeline:
        worker = pipeline.work()
        assert worker.wait(30) != 0
        assert "allow it +hset" in pipeline.log.read_text()
        told = pipeline.run_tool("doctor")
        assert told.returncode == 1
        assert "allow it +hset" in told.stdout


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "volatile-ttl", "volatile-random", "volatile-lfu"])
def test_a_server_that_evicts_is_refused(server, sandbox, tmp_path, policy):
    server.open_client().config_set("maxmemory-policy", policy)
    try:
        with Pipeline(server.url, sandbox, tmp_path, "scrape_do") as pipeline:
            assert policy in find_eviction(pipeline.app_context.store)
            if policy == "volatile-lru":
                worker = pipeline.work()
                assert worker.wait(30) != 0
                assert "maxmemory-policy is volatile-lru" in pipeline.log.read_text()
                told = pipeline.run_tool("doctor")
                assert told.returncode == 1
                assert "maxmemory-policy is volatile-lru" in told.stdout
    finally:
        server.open_client().config_set("maxmemory-policy", "noeviction")
