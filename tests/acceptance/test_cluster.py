"""Test a store on a real cluster of three nodes: workers, load, and a slot that moves key by key or fails over."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest
from pipeline import Pipeline

from scrape_do_celery import ConfigurationError, StoreUnavailableError
from scrape_do_celery.store.commands.runs import ReadRun
from tests.support.redis_servers import BINARIES, RedisCluster, RedisServer, wait_until

PREFIX = "{store}"
#: Return the accepted parts that have not ended and are in no due set, and the entries of due sets without a record.
#: A script sees all keys at one moment.
AUDIT = """
local prefix, out = ARGV[1], {}
for _, key in ipairs(redis.call('KEYS', prefix .. ':part:*')) do
  local part_id = string.sub(key, #prefix + 7)
  local state, poll_set = unpack(redis.call('HMGET', key, 'state', 'poll_set'))
  local run_key = prefix .. ':run:' .. string.match(part_id, '^(.*):')
  local is_live = redis.call('HEXISTS', run_key, 'accepted') == 1 and state ~= 'done'
  local home = poll_set or prefix .. ':due'
  if is_live and not redis.call('ZSCORE', home, part_id) then out[#out + 1] = 'lost ' .. part_id end
end
for _, entry in ipairs(redis.call('ZRANGE', prefix .. ':due', 0, -1)) do
  local run_id, n = string.match(entry, '^(.*):([^:]*)$')
  local key = prefix .. (n == 'run' and ':run:' .. run_id or ':part:' .. entry)
  if redis.call('EXISTS', key) == 0 then out[#out + 1] = 'no record ' .. entry end
end
return out
"""


@pytest.fixture
def celery_servers(tmp_path):
    """Provide broker and results on another server: neither works on a cluster."""
    with RedisServer(tmp_path / "celery") as server:
        yield {"broker_url": server.url, "result_backend": server.url.removesuffix("0") + "1", "queue": "q"}


def audit(cluster):
    owner = cluster.owner_of(cluster.slot_of(f"{PREFIX}:due"))
    return owner.open_client().eval(AUDIT, 0, PREFIX)


class Load:
    """Threads that start runs until they are stopped. A caller repeats a failed call with the id of its error."""

    def __init__(self, pipeline, threads=3):
        self._pipeline, self._is_over = pipeline, threading.Event()
        self.runs, self.refusals = {}, Counter()
        self._threads = [threading.Thread(target=self._start_runs, args=(number,)) for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def _start_runs(self, thread):
        number = 0
        while not self._is_over.is_set():
            number += 1
            targets = [
                f"https://a.example/{thread}-{number}-{part}?seconds={random.choice([0, 1, 2])}" for part in (0, 1)
            ]
            run_id = f"r{thread}-{number}"
            while run_id not in self.runs:
                try:
                    self.runs[run_id] = self._pipeline.enqueue(targets, run_id=run_id)
                except StoreUnavailableError as error:
                    self.refusals[error.reason] += 1
            time.sleep(0.2)

    def stop(self):
        self._is_over.set()
        for thread in self._threads:
            thread.join()


@pytest.mark.long
@pytest.mark.parametrize("name", list(BINARIES))
def test_a_slot_that_moves_under_load_costs_nothing(name, celery_servers, sandbox, tmp_path, eventually):
    with (
        RedisCluster(tmp_path / "cluster", BINARIES[name]()) as cluster,
        Pipeline(cluster.url, sandbox, tmp_path, PREFIX, store_timeout=3, **celery_servers) as pipeline,
    ):
        slot = cluster.slot_of(f"{PREFIX}:due")
        pipeline.work()
        pipeline.work(pool="prefork", concurrency=2)
        load, moved = Load(pipeline), []
        for _ in range(5):
            time.sleep(3)
            target = random.choice([node for node in cluster.nodes if node is not cluster.owner_of(slot)])
            # Some moves are slower than a call to the store may take.
            moved.append(cluster.migrate_slot(slot, target, pause=random.choice([0.0, 0.005, 0.02])))
            assert audit(cluster) == []
        load.stop()
        assert all(moved)
        results = [handle.result(timeout=180) for handle in load.runs.values()]
        assert all(len(one.succeeded) == 2 for one in results)
        bought = Counter(target for job in sandbox.jobs() for target in job["targets"])
        assert set(bought.values()) == {1}
        assert len(sandbox.jobs()) == len(load.runs)
        assert set(load.refusals) <= {"ASK", "TRYAGAIN", "MOVED", "CLUSTERDOWN", ""}, load.refusals
        owner = cluster.owner_of(slot).open_client()
        eventually(lambda: not owner.zcard(f"{PREFIX}:due"))
        assert audit(cluster) == []
        for run_id in load.runs:
            record = pipeline.app_context.store.run(ReadRun(run_id))
            assert (record.outcome, [part.state for part in record.parts]) == ("succeeded", ["done"])
        assert not list(owner.scan_iter(f"{PREFIX}:slots:*")), "no part holds a slot for ever"
        others = [node for node in cluster.nodes if node.port != cluster.owner_of(slot).port]
        assert not [key for node in others for key in node.open_client().scan_iter(f"{PREFIX}:*")]


@pytest.mark.long
@pytest.mark.parametrize("name", list(BINARIES))
def test_a_node_that_dies_under_load_costs_nothing(name, celery_servers, sandbox, tmp_path):
    with (
        RedisCluster(tmp_path / "cluster", BINARIES[name]()) as cluster,
        Pipeline(cluster.url, sandbox, tmp_path, PREFIX, store_timeout=3, **celery_servers) as pipeline,
    ):
        # Processes also find the store if the node of their URL is the dead one.
        pipeline.values["redis_url"] = ";".join(node.url for node in cluster.nodes)
        owner = cluster.owner_of(cluster.slot_of(f"{PREFIX}:due"))
        replica = cluster.add_replica(owner)
        pipeline.work()
        load = Load(pipeline)
        time.sleep(4)
        owner.kill()
        wait_until(lambda: replica.role == "master", 60.0)
        before = len(load.runs)
        deadline = time.monotonic() + 10
        while len(load.runs) < before + 10:
            if time.monotonic() > deadline:
                raise TimeoutError(load.refusals)
            time.sleep(0.1)
        load.stop()
        results = [handle.result(timeout=180) for handle in load.runs.values()]
        assert all(len(one.succeeded) == 2 for one in results)
        bought = Counter(target for job in sandbox.jobs() for target in job["targets"])
        assert set(bought.values()) == {1}
        assert replica.open_client().eval(AUDIT, 0, PREFIX) == []


def test_celery_needs_another_server_than_the_cluster(sandbox, tmp_path):
    with (
        RedisCluster(tmp_path / "cluster") as cluster,
        Pipeline(cluster.url, sandbox, tmp_path, PREFIX, queue="q") as pipeline,
    ):
        worker = pipeline.work()
        assert worker.wait(30) != 0
        message = "SCRAPE_DO_BROKER_URL and SCRAPE_DO_RESULT_BACKEND must be set"
        log = pipeline.log.read_text()
        assert (message in log, "Traceback" in log) == (True, False)
        with pytest.raises(ConfigurationError, match=message):
            pipeline.enqueue(["https://a.example/1"])


@pytest.mark.long
def test_a_process_that_only_reads_needs_no_broker(celery_servers, sandbox, tmp_path):
    """Read a run in processes that know only the cluster, by the commands of the package and of Celery."""
    with (
        RedisCluster(tmp_path / "cluster") as cluster,
        Pipeline(cluster.url, sandbox, tmp_path, PREFIX, **celery_servers) as pipeline,
    ):
        pipeline.work()
        run_id = pipeline.enqueue(["https://a.example/1"]).run_id
        pipeline.handle(run_id).result(timeout=60)
        for name in ("broker_url", "result_backend"):
            del pipeline.values[name]
        reader = pipeline.handle(run_id)
        assert (reader.status.state, len(reader.result(timeout=5).succeeded)) == ("succeeded", 1)
        for command in (["status", run_id], ["result", run_id], ["ledger"]):
            told = pipeline.run_tool(*command)
            assert (told.returncode, run_id in told.stdout) == (0, True), told.stderr
        message = "SCRAPE_DO_BROKER_URL and SCRAPE_DO_RESULT_BACKEND must be set"
        for command in (["enqueue", "https://a.example/2"], ["cancel", run_id]):
            told = pipeline.run_tool(*command)
            assert (told.returncode, told.stderr.count("\n")) == (1, 1), told.stderr
            assert told.stderr.startswith(f"Error: ConfigurationError: {message}")
        told = pipeline.run_tool("doctor")
        assert (told.returncode, told.stdout.count("wrong "), told.stdout.count(message)) == (1, 1, 1), told.stdout
        for command, code in (["scrape-do", "status", run_id], 0), (["inspect", "ping"], 1), (["beat"], 1):
            told = run_celery(pipeline, *command)
            assert (told.returncode, "Traceback" in told.stderr) == (code, False), told.stderr
            assert (run_id in told.stdout) if code == 0 else (f"scrape-do-celery: {message}" in told.stderr)
        pipeline.values["redis_url"] = "ftp://a"
        told = run_celery(pipeline, "scrape-do", "status", run_id)
        assert (told.returncode, told.stderr.startswith("scrape-do-celery: SCRAPE_DO_REDIS_URL: ")) == (1, True)


def run_celery(pipeline, *command):
    """Run a command of Celery with the app of the package."""
    return subprocess.run(
        [sys.executable, "-m", "celery", "-A", "scrape_do_celery.worker", *command],
        env=pipeline.environment,
        cwd=pipeline.folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_doctor_tells_the_slot_and_a_missing_hash_tag(celery_servers, sandbox, tmp_path):
    with (
        RedisCluster(tmp_path / "cluster") as cluster,
        Pipeline(cluster.url, sandbox, tmp_path, PREFIX, **celery_servers) as pipeline,
    ):
        slot = cluster.slot_of(f"{PREFIX}:due")
        assert f"the store is slot {slot} of a Redis Cluster, now at 127.0.0.1:" in pipeline.run_tool("doctor").stdout
        pipeline.values["key_prefix"] = "store"
        assert "names a Redis Cluster, and SCRAPE_DO_KEY_PREFIX has no hash tag" in pipeline.run_tool("doctor").stdout
