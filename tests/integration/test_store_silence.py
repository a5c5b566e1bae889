"""Test public calls against a server that accepts and never answers, and against one that is stopped."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import textwrap
import time
from itertools import pairwise
from pathlib import Path

import pytest

from scrape_do_celery import RunHandle, Settings, aenqueue, enqueue, enqueue_many, retry_failed
from scrape_do_celery.errors import IdempotencyConflictError, ResultNotReadyError, StoreUnavailableError
from scrape_do_celery.runs import new_runs
from scrape_do_celery.runs.celery_app import make_app
from tests.support.redis_servers import BINARIES, RedisServer
from tests.support.tcp_proxies import TcpProxy
from tests.support.time_limits import check_time, limit_time

URLS = ["https://a.example/1"]
#: Seconds of the setting in these tests, and seconds within which a call that has this time must end.
LIMIT, SLACK = 0.75, 1.0


class Store:
    """A store behind a proxy, which can be silenced, and the settings of a caller who uses it."""

    def __init__(self, server, proxy, **settings):
        self.server, self.proxy = server, proxy
        url = f"redis://127.0.0.1:{proxy.port}/0"
        values = {"redis_url": url, "broker_url": "memory://", "store_timeout": LIMIT, **settings}
        self.settings = Settings(**values)
        app = make_app(self.settings)
        app.loader.import_default_modules()
        self.scrape = app.tasks["scrape_do.scrape"]

    def silence(self, how):
        if how == "stopped":
            self.server.pause()
        else:
            self.proxy.silence()
        if how == "never answers":
            self.proxy.cut()

    def heal(self):
        self.server.resume()
        self.proxy.speak()
        self.proxy.cut()


@pytest.fixture(params=list(BINARIES))
def store(request, tmp_path):
    with RedisServer(tmp_path / "a", BINARIES[request.param]()) as server, TcpProxy(server.port) as proxy:
        yield Store(server, proxy)
        server.resume()


#: Name -> a call with a handle of a run that waits. Each reads or writes the store.
CALLS = {
    "enqueue": lambda store, handle: enqueue(URLS, settings=store.settings),
    "enqueue_many": lambda store, handle: enqueue_many([URLS] * 3, settings=store.settings),
    "retry_failed": lambda store, handle: retry_failed(handle.run_id, settings=store.settings),
    "status": lambda store, handle: handle.status,
    "state": lambda store, handle: handle.state,
    "progress": lambda store, handle: handle.progress,
    "job": lambda store, handle: handle.job,
    "jobs": lambda store, handle: handle.jobs,
    "result": lambda store, handle: handle.result(),
    "aresult": lambda store, handle: asyncio.run(handle.aresult()),
    "iter_tasks": lambda store, handle: list(handle.iter_tasks()),
    "iter_tasks of a live run": lambda store, handle: list(handle.iter_tasks(partial=True)),
    "cancel": lambda store, handle: handle.cancel(),
    "first_delivery": lambda store, handle: handle.first_delivery("mail"),
    "forget": lambda store, handle: handle.forget(),
    "scrape.delay": lambda store, handle: store.scrape.delay(URLS),
}
WRITES = {"enqueue", "enqueue_many", "cancel", "first_delivery", "forget", "scrape.delay"}


def test_each_public_method_of_a_handle_is_tried():
    public = {name for name in vars(RunHandle) if not name.startswith("_")} - {"async_result"}
    assert public <= CALLS.keys()


@pytest.mark.long
@pytest.mark.parametrize("how", ["goes silent", "never answers", "stopped"])
def test_each_call_ends_within_the_setting(store, how):
    handle = enqueue(URLS, settings=store.settings)
    store.silence(how)
    for name, call in CALLS.items():
        with limit_time(LIMIT + SLACK, name), pytest.raises(StoreUnavailableError) as caught:
            call(store, handle)
        assert caught.value.may_be_written == (name in WRITES), name
        assert bool(caught.value.run_id) == (name in WRITES), name
    store.heal()
    assert handle.state == "queued"
    assert enqueue(URLS, settings=store.settings).state == "queued"


@pytest.mark.long
def test_the_default_is_ten_seconds(store):
    store = Store(store.server, store.proxy, store_timeout=Settings().store_timeout)
    store.silence("goes silent")
    began = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        enqueue(URLS, settings=store.settings)
    took = time.monotonic() - began
    assert took > 5
    check_time(took, 10 + SLACK)


@pytest.mark.parametrize("how", ["goes silent", "stopped"])
def test_a_caller_s_own_time_is_kept_within_a_second(store, how):
    store = Store(store.server, store.proxy, store_timeout=60)
    handle = enqueue(URLS, settings=store.settings)
    with pytest.raises(ResultNotReadyError):
        handle.result(timeout=0.1)
    store.silence(how)
    for timeout in (0, 1):
        for wait in (handle.result, lambda seconds: asyncio.run(handle.aresult(seconds))):
            # The call may take a second more. The machine is loaded.
            with limit_time(timeout + 1 + 0.5), pytest.raises(StoreUnavailableError):
                wait(timeout)


def test_a_hundred_async_callers_do_not_block_their_loop_nor_each_other(store):
    store = Store(store.server, store.proxy, store_timeout=60)
    handle = enqueue(URLS, settings=store.settings)
    store.silence("goes silent")
    lags = []

    async def tick():
        while True:
            began = time.monotonic()
            await asyncio.sleep(0.01)
            lags.append(time.monotonic() - began - 0.01)

    async def go():
        meter = asyncio.ensure_future(tick())
        began = time.monotonic()
        answers = await asyncio.gather(*(handle.aresult(timeout=1) for _ in range(100)), return_exceptions=True)
        took = time.monotonic() - began
        # The default threads of the loop stay free for the application.
        began = time.monotonic()
        await asyncio.to_thread(time.sleep, 0)
        meter.cancel()
        return answers, took, time.monotonic() - began

    answers, took, free = asyncio.run(go())
    assert {type(answer) for answer in answers} == {StoreUnavailableError}
    # One by one, the calls would take a hundred seconds. A call that blocks the loop would block it for its second.
    check_time(took, 20, "the callers waited for each other")
    check_time(free, 1, "the threads of the loop were taken")
    check_time(max(lags), 1, "a call blocked the loop")


@pytest.mark.parametrize("call", ["astatus", "acancel", "aenqueue"])
def test_async_calls_beyond_the_threads_end_within_the_setting(store, call):
    """A call that waits for one of the 32 threads has no more time than the others."""
    handle = enqueue(URLS, settings=store.settings)
    store.silence("goes silent")

    async def go():
        start = {"aenqueue": lambda: aenqueue(URLS, settings=store.settings)}.get(call) or getattr(handle, call)
        began = time.monotonic()
        answers = await asyncio.gather(*(start() for _ in range(200)), return_exceptions=True)
        return answers, time.monotonic() - began

    answers, took = asyncio.run(go())
    assert {type(answer) for answer in answers} == {StoreUnavailableError}
    check_time(took, LIMIT + SLACK + 1, "200 calls in rounds of 32 would take seven times the setting")
    if call != "astatus":
        assert {answer.run_id is not None for answer in answers} == {True}


def test_a_write_that_timed_out_is_repeated_without_a_second_run(store):
    store.silence("stopped")
    with pytest.raises(StoreUnavailableError) as caught:
        enqueue(URLS, settings=store.settings)
    lost = caught.value
    assert lost.may_be_written
    # The stopped server has the request in its buffers, and carries it out now.
    store.heal()
    handle = enqueue(URLS, settings=store.settings, run_id=lost.run_id)
    assert handle.run_id == lost.run_id
    assert enqueue(URLS, settings=store.settings, run_id=lost.run_id) == handle
    with pytest.raises(IdempotencyConflictError, match="geo_code"):
        enqueue(URLS, settings=store.settings, run_id=lost.run_id, geo_code="us")
    assert len(list(store.server.open_client().scan_iter("scrape_do:run:*"))) == 1


def test_the_command_names_the_option_that_repeats_it(store):
    def call(*arguments):
        return subprocess.run(
            [sys.executable, "-m", "scrape_do_celery", "enqueue", *URLS, *arguments],
            env={**os.environ, "SCRAPE_DO_REDIS_URL": store.settings.redis_url, "SCRAPE_DO_STORE_TIMEOUT": "1"},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    store.silence("stopped")
    lost = call()
    assert lost.returncode == 1
    advice, run_id = lost.stderr.split()[-2:]
    assert advice == "--run-id"
    assert f"for run {run_id}" in lost.stderr
    store.heal()
    for _ in range(2):
        assert call(advice, run_id).stdout.strip() == run_id
    assert len(list(store.server.open_client().scan_iter("scrape_do:run:*"))) == 1


COUNTED = """
import os, time
import scrape_do_celery
from scrape_do_celery import enqueue
def note_and_enqueue(urls, **options):
    print("attempt", time.monotonic(), options["run_id"], flush=True)
    return enqueue(urls, **options)
