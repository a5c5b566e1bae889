"""Let a `POST` go on after its step has lost the part: the answer to it names a job that is paid for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class SentPurchases:
    """The purchases of a process whose bytes may have left. Use it from one event loop."""

    def __init__(self) -> None:
        #: Without this reference, Python may drop a task that nobody waits for.
        self._going_on: set[asyncio.Future[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T], was_sent: asyncio.Event) -> T:
        """Return the result of `work`. If the step is cancelled after `was_sent` is set, `work` goes on by itself."""
        purchase = asyncio.ensure_future(work)
        self._going_on.add(purchase)
        purchase.add_done_callback(self._drop)
        try:
            return await asyncio.shield(purchase)
        except asyncio.CancelledError:
            if not was_sent.is_set():
                purchase.cancel()
            raise

    def _drop(self, purchase: asyncio.Future[Any]) -> None:
        self._going_on.discard(purchase)
        if not purchase.cancelled():
            purchase.exception()  # retrieved, so that asyncio does not report an error that the step has logged
