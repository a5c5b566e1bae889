"""Test the calls of async callers: starting, watching, reading and canceling runs."""

from __future__ import annotations

import asyncio
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from types import SimpleNamespace

import pytest
from celery import Celery, _state

from scrape_do_celery import aenqueue, aenqueue_many
from scrape_do_celery.errors import (
    IdempotencyConflictError,
    ResultExpiredError,
    ResultNotReadyError,
    RunNotFoundError,
    StoreUnavailableError,
)
from scrape_do_celery.runs import RunHandle, threads
from scrape_do_celery.runs.async_handle import AsyncRunMethods
from scrape_do_celery.runs.celery_app import find_user_app, lent_app
from scrape_do_celery.runs.hooks import override_hooks
from scrape_do_celery.signals import run_changed
from scrape_do_celery.store import PartState, RunState
from scrape_do_celery.store.commands.parts import FinishPart, UpdatePart
from scrape_do_celery.store.commands.runs import RecordOutcome
from scrape_do_celery.store.deadlines import limited_time, note_wait


async def gather(iterator):
    return [item async for item in iterator]


def test_runs_are_started_as_by_the_blocking_calls(start_run, make, step_harness):
    async def start():
        one = await aenqueue(make.urls(2), idempotency_key="k", max_wait=60)
        many = await aenqueue_many([make.urls(1), make.urls(2)], idempotency_keys=[None, "k"], max_wait=60)
        with pytest.raises(ValueError, match="targets"):
            await aenqueue(["nonsense"])
        return one, many, await one.astatus()

    one, many, status = asyncio.run(start())
    assert many[1] == one
    assert many[0] != one
    assert (status, status.total) == (one.status, 2)


@pytest.fixture
def callers_thread(start_run):
    """Provide the thread of a host that has the caller's transaction. The actions at its commit are in `commits`."""
    with ThreadPoolExecutor(1, thread_name_prefix="caller") as executor:
        host = SimpleNamespace(steps=[], is_in_transaction=False, commits=[], tidied=[])

        async def call(function):
            host.steps.append(function.args[-1].__name__)
            return await asyncio.get_running_loop().run_in_executor(executor, copy_context().run, function)

        hook = {
            "call_from_async": call,
            "after_commit": lambda: host.commits.append if host.is_in_transaction else None,
            "close_connections": lambda: host.tidied.append(threading.current_thread().name.split("_")[0]),
        }
        with override_hooks(lambda hooks: replace(hooks, **hook)):
            yield host


def test_store_is_not_asked_on_the_caller_s_thread(callers_thread, step_harness, make, monkeypatch):
    seen, told = set(), []
    exchange = step_harness.app_context.store._exchange

    def note_thread(*args):
        seen.add(threading.current_thread().name.split("_")[0])
        return exchange(*args)

    def hear(status, **_):
        told.append((status.run_id, threading.current_thread().name.split("_")[0]))

    monkeypatch.setattr(step_harness.app_context.store, "_exchange", note_thread)
    run_changed.connect(hear, weak=False)
    try:
        handle = asyncio.run(aenqueue(make.urls(1), run_id="order-1"))
        assert callers_thread.steps == ["prepare", "announce"]
        assert told == [(handle.run_id, "caller")]
        with pytest.raises(IdempotencyConflictError):
            asyncio.run(aenqueue(make.urls(2), run_id="order-1"))
    finally:
        run_changed.disconnect(hear)
    assert asyncio.run(aenqueue_many([make.urls(1)], run_ids=["order-1"])) == [handle]
    assert callers_thread.steps == ["prepare", "announce", "prepare", "prepare"]
    callers_thread.is_in_transaction = True
    asyncio.run(aenqueue(make.urls(1), idempotency_key="k", run_id="order-2"))
    with pytest.raises(IdempotencyConflictError):
        asyncio.run(aenqueue(make.urls(2), run_id="order-1"))
    assert seen == set(callers_thread.tidied) == {"scrape-do-async"}
    assert step_harness.run_ids() == {"order-1"}
    for act in callers_thread.commits:
        act()
    assert step_harness.run_ids() == {"order-1", "order-2"}


@pytest.mark.parametrize("ends", ["commits", "rolls back"])
def test_transaction_that_ends_before_the_call_decides(callers_thread, step_harness, make, monkeypatch, ends):
    """Another task may end the transaction while this call waits for the store."""
    callers_thread.is_in_transaction = True
    exchange = step_harness.app_context.store._exchange

    def end_before(*args):
        if ends == "commits":
            while callers_thread.commits:
                callers_thread.commits.pop()()
        return exchange(*args)

    monkeypatch.setattr(step_harness.app_context.store, "_exchange", end_before)
    handle = asyncio.run(aenqueue(make.urls(1), idempotency_key="k"))
    assert step_harness.run_ids() == ({handle.run_id} if ends == "commits" else set())