scrape_do_celery.enqueue = note_and_enqueue
scope = {"urls": ["https://a.example/1"]}
exec(os.environ["SNIPPET"], scope)
print("run", scope["handle"].run_id)
"""


def test_the_loop_of_the_docs_pauses_and_makes_one_run(store):
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "redis.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    [snippet] = [block for block in blocks if "StoreUnavailableError" in block]
    environment = {"SCRAPE_DO_REDIS_URL": store.settings.redis_url, "SCRAPE_DO_STORE_TIMEOUT": "0.5"}
    store.silence("stopped")
    with subprocess.Popen(
        [sys.executable, "-c", COUNTED],
        env={**os.environ, **environment, "SCRAPE_DO_BROKER_URL": "memory://", "SNIPPET": snippet},
        stdout=subprocess.PIPE,
        text=True,
    ) as loop:
        lines = [loop.stdout.readline().split() for _ in range(2)]
        store.heal()
        # `communicate` would lose what `readline` has read ahead.
        rest = loop.stdout.read()
    *later, [_, run_id] = [line.split() for line in rest.splitlines()]
    times = [float(line[1]) for line in (*lines, *later)]
    # Each attempt takes the setting, and the least pause is a second.
    assert min(after - before for before, after in pairwise(times)) >= 0.5 + 1
    assert [line[2] for line in (*lines, *later)] == ["None", *[run_id] * (len(times) - 1)]
    assert len(list(store.server.open_client().scan_iter("scrape_do:run:*"))) == 1


def test_the_error_names_the_run_that_the_key_has(store, monkeypatch):
    """A caller who repeats the call with the id of the error alone gets that run, and not a second one."""
    first = enqueue(URLS, settings=store.settings, idempotency_key="order 7")
    create = new_runs._create_records

    def create_and_stop(*args, **options):
        created = create(*args, **options)
        store.silence("stopped")
        return created

    monkeypatch.setattr(new_runs, "_create_records", create_and_stop)
    with pytest.raises(StoreUnavailableError) as caught:
        enqueue_many([["https://b.example/"], URLS], settings=store.settings, idempotency_keys=[None, "order 7"])
    monkeypatch.undo()
    store.heal()
    other, ours = caught.value.run_ids
    assert caught.value.may_be_written
    assert ours == first.run_id
    assert enqueue(URLS, settings=store.settings, run_id=ours) == first
    assert RunHandle(other, settings=store.settings).status.total == 1
    assert len(list(store.server.open_client().scan_iter("scrape_do:run:*"))) == 2


def test_many_writes_that_timed_out_are_repeated_without_second_runs(store):
    store.silence("stopped")
    with pytest.raises(StoreUnavailableError) as caught:
        enqueue_many([URLS, URLS, URLS], settings=store.settings)
    store.heal()
    handles = enqueue_many([URLS, URLS, URLS], settings=store.settings, run_ids=caught.value.run_ids)
    assert [handle.run_id for handle in handles] == list(caught.value.run_ids)
    assert len(list(store.server.open_client().scan_iter("scrape_do:run:*"))) == 3


def test_a_result_backend_that_goes_silent_ends_forget_in_time(store, eventually):
    with TcpProxy(store.server.port) as results:
        store = Store(store.server, store.proxy, result_backend=f"redis://127.0.0.1:{results.port}/1")
        handle = enqueue(URLS, settings=store.settings)
        handle.cancel()
        store.server.open_client().delete(*store.server.open_client().scan_iter("scrape_do:run:*"))
        key = handle.async_result.backend.get_key_for_task(handle.run_id)
        database = store.server.open_client(db=1)
        database.set(key, "result")
        results.silence()
        silent = pytest.raises(StoreUnavailableError, match="result backend did not answer")
        with limit_time(2 * LIMIT + SLACK), silent as caught:
            handle.forget()
        assert caught.value.run_id == handle.run_id
        # Celery tries again in a thread that the caller has left.
        results.speak()
        results.cut()
        eventually(lambda: not database.exists(key))


@pytest.mark.parametrize("how", ["from the start", "after a call"])
def test_a_result_backend_that_goes_silent_ends_a_call_in_time(store, how):
    """Celery subscribes to the result before it publishes, by a connection of its own."""
    with TcpProxy(store.server.port) as results:
        store = Store(store.server, store.proxy, result_backend=f"redis://127.0.0.1:{results.port}/1")
        # When a result is dropped, Celery ends its subscription, without a deadline.
        kept = [store.scrape.delay(URLS)] if how == "after a call" else []
        results.silence()
        results.cut()
        refused = {}
        for task_id in ("first", "second", "third"):
            with limit_time(LIMIT + SLACK):
                try:
                    # A closed connection takes the first command, so this call may succeed.
                    kept.append(store.scrape.apply_async((URLS,), task_id=task_id))
                except StoreUnavailableError as error:
                    refused[task_id] = error
        for task_id, error in refused.items():
            assert "result backend did not answer" in str(error)
            assert (error.run_id, error.may_be_written) == (task_id, False)
            assert store.server.open_client().exists(f"scrape_do:run:{task_id}") == 0
        assert {"second", "third"} <= refused.keys()
        # A caller that does not wait for the result needs no subscription.
        kept.append(store.scrape.apply_async((URLS,), task_id="unawaited", ignore_result=True))
        results.speak()
        results.cut()
        fresh = Store(store.server, store.proxy, result_backend=f"redis://127.0.0.1:{results.port}/1")
        kept.append(fresh.scrape.apply_async((URLS,), task_id="third"))
        assert store.server.open_client().exists("scrape_do:run:third") == 1
        kept.clear()


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("unshare"), reason="needs a resolver of its own")
def test_a_name_server_that_never_answers_counts(tmp_path):
    """Resolve the store's name in a mount namespace whose name server takes each question and answers none."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.77\noptions timeout:30 attempts:3\n")
    (tmp_path / "call.py").write_text(
        textwrap.dedent("""
            import socket, time
            from scrape_do_celery import Settings, enqueue
            from scrape_do_celery.errors import StoreUnavailableError
            server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            server.bind(("127.0.0.77", 53))
            settings = Settings(redis_url="redis://store.example:6379/0", broker_url="memory://", store_timeout=0.75)
            began = time.monotonic()
            try:
                enqueue(["https://a.example/1"], settings=settings)
            except StoreUnavailableError as error:
                print("took", time.monotonic() - began, error.may_be_written)
            import os; os._exit(0)
        """)
    )
    script = f"mount --bind {tmp_path}/resolv.conf /etc/resolv.conf && exec {sys.executable} {tmp_path}/call.py"
    command = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    if "permission" in done.stderr.lower() or "not permitted" in done.stderr.lower():
        pytest.skip("this machine gives no mount namespace")
    word, took, written = done.stdout.split()
    assert (word, written) == ("took", "False"), done.stderr
    check_time(float(took), LIMIT + SLACK)
