"""The threads that carry out the blocking calls of async callers."""

from __future__ import annotations

import asyncio
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from scrape_do_celery.store.deadlines import note_wait

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

T = TypeVar("T")

#: Calls that are carried out at the same time, at most.
_THREADS: Final = 32
_executor: ThreadPoolExecutor | None = None


async def call_in_thread(function: Callable[[], T], context: Context | None = None) -> T:
    """Call a function in a thread of this package, with the caller's context variables, or in this context.

    The default threads of an event loop also resolve names and serve the application. If the store hangs, calls to the
    store must not occupy all of them. If all threads are busy, the wait for one counts as time of the call. Calls with
    one context share the time.
    """
    work = partial((context or copy_context()).run, _work, function, time.monotonic())
    return await asyncio.get_running_loop().run_in_executor(find_executor(), work)


def _work(function: Callable[[], T], asked_at: float) -> T:
    note_wait(time.monotonic() - asked_at)
    return function()


def find_executor() -> ThreadPoolExecutor:
    """Return the threads of this process."""
    global _executor  # noqa: PLW0603 (all event loops of a process share the threads)
    if _executor is None:
        _executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="scrape-do-async")
    return _executor


def _forget_executor() -> None:
    global _executor  # noqa: PLW0603 (as above)
    _executor = None


# Threads do not survive a fork: a child that kept the executor would wait for them forever.
os.register_at_fork(after_in_child=_forget_executor)