def test_calls_of_one_context_share_their_time_of_waiting(step_harness):
    context = copy_context()
    for _ in range(2):
        context.run(note_wait, 4.0)

    def left():
        with limited_time(10.0) as deadline:
            return deadline.left

    assert context.run(left) <= 2.0
    assert copy_context().run(left) > 9.0


def test_canceled_run_and_unknown_run(step_harness):
    step_harness.create_run()
    handle = RunHandle("r", app_context=step_harness.app_context)
    assert asyncio.run(handle.acancel())
    unknown = RunHandle("none", app_context=step_harness.app_context)
    for call in (unknown.astatus, unknown.acancel):
        with pytest.raises(RunNotFoundError):
            asyncio.run(call())
    with pytest.raises(RunNotFoundError):
        asyncio.run(gather(unknown.aiter_status()))


class ScriptedRun(AsyncRunMethods):
    """A run whose statuses and tasks are given."""

    def __init__(self, statuses=(), tasks=(), error=None):
        self.statuses, self.tasks, self.error, self.reads = list(statuses), tasks, error, 0

    @property
    def status(self):
        self.reads += 1
        return self.statuses.pop(0)

    def iter_tasks(self, *, partial=False):
        yield from self.tasks
        if self.error:
            raise self.error


def test_each_changed_status_is_yielded_until_the_end(step_harness, make):
    step_harness.create_run()
    queued = RunHandle("r", app_context=step_harness.app_context).status
    ended = replace(queued, state=RunState.SUCCEEDED)
    run = ScriptedRun([queued, queued, queued, ended, queued])
    assert asyncio.run(gather(run.aiter_status(0.05))) == [queued, ended]
    assert run.reads == 4
    for wrong in (0, 0.01, -1, float("nan")):
        with pytest.raises(ValueError, match=r"at least 0\.05 seconds"):
            asyncio.run(gather(run.aiter_status(wrong)))


@pytest.mark.parametrize("number", [0, 1, 24, 25, 26, 50, 51])
def test_tasks_are_yielded_in_order(number):
    assert asyncio.run(gather(ScriptedRun(tasks=range(number)).aiter_tasks())) == list(range(number))


@pytest.mark.parametrize("number", [0, 3, 25, 30])
def test_tasks_before_an_error_are_not_lost(number):
    tasks = ScriptedRun(tasks=range(number), error=ResultExpiredError("gone", "r")).aiter_tasks()
    found = []

    async def read():
        async for task in tasks:
            found.append(task)  # noqa: PERF401 (a comprehension would lose the tasks before the error)

    with pytest.raises(ResultExpiredError):
        asyncio.run(read())
    assert found == list(range(number))


def test_tasks_of_a_real_run(step_harness, make):
    step_harness.create_run()
    handle = RunHandle("r", app_context=step_harness.app_context)
    with pytest.raises(ResultNotReadyError):
        asyncio.run(gather(handle.aiter_tasks()))
    step_harness.make_running(state=PartState.FETCHING)
    claim = step_harness.claim_part()
    step_harness.run(UpdatePart(claim, {}, job=make.job("success")))
    for position in range(2):
        step_harness.store_content(position=position)
    assert len(asyncio.run(gather(handle.aiter_tasks(partial=True)))) == 2
    step_harness.run(FinishPart(claim, "succeeded"))
    step_harness.run(RecordOutcome("r", "succeeded", {"decided_by": 0}))
    assert asyncio.run(gather(handle.aiter_tasks())) == list(handle.iter_tasks())


def test_calls_leave_the_default_threads_of_the_loop_alone():
    async def names():
        return await threads.call_in_thread(lambda: threading.current_thread().name)

    assert asyncio.run(names()).startswith("scrape-do-async")


def test_call_without_time_for_its_thread_is_not_sent(step_harness):
    context = step_harness.app_context

    def call():
        note_wait(context.settings.store_timeout)
        with context.limited_call(["r"]):
            raise AssertionError("the call must not begin")

    with pytest.raises(StoreUnavailableError, match="does not answer the calls before") as caught:
        copy_context().run(call)
    assert caught.value.run_id == "r"
    assert not caught.value.may_be_written


def test_child_of_a_fork_makes_threads_of_its_own():
    before = threads.find_executor()
    assert threads.find_executor() is before
    pid = os.fork()
    if pid == 0:
        os._exit(0 if threads.find_executor() is not before else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_thread_sees_the_app_of_its_caller(clean_environment):
    first, second = Celery("first", broker="memory://"), Celery("second", broker="memory://")
    seen = {}

    def look(app):
        with lent_app(app):
            seen[app and app.main] = find_user_app()
        seen["after"] = _state._tls.current_app

    for app in (first, None):
        thread = threading.Thread(target=look, args=(app,))
        thread.start()
        thread.join()
    assert seen == {"first": first, None: None, "after": None}
    second.set_current()
    with lent_app(first):
        assert find_user_app() is second
