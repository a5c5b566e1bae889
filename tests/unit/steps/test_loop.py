"""Test the event loop of a worker process, which many threads share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from concurrent.futures import CancelledError

import pytest
from celery._state import _task_stack

from scrape_do_celery.steps.loop import LoopThread, call_in_caller


@pytest.fixture
def loop():
    made = LoopThread()
    yield made
    if not made._loop.is_closed():
        made.close()


def test_loop_serves_many_threads(loop):
    async def work(number):
        await asyncio.sleep(0.001)
        return number, threading.current_thread().name

    results = []
    threads = [threading.Thread(target=lambda n=n: results.append(loop.run(work(n)))) for n in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(results) == [(n, "scrape-do-loop") for n in range(10)]


def test_error_is_raised_in_the_calling_thread(loop):
    async def work():
        raise KeyError("x")

    with pytest.raises(KeyError):
        loop.run(work())


def test_a_call_is_made_by_the_thread_that_waits(loop):
    async def work():
        called = await call_in_caller(threading.current_thread), threading.current_thread().name
        with pytest.raises(KeyError):
            await call_in_caller({}.__getitem__, "x")
        return called

    assert loop.run(work()) == (threading.current_thread(), "scrape-do-loop")


def test_a_call_is_made_outside_of_the_step(loop):
    """Hide the running step: Celery would make it the parent of each message that is published for a run."""
    _task_stack.push(task := object())
    try:
        assert loop.run(call_in_caller(lambda: _task_stack.top)) is None
        assert _task_stack.top is task
    finally:
        _task_stack.pop()


def test_a_call_without_a_waiting_thread_is_made_by_a_thread():
    async def work():
        return await call_in_caller(threading.current_thread)

    assert asyncio.run(work()) is not threading.current_thread()


def test_interrupted_caller_cancels_its_work(loop):
    ended = threading.Event()

    def interrupt():
        raise KeyboardInterrupt

    async def work():
        try:
            await call_in_caller(interrupt)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        loop.run(work())
    assert ended.wait(10)


def test_moved_time_ends_a_wait():
    ahead, waiting = [0.0], threading.Event()
    loop = LoopThread(lambda: time.monotonic() + ahead[0])

    async def wait_an_hour():
        asyncio.get_running_loop().call_soon(waiting.set)
        await asyncio.sleep(3600)

    thread = threading.Thread(target=loop.run, args=(wait_an_hour(),))
    thread.start()
    assert waiting.wait(10)
    ahead[0] = 3600.0
    loop.wake()
    thread.join(10)
    assert not thread.is_alive()
    loop.close()


def test_closing_a_loop_cancels_its_work(loop):
    ended = threading.Event()

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def begin():
        begin.task = asyncio.ensure_future(work())
        await asyncio.sleep(0)

    loop.run(begin())
    loop.close()
    assert ended.is_set()
    assert loop._loop.is_closed()
    with pytest.raises(RuntimeError):
        loop.run(begin())


def test_closing_a_loop_ends_a_waiting_thread_by_an_exception(loop):
    began, found = threading.Event(), []

    async def work():
        asyncio.get_running_loop().call_soon(began.set)
        await asyncio.sleep(60)

    def wait():
        try:
            loop.run(work())
        except CancelledError as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    assert began.wait(10)
    loop.close()
    thread.join(10)
    assert len(found) == 1


def test_a_loop_that_does_not_answer_is_left_alone(loop):
    with pytest.raises(TimeoutError):
        loop.run(asyncio.sleep(60), timeout=0.01)


GREENLETS = """
import gevent.monkey
gevent.monkey.patch_all()
import asyncio, gevent, logging, sys
from scrape_do_celery.steps.loop import LoopThread, call_in_caller

# Threads take turns after a few instructions, so that they meet in every lock that they share.
sys.setswitchinterval(1e-5)
lines = []
class Handler(logging.Handler):
    def emit(self, record):
        lines.append(record.getMessage())
logging.basicConfig(level=logging.INFO, handlers=[Handler()])
log = logging.getLogger("scrape_do_celery")
loop = LoopThread()

def add_one(number):
    gevent.sleep(0.0001)
    return number + 1

async def work(number):
    for _ in range(20):
        for _ in range(5):
            log.info("loop")
        await asyncio.sleep(0.0005)
        assert await call_in_caller(add_one, number) == number + 1
    return number

def log_much():
    for _ in range(500):
        log.info("greenlet")
        gevent.sleep(0)

def be_killed():
    caller = gevent.spawn(loop.run, work(0))
    gevent.sleep(0.01)
    caller.kill()

async def use_helpers():
    running = asyncio.get_running_loop()
    resolved = await running.getaddrinfo("localhost", 80)
    assert resolved, resolved
    assert await running.run_in_executor(None, len, "ab") == 2
    try:
        await running.run_in_executor(None, int, "x")
    except ValueError:
        return "helped"

callers = [gevent.spawn(loop.run, work(number)) for number in range(20)]
others = [gevent.spawn(log_much) for _ in range(10)] + [gevent.spawn(be_killed) for _ in range(20)]
gevent.joinall(callers + others, timeout=60, raise_error=True)
assert [caller.value for caller in callers] == list(range(20))
assert loop.run(use_helpers()) == "helped"
try:
    loop.run(asyncio.sleep(60), timeout=0.01)
except TimeoutError:
    pass
assert asyncio.run(asyncio.sleep(0, "own loop")) == "own loop"
loop.close()
assert lines.count("greenlet") == 5000
assert lines.count("loop") >= 2000
assert not log.filters
print("passed")
"""


def test_greenlets_and_the_loop_do_not_meet_in_a_lock():
    ran = subprocess.run([sys.executable, "-c", GREENLETS], capture_output=True, text=True, timeout=100, check=False)
    assert (ran.stdout, ran.returncode) == ("passed\n", 0), ran.stderr
