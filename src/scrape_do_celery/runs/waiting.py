"""Wait for the end of a run within a caller's time, in threads and in async code."""

from __future__ import annotations

import asyncio
import time
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.runs.threads import find_executor
from scrape_do_celery.store.deadlines import limited_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

#: Seconds between two checks of a waiting caller, first and longest.
_WAIT_MIN, _WAIT_MAX = 0.02, 0.2
#: Seconds after the caller's time within which the last answer of the store may come, and the least for any answer.
_OVERRUN, _LEAST = 0.75, 0.1


class WaitLimit:
    """The time of a caller who waits for a run, and the part of the time that each call to the store may take."""

    def __init__(self, timeout: float | None, store_timeout: float) -> None:
        self._until = None if timeout is None else time.monotonic() + timeout
        self._store_timeout = store_timeout

    @property
    def store_seconds(self) -> float:
        """Seconds that the next call to the store may take."""
        if self._until is None:
            return self._store_timeout
        return min(self._store_timeout, max(_LEAST, self._until + _OVERRUN - time.monotonic()))

    def intervals(self) -> Iterator[float]:
        """Yield growing waits between two checks, in seconds. The last check is at the end of the caller's time."""
        wait: float = _WAIT_MIN
        while self._until is None or (left := self._until - time.monotonic()) > 0:
            yield wait if self._until is None else min(wait, left)
            wait = min(_WAIT_MAX, wait * 1.5)
        yield 0.0

    def call(self, function: Callable[..., T], *args: object, by_progress: bool = False) -> T:
        """Call a function that reads the store. With `by_progress`, the limit is for time without progress."""
        with limited_time(self.store_seconds, by_progress=by_progress):
            return function(*args)

    async def acall(self, function: Callable[..., T], *args: object, by_progress: bool = False) -> T:
        """Do as `call` in a thread of this package.

        The default threads of an event loop also resolve names and serve the application. A store that hangs must not
        take all of them.

        Raises:
            StoreUnavailableError: no thread was free in time, because calls before wait for the store.
        """
        work = partial(copy_context().run, partial(self.call, function, *args, by_progress=by_progress))
        future = asyncio.get_running_loop().run_in_executor(find_executor(), work)
        try:
            return await asyncio.wait_for(future, None if by_progress else self.store_seconds + _LEAST)
        except TimeoutError as error:
            if future.cancelled():
                raise StoreUnavailableError("the store does not answer the calls before this one") from error
            raise
