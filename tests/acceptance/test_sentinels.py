"""Test workers, web processes and beat messages whose store, broker and results are all behind real sentinels."""

from __future__ import annotations

import gc
import logging
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from contextlib import suppress

import pytest
from pipeline import Pipeline

from scrape_do_celery import RunNotFoundError, StoreUnavailableError
from tests.support.redis_servers import BINARIES, SentinelGroup, wait_until
from tests.support.time_limits import check_time
from tests.support.web_processes import WebProcess

PASSWORD = "password-that-must-not-be-seen"


@pytest.fixture(params=list(BINARIES))
def group(request, tmp_path):
    """Provide a primary, two replicas and three sentinels. A primary without a replica refuses writes."""
    with SentinelGroup(tmp_path / "group", BINARIES[request.param](), replicas=2) as one:
        for server in one.servers:
            server.open_client().config_set("min-replicas-to-write", 1)
        yield one


def open_pipeline(group, sandbox, folder, **settings):
    """Return a pipeline whose broker and results are the siblings of its store."""
    return Pipeline(f"{group.url()}?master_name={group.name}", sandbox, folder, "watched", **settings)


def kill_primary(group):
    group.primary.kill()


def freeze_primary(group):
    """Let the primary's host vanish: its connections stay open, and nothing ever answers on them."""
    group.primary.pause()


def switch_primary(group):
    """Let an operator switch the primary, which goes on as a replica."""
    group.sentinels[0].open_client().execute_command("SENTINEL", "FAILOVER", group.name)


@pytest.mark.long
@pytest.mark.parametrize("pool", ["threads", "prefork"])
@pytest.mark.parametrize("fail", [kill_primary, freeze_primary, switch_primary])
def test_every_process_serves_again_within_ten_seconds_of_a_promotion(group, sandbox, tmp_path, eventually, fail, pool):
    with open_pipeline(group, sandbox, tmp_path) as pipeline, WebProcess(pipeline) as web:
        pipeline.work(pool=pool, supervised=True)
        before, _ = web.enqueue("before")
        assert before.result(timeout=60).succeeded
        by_celery = [pipeline.scrape(targets=["https://a.example/celery?seconds=3"])]
        running = [pipeline.enqueue([f"https://a.example/{number}?seconds=3"]) for number in range(5)]
        eventually(lambda: all(handle.state == "running" for handle in running))
        eventually(lambda: pipeline.posts() == 7)
        old = group.primary
        fail(group)
        wait_until(lambda: group.primary is not old and group.primary.role == "master", 60.0, "a new primary")
        time.sleep(0.5)  # a pool in use asks for its primary four times a second
        began = time.monotonic()
        after, took = web.enqueue("after")
        check_time(took, 10)
        assert after.result(timeout=60).succeeded
        # Worker and dispatcher need 10 s at most. If the failover breaks a step off, its lease of 30 s ends first.
        check_time(time.monotonic() - began, 45)
        for handle in running:
            assert len(handle.result(timeout=90).succeeded) == 1
        # `get` would wait for ever: Celery's subscription to results does not notice that a server fell silent.
        eventually(lambda: by_celery[0].state == "SUCCESS", within=90)
        # Celery ends the subscription of a result that is deleted, and would wait a minute for servers that are gone.
        by_celery.clear()
        gc.collect()
        assert pipeline.posts() == 8, "nothing is bought twice"
        if fail is freeze_primary:
            old.resume()


def stop_replication(group):
    """Cut the replicas off, and let no link come back."""
    for sentinel in group.sentinels:
        sentinel.open_client().execute_command("SENTINEL", "SET", group.name, "down-after-milliseconds", "2000")
    for server in group.servers:
        server.open_client().config_set("min-replicas-to-write", 0)
    primary = group.primary.open_client()
    primary.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
    primary.execute_command("CLIENT", "KILL", "TYPE", "replica")


