"""Run the event loop of a process, in a thread that starts after the fork, for steps of any Celery pool."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

T = TypeVar("T")


class LoopThread:
    """The event loop of a process, and its thread. Other threads run coroutines on it.

    With `time`, this function returns the time of the loop in seconds. If that time jumps forward, call `wake`.
    """

    def __init__(self, time: Callable[[], float] | None = None) -> None:
        self._loop = asyncio.new_event_loop() if time is None else _TimedLoop(time)
        self._thread = threading.Thread(target=self._loop.run_forever, name="scrape-do-loop", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop, and return its result. A time limit or revocation of the caller cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def wake(self) -> None:
        """End the sleep of the loop. The loop computes how long to sleep next."""
        self._loop.call_soon_threadsafe(_do_nothing)

    def close(self) -> None:
        """Cancel the coroutines that run on the loop, and stop the loop."""
        asyncio.run_coroutine_threadsafe(_cancel_rest(), self._loop).result(timeout=10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=10)
        self._loop.close()


class _TimedLoop(asyncio.SelectorEventLoop):
    """An event loop that takes its time from a function."""

    def __init__(self, time: Callable[[], float]) -> None:
        super().__init__()
        self._read_time = time

    def time(self) -> float:
        return self._read_time()


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
