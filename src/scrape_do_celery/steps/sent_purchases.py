"""Let a `POST` go on after its step has lost the part: the answer to it names a job that is paid for."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from scrape_do_celery.log_fields import get_logger, log_fields

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")
log = get_logger(__name__)

#: Seconds between two looks whether the end of the worker is urgent.
_LOOK_EVERY = 0.2


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

    async def wait_for_all(self, seconds: float, is_hurried: Callable[[], bool]) -> None:
        """Wait until each purchase has stored its answer, or for `seconds`, or until `is_hurried` is true.

        A purchase that is left behind is searched for, as after the death of the process.
        """
        until = time.monotonic() + seconds
        while self._going_on and time.monotonic() < until and not is_hurried():
            await asyncio.wait(self._going_on, timeout=_LOOK_EVERY)
        if self._going_on:
            log.warning(
                "the worker ends before the answers to %d purchases came; a later step searches for their jobs",
                len(self._going_on),
                extra=log_fields("purchases_left"),
            )

    def _drop(self, purchase: asyncio.Future[Any]) -> None:
        self._going_on.discard(purchase)
        if not purchase.cancelled():
            purchase.exception()  # retrieved, so that asyncio does not report an error that the step has logged
