"""The methods of a run's handle for async code. No method blocks the event loop."""

from __future__ import annotations

import asyncio
from itertools import islice
from typing import TYPE_CHECKING, Final, TypeVar

from scrape_do_celery.runs.threads import call_in_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.runs.status import RunStatus

T = TypeVar("T")

#: Tasks that are read at a time, at most.
_CHUNK: Final = 25
#: The least interval of `aiter_status`, in seconds: each check costs the store a command.
_LEAST: Final = 0.05


class AsyncRunMethods:
    """The async forms of the methods of `RunHandle`."""

    if TYPE_CHECKING:

        @property
        def status(self) -> RunStatus:
            """The status, which `RunHandle` reads."""
            ...

        def cancel(self) -> bool:
            """Cancel the run, as `RunHandle` does."""
            ...

        def iter_tasks(self, *, partial: bool = False) -> Iterator[TaskDetails]:
            """Yield tasks, as `RunHandle` does."""
            ...

    async def astatus(self) -> RunStatus:
        """Return the status of the run as `status` does, in async code.

        Returns:
            The state, figures and times of the run, without pages.

        Raises:
            RunNotFoundError: the store has no such run (any more).
        """
        return await call_in_thread(lambda: self.status)

    async def acancel(self) -> bool:
        """Request the end of the run as `cancel` does, in async code.

        Returns:
            True if the run will be stopped, False if the run has ended already.

        Raises:
            RunNotFoundError: the store has no such run (any more).
        """
        return await call_in_thread(self.cancel)

    async def aiter_status(self, interval: float = 0.5) -> AsyncIterator[RunStatus]:
        """Yield the present status of the run, and then each changed status, until the run has ended.

        The last status is that of the outcome. Changes between two checks are yielded as one.

        Args:
            interval: seconds between two checks, at least 0.05.

        Raises:
            ValueError: the interval is too short.
            RunNotFoundError: the store has no such run (any more).
        """
        if not interval >= _LEAST:
            raise ValueError(f"interval: at least {_LEAST:g} seconds between two checks of the store, not {interval!r}")
        last = None
        while last is None or not last.has_ended:
            status = await self.astatus()
            if status != last:
                yield status
            last = status
            if not status.has_ended:
                await asyncio.sleep(interval)

    async def aiter_tasks(self, *, partial: bool = False) -> AsyncIterator[TaskDetails]:
        """Yield the fetched tasks as `iter_tasks` does, in async code.

        Args:
            partial: as in `iter_tasks`.

        Raises:
            ScrapeDoError: the errors of `iter_tasks`.
        """
        async for task in aiter_in_threads(self.iter_tasks(partial=partial)):
            yield task


async def aiter_in_threads(values: Iterator[T]) -> AsyncIterator[T]:
    """Yield the values of an iterator that waits for the store. The event loop is never blocked."""
    has_more = True
    while has_more:
        chunk, error = await call_in_thread(lambda: _read_chunk(values))
        for value in chunk:
            yield value
        if error is not None:
            raise error
        has_more = len(chunk) == _CHUNK


def _read_chunk(values: Iterator[T]) -> tuple[list[T], Exception | None]:
    """Return the next values, and the error that ended them. Values before an error must not be lost."""
    chunk: list[T] = []
    try:
        chunk.extend(islice(values, _CHUNK))
    except Exception as error:  # noqa: BLE001 (the caller raises the error after the values)
        return chunk, error
    return chunk, None
