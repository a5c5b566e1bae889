"""Bound the bytes that one process holds while it fetches: many small pages, and one large page at a time.

Each answer is read freely up to `LARGE` bytes. A larger answer holds the only memory slot until it is stored.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Bytes of a decompressed answer that need no slot.
LARGE = 1_048_576
#: Seconds that an answer waits for the slot at most. Until then it holds a request slot that others could use.
TIMEOUT = 60.0


@dataclass
class _Scope:
    """The scope of one answer, from its request until it is stored."""

    has_slot: bool = False
    is_open: bool = True


_scope: ContextVar[_Scope | None] = ContextVar("page_scope", default=None)


class PageMemory:
    """The memory slot of one process. Use it from one event loop.

    An answer that waits for the slot holds at most `LARGE` bytes, and nothing that the owner of the slot needs.
    """

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self._slot, self._timeout = asyncio.Lock(), timeout

    @asynccontextmanager
    async def page(self) -> AsyncIterator[None]:
        """Open the scope of an answer. Its end gives the slot back. An inner scope is part of the outer scope."""
        outer = _scope.get()
        if outer is not None and outer.is_open:
            yield
            return
        scope = _Scope()
        token = _scope.set(scope)
        try:
            yield
        finally:
            _scope.reset(token)
            scope.is_open = False
            if scope.has_slot:
                self._slot.release()

    async def grow(self) -> None:
        """Wait for the slot. The client calls this before it reads more than `LARGE` bytes of an answer.

        Outside a scope, nothing would give the slot back. Such an answer does not take the slot.

        Raises:
            TimeoutError: If other large answers had the slot for too long. Fetch the answer again later.
        """
        scope = _scope.get()
        if scope is None or scope.has_slot or not scope.is_open:
            return
        async with asyncio.timeout(self._timeout):
            await self._slot.acquire()
            # Inside the block, because a timeout at the end of the block would lose the slot for ever.
            scope.has_slot = scope.is_open
            if not scope.is_open:
                # The asyncio task has outlived the scope in which it was made. Nothing else would give the slot back.
                self._slot.release()
