"""Isolate a part whose last step died from all other parts of its process.

A part that kills its process also ends the steps on the parts beside it. Only a part that dies alone is proved guilty.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

#: Seconds that a part waits for its turn at most. Without a bound, it would hold a thread of the pool without end.
TIMEOUT = 120.0
#: Seconds for which suspects follow each other while other parts wait. Longer turns would stop a worker after a crash.
TURN = 5.0
#: Failed claims that a process remembers. Without a bound, parts that other processes end would fill the memory.
_REMEMBERED = 10_000


class NoTurnError(Exception):
    """A part did not get its turn in time. Nothing was claimed."""


class Isolation:
    """The turns of one process: many parts side by side, or one suspect alone. Use it from one event loop."""

    def __init__(self, *, timeout: float = TIMEOUT, turn: float = TURN) -> None:
        self._timeout, self._turn = timeout, turn
        self._beside, self._alone = 0, False
        self._shared: deque[asyncio.Future[None]] = deque()
        self._suspects: deque[asyncio.Future[None]] = deque()
        #: The time at which the turn of the suspects ends; None while other parts have theirs.
        self._turn_ends: float | None = None
        self._queued: set[str] = set()
        self._outlived: dict[str, str] = {}

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Enter the process beside other parts.

        Raises:
            NoTurnError: If suspects had the process for too long.
        """
        await self._enter(self._shared)
        try:
            yield
        finally:
            self._beside -= 1
            self._admit()

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Enter the process alone: no other part is in progress, and none begins.

        Raises:
            NoTurnError: If the parts before this one took too long.
        """
        await self._enter(self._suspects)
        try:
            yield
        finally:
            self._alone = False
            self._admit()

    @contextmanager
    def queued(self, name: str) -> Iterator[bool]:
        """Queue a suspect. Yield whether no other message waits for it: a second one would only hold a thread."""
        if name in self._queued:
            yield False
            return
        self._queued.add(name)
        try:
            yield True
        finally:
            self._queued.discard(name)

    def note_failure(self, name: str, token: str) -> None:
        """Remember a claim whose step failed in this process: the process lives, so the part is no suspect here."""
        self._outlived.pop(name, None)
        self._outlived[name] = token
        if len(self._outlived) > _REMEMBERED:
            del self._outlived[next(iter(self._outlived))]

    def outlived(self, name: str) -> str:
        """Return the token of the last claim of a part that failed here; '' if there is none. The store compares it."""
        return self._outlived.get(name, "")

    async def _enter(self, queue: deque[asyncio.Future[None]]) -> None:
        turn = asyncio.get_running_loop().create_future()
        queue.append(turn)
        self._admit()
        try:
            async with asyncio.timeout(self._timeout):
                await turn
        except BaseException as error:
            # The turn may have come at the same time. If it were not given back, no part could ever enter again.
            if not turn.cancel() and not turn.cancelled():
                self._give_back(queue)
            self._admit()
            if isinstance(error, TimeoutError):
                raise NoTurnError from None
            raise

    def _give_back(self, queue: deque[asyncio.Future[None]]) -> None:
        if queue is self._suspects:
            self._alone = False
        else:
            self._beside -= 1

    def _admit(self) -> None:
        """Admit the parts that have the turn. Suspects and other parts take turns, so that neither waits for ever."""
        for queue in (self._suspects, self._shared):
            while queue and queue[0].cancelled():
                queue.popleft()
        if self._alone or (self._beside and self._suspects):
            return
        now = asyncio.get_running_loop().time()
        is_over = self._turn_ends is not None and now >= self._turn_ends
        if self._suspects and not (is_over and self._shared):
            if self._turn_ends is None:
                self._turn_ends = now + self._turn
            self._alone = True
            self._suspects.popleft().set_result(None)
        elif self._shared:
            self._turn_ends = None
            for turn in self._shared:
                if not turn.cancelled():
                    self._beside += 1
                    turn.set_result(None)
            self._shared.clear()
