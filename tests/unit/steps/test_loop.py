"""Test the event loop of a worker process, which many threads share."""

from __future__ import annotations

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from scrape_do_celery.steps.loop import LoopThread


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


def test_interrupted_caller_cancels_its_work(loop, monkeypatch):
    started, ended = threading.Event(), threading.Event()

    async def work():
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    real = asyncio.run_coroutine_threadsafe

    def interrupted(coroutine, running):
        future = real(coroutine, running)

        def result(timeout=None):
            assert started.wait(10)
            raise KeyboardInterrupt

        return SimpleNamespace(result=result, cancel=future.cancel)

    with monkeypatch.context() as patch:
        patch.setattr(asyncio, "run_coroutine_threadsafe", interrupted)
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
    assert not loop._thread.is_alive()