@pytest.mark.long
def test_a_purchase_whose_intent_the_next_primary_lacks_is_not_made_twice(group, sandbox, tmp_path, eventually):
    """Stop the replication, buy, and kill the primary: the next one has the run, and neither the intent nor the job."""
    with open_pipeline(group, sandbox, tmp_path) as pipeline:
        handle = pipeline.enqueue(["https://a.example/?seconds=5"])
        keyed = pipeline.enqueue(["https://b.example/?seconds=5"], idempotency_key="order 7")
        replicas = [server for server in group.servers if server is not group.primary]
        for run in (handle, keyed):
            eventually(lambda run=run: all(one.open_client().exists(f"watched:run:{run.run_id}") for one in replicas))
        stop_replication(group)
        pipeline.work(supervised=True)
        eventually(lambda: pipeline.posts() == 2)
        old = group.primary
        old.kill()
        wait_until(lambda: group.primary is not old and group.primary.role == "master", 60.0, "a new primary")
        assert not group.primary.open_client().exists("watched:ledger"), "the next primary lacks the purchases"
        for run in (handle, keyed):
            assert len(run.result(timeout=120).succeeded) == 1
        assert pipeline.posts() == 2, "the jobs were found and adopted"
        assert pipeline.log.read_text().count("the answer to its purchase was lost; job") == 2


class ProducingThreads:
    """Threads that enqueue runs, and repeat a call that failed, with its id, until it succeeds."""

    def __init__(self, pipeline):
        self._pipeline, self._is_over = pipeline, threading.Event()
        #: the time of each success, and the id of its run
        self.accepted = []
        self._threads = [threading.Thread(target=self._produce) for _ in range(2)]
        for thread in self._threads:
            thread.start()

    def _produce(self):
        run_id = uuid.uuid4().hex
        while not self._is_over.wait(0.1):
            with suppress(StoreUnavailableError):
                self._pipeline.enqueue([f"https://a.example/{run_id}"], run_id=run_id)
                self.accepted.append((time.monotonic(), run_id))
                run_id = uuid.uuid4().hex

    def stop(self):
        self._is_over.set()
        for thread in self._threads:
            thread.join()


def replace_primary(group, fail):
    """Replace the primary, and wait until the old one is a replica. Return the times around the promotion."""
    old, began = group.primary, time.monotonic()
    fail(group)
    wait_until(lambda: group.primary is not old and group.primary.role == "master", 60.0, "a new primary")
    promoted = time.monotonic()
    if old.process.poll() is not None:
        old.restart()
        old.open_client().config_set("min-replicas-to-write", 1)
    return began, promoted


@pytest.mark.long
def test_runs_under_load_are_bought_once_through_two_failovers(group, sandbox, tmp_path, eventually):
    with open_pipeline(group, sandbox, tmp_path) as pipeline:
        for pool in ("threads", "gevent"):
            pipeline.work(pool=pool, concurrency=10, supervised=True)
        producers, spans = ProducingThreads(pipeline), []
        for fail in (kill_primary, switch_primary):
            time.sleep(5)
            began, promoted = replace_primary(group, fail)
            spans.append((began - 5, promoted + 5))
            eventually(lambda since=promoted: producers.accepted[-1][0] > since, within=10)
            wait_until(lambda: sum(server.role == "slave" for server in group.servers) == 2, 60.0)
        time.sleep(5)
        producers.stop()
        ended = lost = 0
        for at, run_id in producers.accepted:
            try:
                assert len(pipeline.handle(run_id).result(timeout=180).succeeded) == 1
                ended += 1
            except RunNotFoundError:
                # A primary that is replaced may lose what it accepted in its last moments.
                assert any(first < at < last for first, last in spans)
                lost += 1
        logging.getLogger(__name__).info(
            "%s runs ended, %s were lost around two failovers, %s jobs were bought", ended, lost, pipeline.posts()
        )
        assert ended > 50
        assert lost < 20
        targets = Counter(target for job in sandbox.jobs() for target in job["targets"])
        assert max(targets.values()) == 1, "nothing is bought twice"


