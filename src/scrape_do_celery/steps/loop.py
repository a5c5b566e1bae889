"""Run the event loop of a process, in a thread that starts after the fork, for steps of any Celery pool."""

from __future__ import annotations

import asyncio
from concurrent.futures import CancelledError
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar, TypeVarTuple, Unpack, cast

from celery._state import _task_stack

from scrape_do_celery.steps.log_relay import LogRelay
from scrape_do_celery.steps.os_threads import (
    destroy_hub,
    find_original,
    has_greenlets,
    import_late_modules,
    open_mailbox,
    start_os_thread,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from concurrent.futures import Executor

    from scrape_do_celery.steps.os_threads import Mailbox

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: Seconds in which the coroutines of a loop must end when the loop is closed.
_CLOSING = 10.0
#: The mailbox of the thread or greenlet that waits for the running coroutine.
_caller: ContextVar[Mailbox | None] = ContextVar("caller", default=None)


class LoopThread:
    """The event loop of a process, and its OS thread. Threads and greenlets run coroutines on the loop.

    With `time`, this function returns the time of the loop in seconds. If that time jumps forward, call `wake`.
    """

    def __init__(self, time: Callable[[], float] | None = None) -> None:
        import_late_modules()
        self._loop, self._ended = _make_loop(time), open_mailbox()
        self._log_relay = LogRelay() if has_greenlets() else None
        start_os_thread(self._run_loop, "scrape-do-loop")

    def _run_loop(self) -> None:
        if self._log_relay is not None:
            self._log_relay.adopt_thread()
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()
            destroy_hub()
            self._ended.put(None)

    def run(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Run a coroutine on the loop, and return its result. Meanwhile make the calls of its `call_in_caller`.

        A time limit or revocation of the caller cancels the coroutine.
        """
        mailbox, tasks = open_mailbox(), list[asyncio.Task[T]]()
        token = _caller.set(mailbox)
        try:
            # The loop starts the coroutine in a copy of the present context, so that logs and traces follow it.
            self._loop.call_soon_threadsafe(_start_task, work, mailbox, tasks)
            task: asyncio.Task[T] = _serve_caller(mailbox, timeout)
            return _read_result(task)
        except BaseException:
            self._give_up(work, tasks)
            raise
        finally:
            _caller.reset(token)
            mailbox.close()

    def _give_up(self, work: Coroutine[Any, Any, Any], tasks: list[asyncio.Task[Any]]) -> None:
        if self._loop.is_closed():
            if not tasks:
                work.close()
        else:
            self._loop.call_soon_threadsafe(_cancel_tasks, tasks)

    def wake(self) -> None:
        """End the sleep of the loop. The loop computes how long to sleep next."""
        self._loop.call_soon_threadsafe(_do_nothing)

    def close(self) -> None:
        """Cancel the coroutines that run on the loop, and stop the loop."""
        self.run(_cancel_rest(), _CLOSING)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._ended.get(_CLOSING)
        self._ended.close()
        if self._log_relay is not None:
            self._log_relay.close()


async def call_in_caller(function: Callable[..., T], *args: Any) -> T:
    """Call a function in the thread or greenlet that waits for this coroutine, and return its result.

    There the function may block, publish messages and use what belongs to a thread, also under gevent.
    """
    mailbox = _caller.get()
    if mailbox is None:
        # No other thread waits for this loop.
        return await asyncio.to_thread(function, *args)
    answer: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    mailbox.put(_Call(answer, partial(copy_context().run, function, *args)))
    return await answer


class _Call(NamedTuple):
    """A call that a coroutine wants another thread to make."""

    answer: asyncio.Future[Any]
    function: Callable[[], Any]

    def make(self) -> None:
        """Make the call, and give its result or error to the coroutine."""
        try:
            result, error = self.function(), None
        except Exception as raised:  # noqa: BLE001 (the coroutine gets the error)
            result, error = None, raised
        self.answer.get_loop().call_soon_threadsafe(_settle, self.answer, result, error)


def _serve_caller(mailbox: Mailbox, timeout: float | None) -> asyncio.Task[Any]:
    """Make the calls that a coroutine wants, and return its task when it is done."""
    while isinstance(item := mailbox.get(timeout), _Call):
        with _outside_of_task():
            item.make()
    return cast("asyncio.Task[Any]", item)


@contextmanager
def _outside_of_task() -> Iterator[None]:
    """Hide the step from Celery: the step must not become the parent of the messages that are published for runs."""
    hidden = []
    while (task := _task_stack.pop()) is not None:
        hidden.append(task)
    try:
        yield
    finally:
        for task in reversed(hidden):
            _task_stack.push(task)


def _settle(answer: asyncio.Future[Any], result: Any, error: Exception | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def _start_task(work: Coroutine[Any, Any, T], mailbox: Mailbox, tasks: list[asyncio.Task[T]]) -> None:
    task = asyncio.get_running_loop().create_task(work)
    # The loop itself refers to a task only weakly.
    tasks.append(task)
    task.add_done_callback(mailbox.put)


def _read_result(task: asyncio.Task[T]) -> T:
    if task.cancelled():
        # asyncio's own error is no `Exception`, and would end the caller's thread.
        raise CancelledError
    return task.result()


def _cancel_tasks(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()


def _make_loop(time: Callable[[], float] | None) -> asyncio.AbstractEventLoop:
    if has_greenlets():
        return _OSThreadLoop(time)
    return asyncio.new_event_loop() if time is None else _TimedLoop(time)


class _TimedLoop(asyncio.SelectorEventLoop):
    """An event loop that takes its time from a function, if it has one."""

    def __init__(self, time: Callable[[], float] | None, selector: Any = None) -> None:
        super().__init__(selector)
        self._read_time = time or super().time

    def time(self) -> float:
        return self._read_time()


class _OSThreadLoop(_TimedLoop):
    """An event loop whose thread never waits in gevent: its selector and its helper threads are real ones."""

    def __init__(self, time: Callable[[], float] | None) -> None:
        super().__init__(time, find_original("selectors", "DefaultSelector")())

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Call a function in a thread. asyncio's own executor would have greenlets of this thread, which never run."""
        if executor is not None:
            return super().run_in_executor(executor, func, *args)
        answer: asyncio.Future[T] = self.create_future()
        start_os_thread(_Call(answer, partial(func, *args)).make, "scrape-do-helper")
        return answer

    async def getaddrinfo(self, host: Any, port: Any, **options: int) -> Any:
        """Resolve a name with the system's resolver, as asyncio does without gevent."""
        function = find_original("socket", "getaddrinfo")
        return await self.run_in_executor(None, partial(function, host, port, **options))


def _do_nothing() -> None:
    """Do nothing. To schedule this wakes a loop."""


async def gather_or_cancel(works: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines together. Return their results in order. The first error cancels the others, and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(work) for work in works]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


async def _cancel_rest() -> None:
    rest = asyncio.all_tasks() - {asyncio.current_task()}
    for task in rest:
        task.cancel()
    await asyncio.gather(*rest, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()
