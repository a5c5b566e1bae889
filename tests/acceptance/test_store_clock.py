"""Test steps of the store's clock under real workers: the server reads its wall clock through libfaketime."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from types import SimpleNamespace

import pytest
from pipeline import Pipeline

from tests.support.holding_proxies import HoldingProxy
from tests.support.redis_servers import BINARIES, RedisServer
from tests.support.stepped_clocks import SteppedClock
from tests.support.tcp_proxies import TcpProxy

TARGET = "https://a.example/1"
DAY = 86_400
#: The settings of production, and the same divided by 20.
DEFAULTS = {"submit_deadline": 60, "submit_visibility_grace": 30, "lease_seconds": 30}
SHORT = {"submit_deadline": 3, "submit_visibility_grace": 1.5, "lease_seconds": 1.5}


@contextmanager
def set_up(tmp_path, sandbox, binary, *, held, replica_ahead=None, **settings):
    """Provide a store whose clock can step, an API that gets each `POST` `held` seconds late, and two workers."""
    with ExitStack() as stack:
        clock = SteppedClock(tmp_path / "clock")
        broker = stack.enter_context(RedisServer(tmp_path / "broker")).url
        options = (BINARIES[binary](), "--appendfsync", "always")
        store = stack.enter_context(RedisServer(tmp_path / "store", *options, environment=clock.environment))
        replica = None
        if replica_ahead is not None:
            other = SteppedClock(tmp_path / "other_clock", replica_ahead)
            replica = stack.enter_context(RedisServer(tmp_path / "replica", *options, environment=other.environment))
            replica.follow(store)
        front = stack.enter_context(TcpProxy(store.port))
        api = stack.enter_context(HoldingProxy(int(sandbox.url.rpartition(":")[2]), held))
        values = {
            "broker_url": broker,
            "result_backend": broker.removesuffix("0") + "1",
            "api_url": f"http://127.0.0.1:{api.port}",
            **settings,
        }
        url = f"redis://127.0.0.1:{front.port}/0"
        pipeline = stack.enter_context(Pipeline(url, sandbox, tmp_path, "clock", **values))
        for _ in range(2):
            pipeline.work()
        yield SimpleNamespace(
            pipeline=pipeline, clock=clock, api=api, store=store, replica=replica, front=front, sandbox=sandbox
        )


def read_ledger(pipeline):
    found = pipeline.run_tool("ledger")
    found.check_returncode()
    return found.stdout


def buy_through_step(lab, eventually, step, timeout):
    """Let the clock step while a `POST` is under way. Return the result of the run."""
    handle = lab.pipeline.enqueue([TARGET])
    eventually(lambda: lab.api.held_at)
    step()
    return handle.result(timeout=timeout)


@pytest.mark.parametrize(
    ("binary", "ahead"),
    [
        # With these settings, a step of 6.5 s ends a lease by the server's clock, as 119 s do by default.
        pytest.param(binary, ahead, marks=() if (binary, ahead) == ("valkey", 6.5) else pytest.mark.long)
        for binary in BINARIES
        for ahead in (5.95, 6.5, 7200, -7200, 30 * DAY)
    ],
)
def test_step_during_a_purchase_buys_once(tmp_path, sandbox, eventually, binary, ahead):
    with set_up(tmp_path, sandbox, binary, held=2.25, **SHORT) as lab:
        result = buy_through_step(lab, eventually, lambda: lab.clock.step_to(ahead), 60)
        assert len(result.succeeded) == 1
        assert lab.pipeline.posts() == len(lab.api.held_at) == 1, read_ledger(lab.pipeline)


@pytest.mark.long
@pytest.mark.parametrize("binary", list(BINARIES))
def test_step_of_two_minutes_during_a_purchase_of_45_seconds_with_default_settings(
    tmp_path, sandbox, eventually, binary
):
    with set_up(tmp_path, sandbox, binary, held=45, **DEFAULTS) as lab:
        result = buy_through_step(lab, eventually, lambda: lab.clock.step_to(119), 240)
        assert len(result.succeeded) == 1
        assert lab.pipeline.posts() == len(lab.api.held_at) == 1, read_ledger(lab.pipeline)


@pytest.mark.long
@pytest.mark.parametrize("binary", list(BINARIES))
@pytest.mark.parametrize("ahead", [7200, -7200])
def test_failover_to_a_server_with_another_clock_during_a_purchase_buys_once(
    tmp_path, sandbox, eventually, binary, ahead
):
    with set_up(tmp_path, sandbox, binary, held=2.25, replica_ahead=ahead, **SHORT) as lab:

        def fail_over():
            lab.replica.promote()
            lab.store.follow(lab.replica)
            lab.front.switch(lab.replica.port)

        result = buy_through_step(lab, eventually, fail_over, 60)
        assert len(result.succeeded) == 1
        assert lab.pipeline.posts() == len(lab.api.held_at) == 1, read_ledger(lab.pipeline)


@pytest.mark.long
@pytest.mark.parametrize("binary", list(BINARIES))
@pytest.mark.parametrize("ahead", [-3000, -30 * DAY])
def test_lost_answer_is_found_after_the_clock_was_set_back(tmp_path, sandbox, eventually, binary, ahead):
    """Set the clock back before the search: the job of the purchase seems to be older than its intent."""
    with set_up(tmp_path, sandbox, binary, held=1.0, **SHORT) as lab:
        sandbox.fault("reset_after", kind="create_job", times=1)
        # The list shows the job only when the job has ended, with a start time.
        sandbox.fault("list_lag", kind="list_jobs", seconds=1.0)
        result = buy_through_step(lab, eventually, lambda: lab.clock.step_to(ahead), 60)
        assert len(result.succeeded) == 1
        assert lab.pipeline.posts() == len(lab.api.held_at) == 1, read_ledger(lab.pipeline)


@pytest.mark.long
@pytest.mark.parametrize("binary", list(BINARIES))
def test_running_job_is_fetched_after_the_clock_was_set_by_a_month(tmp_path, sandbox, eventually, binary):
    with set_up(tmp_path, sandbox, binary, held=0.0, **SHORT) as lab:
        for ahead in (30 * DAY, 0):
            handle = lab.pipeline.enqueue([f"{TARGET}?seconds=3&ahead={ahead}"])
            eventually(lambda handle=handle: handle.state == "running")
            lab.clock.step_to(ahead)
            assert len(handle.result(timeout=60).succeeded) == 1
        assert lab.pipeline.posts() == 2
        assert "was set back by 259" in lab.pipeline.log.read_text()


@pytest.mark.long
@pytest.mark.parametrize("binary", list(BINARIES))
def test_step_of_a_month_frees_no_idempotency_key(tmp_path, sandbox, binary):
    with set_up(tmp_path, sandbox, binary, held=0.0, **SHORT) as lab:
        first = lab.pipeline.enqueue([TARGET], idempotency_key="order-1")
        assert first.result(timeout=60).succeeded
        lab.clock.step_to(30 * DAY)
        assert lab.pipeline.enqueue([TARGET], idempotency_key="order-1").run_id == first.run_id
        assert lab.pipeline.posts() == 1