@pytest.mark.long
@pytest.mark.parametrize("setting", ["redis_url", "broker_url", "result_backend"])
def test_a_worker_whose_sentinels_do_not_know_the_name_ends_with_its_reason(group, sandbox, tmp_path, setting):
    with open_pipeline(group, sandbox, tmp_path) as pipeline:
        settings = pipeline.settings
        pipeline.values |= {"broker_url": settings.broker_url, "result_backend": settings.result_backend}
        pipeline.values[setting] = pipeline.values[setting].replace("=mymaster", "=other")
        worker = pipeline.work()
        assert worker.wait(30) != 0
        assert "watch no primary named other; they watch mymaster: correct master_name" in pipeline.log.read_text()
        told = pipeline.run_tool("doctor")
        assert told.returncode == 1
        faults = [line.split()[1] for line in told.stdout.splitlines() if "no primary named other" in line]
        assert [one.strip(":") for one in faults] == [f"SCRAPE_DO_{setting.upper()}"]


@pytest.mark.long
def test_a_wrong_name_is_told_once_for_each_place_that_has_it(group, sandbox, tmp_path):
    """Derive the broker and the results from the store's URL, and name the broker by another URL then."""
    with open_pipeline(group, sandbox, tmp_path) as pipeline:
        pipeline.values["redis_url"] = f"{group.url()}?master_name=other"
        places = ["SCRAPE_DO_REDIS_URL:"]
        for broker in ("", f"{group.url(1)}?master_name=third", group.url(1)):
            pipeline.values["broker_url"] = broker
            lines = pipeline.run_tool("doctor").stdout.splitlines()
            wrong = [line.split()[1] for line in lines if line.startswith("wrong ")]
            assert wrong == [*places, *["SCRAPE_DO_BROKER_URL"] * ("third" in broker)]
        assert pipeline.work().wait(30) != 0
        assert pipeline.log.read_text().count("watch no primary named other") == 1


APP = """
from celery import Celery
app = Celery("shop", include=["scrape_do_celery.tasks"])
app.conf.update(
    broker_url={broker!r},
    result_backend={results!r},
    broker_transport_options={{"master_name": "mymaster", "sentinel_kwargs": {{"socket_keepalive": True}}}},
    result_backend_transport_options={{"master_name": "mymaster"}},
    broker_connection_retry_on_startup=True,
)
"""


@pytest.mark.long
def test_an_app_that_is_configured_as_celery_says_works_and_shows_no_password(group, sandbox, tmp_path):
    """Give all servers a user with a password, and the app its names in the transport options."""
    for server in group.servers:
        server.open_client().execute_command("ACL", "SETUSER", "shop", "on", f">{PASSWORD}", "~*", "&*", "+@all")
    url = group.url().replace("sentinel://", f"sentinel://shop:{PASSWORD}@")
    with open_pipeline(group, sandbox, tmp_path) as pipeline:
        pipeline.values["redis_url"] = f"{url}?master_name=mymaster"
        broker, results = (url.replace("/0", f"/{database}") for database in (1, 2))
        (tmp_path / "shop.py").write_text(APP.format(broker=broker, results=results))
        path = f"{tmp_path}:{pipeline.environment['PYTHONPATH']}"
        worker = pipeline.work("-Q", "watched,celery", app="shop", PYTHONPATH=path)
        assert worker.poll() is None, pipeline.log.read_text()
        code = "import shop; from scrape_do_celery import enqueue; h = enqueue(['https://a.example/']); "
        code += "print(len(h.result(timeout=90).succeeded), h.async_result.get(timeout=60)['outcome'])"
        told = subprocess.run(
            [sys.executable, "-c", code],
            env={**pipeline.environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )
        assert told.stdout.split() == ["1", "succeeded"], told.stderr
        doctor = pipeline.run_tool("doctor")
        for text in (pipeline.log.read_text(), told.stderr, doctor.stdout, doctor.stderr):
            assert PASSWORD not in text
