"""Test a worker that is asked to end while a `POST` is under way whose step has lost the part."""

from __future__ import annotations

import signal
import time

import pytest

from tests.support.holding_proxies import HoldingProxy
from tests.support.time_limits import check_time

TARGET = "https://a.example/1"
#: Seconds for which a purchase is held back. The step renews its lease meanwhile, after a third of 17 seconds.
HELD = 10.0


@pytest.fixture
def api(pipeline, sandbox):
    """Provide an API that gets each `POST` late, and settings that leave a purchase the time for that."""
    with HoldingProxy(int(sandbox.url.rpartition(":")[2]), HELD) as proxy:
        pipeline.values |= {"api_url": f"http://127.0.0.1:{proxy.port}", "submit_deadline": 15, "lease_seconds": 1}
        yield proxy


def lose_step_during_purchase(pipeline, api, eventually):
    """Start a run, and let another claim take its part while the bytes of the `POST` are on their way."""
    handle = pipeline.enqueue([TARGET])
    eventually(lambda: api.held_at)
    store = pipeline.app_context.store
    part_key = f"{pipeline.prefix}:part:{handle.run_id}:0"
    # A renewal of the lease is refused from now on.
    store.client.hincrby(part_key, "fence", 1)
    eventually(lambda: "lost the lease" in pipeline.log.read_text())
    return handle, lambda name: store.client.hget(part_key, name)


@pytest.mark.long
@pytest.mark.parametrize("pool", ["threads", "prefork"])
def test_answer_of_a_purchase_is_stored_before_the_worker_ends(pipeline, api, eventually, pool):
    worker = pipeline.work(pool=pool, concurrency=1)
    _, read = lose_step_during_purchase(pipeline, api, eventually)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(40) == 0
    assert (read("state"), read("purchase_status")) == (b"running", b"confirmed"), pipeline.log.read_text()
    assert read("job").decode() == pipeline.sandbox.jobs()[0]["id"]
    assert pipeline.posts() == len(api.held_at) == 1


@pytest.mark.long
def test_second_signal_ends_the_wait(pipeline, api, eventually):
    worker = pipeline.work(concurrency=1)
    handle, read = lose_step_during_purchase(pipeline, api, eventually)
    worker.send_signal(signal.SIGTERM)
    time.sleep(1.0)
    assert worker.poll() is None
    worker.send_signal(signal.SIGTERM)
    worker.wait(40)
    check_time(time.monotonic() - api.held_at[0], HELD, pipeline.log.read_text())
    assert read("state") == b"submitting"
    assert "the worker ends before the answers to 1 purchases came" in pipeline.log.read_text()
    # The next worker finds the job, and buys no other.
    pipeline.values |= {"submit_deadline": 3}
    pipeline.work()
    assert len(handle.result(timeout=90).succeeded) == 1
    assert pipeline.posts() == 1
