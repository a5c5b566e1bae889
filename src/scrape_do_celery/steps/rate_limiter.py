"""Limit the requests of all workers together: in flight, per second, and none during the pause after a 429."""

from __future__ import annotations

import asyncio
import logging
import math
import uuid
from collections import deque
from contextlib import asynccontextmanager, suppress
from contextvars import Context, ContextVar
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

from redis.exceptions import RedisError

from scrape_do_celery.errors import AsyncAPIRateLimitError
from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.steps.counters import Counters
from scrape_do_celery.store.commands.limits import AllocateRequests, RequestQuota

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrape_do_celery.store import AsyncStore

log = logging.getLogger(__name__)

_Queue: TypeAlias = "deque[tuple[asyncio.Future[None], bool]]"

#: Seconds between two calls of the store while requests are in flight, and while requests wait.
_EVERY, _HURRY = 0.5, 0.1
_TOO_MANY = 429
_LOW_PRIORITY_SHARE = 4


#: Whether the requests of this asyncio task belong to a run with a stop request. A caller waits for the end of the run.
is_stopping: ContextVar[bool] = ContextVar("is_urgent", default=False)


class PausedError(AsyncAPIRateLimitError):
    """A request was not sent, because another request got a 429 and its pause is not over."""

    @classmethod
    def for_another(cls, seconds: float) -> PausedError:
        """Return the error of a request that comes `seconds` before the end of a pause."""
        text = f"the API answered 429: all workers pause for another {seconds:.1f} s; the request was not sent"
        return cls(text, _TOO_MANY, None, None, seconds, "")


@dataclass
class RequestSlot:
    """Permission for one request. If the owner sets `was_used` to False, another request may start instead."""

    was_used: bool = True


class RateLimiter:
    """The share of this process in the requests of all workers.

    The process asks the store for its share from time to time, not for each request.
    """

    def __init__(self, store: AsyncStore, *, here: int, limit: int, rate: float | None = None) -> None:
        """Allow `here` requests in flight in this process, `limit` in all, and `rate` starts per second in all."""
        self._store, self._here, self._limit, self._rate = store, here, limit, rate
        self._name = uuid.uuid4().hex
        #: sent to the store with the next call
        self.counters = Counters()
        self._share, self._starts, self._running = 0, 0.0, 0
        #: Requests that wait, and whether each is urgent. The second queue has the requests of low priority.
        self._queues: tuple[_Queue, _Queue] = (deque(), deque())
        self._admitted = 0
        self._asker: asyncio.Task[None] | None = None
        self._needed = asyncio.Event()
        self._paused_until = 0.0

    @asynccontextmanager
    async def acquire(self, *, low_priority: bool = False) -> AsyncIterator[RequestSlot]:
        """Wait for permission to send one request (FIFO). With `low_priority`, nearly all other requests go first.

        A request of a run with a stop request does not wait for the end of a pause.

        Raises:
            PausedError: If all workers pause. Nothing was sent.
        """
        urgent = is_stopping.get()
        if not urgent and (left := self._pause_left()) > 0:
            raise PausedError.for_another(left)
        room = asyncio.get_running_loop().create_future()
        self._queues[low_priority].append((room, urgent))
        self._admit()
        if not room.done():
            self._start_sync()
        try:
            await room
        except asyncio.CancelledError:
            if room.done() and not room.cancelled() and room.exception() is None:
                self._leave_queue()
            raise
        used = RequestSlot()
        try:
            yield used
        finally:
            if not used.was_used:
                self._starts += 1
            self._leave_queue()

    def pause(self, seconds: float) -> None:
        """Start no request in this process for `seconds`. Other processes read the pause from the store."""
        self._paused_until = max(self._paused_until, asyncio.get_running_loop().time() + seconds)
        for room, urgent in chain(*self._queues):
            if not urgent and not room.done():
                room.set_exception(PausedError.for_another(seconds))

    async def aclose(self) -> None:
        """Give the share back to the store."""
        if self._asker is not None:
            self._asker.cancel()
            await asyncio.gather(self._asker, return_exceptions=True)
        with suppress(RedisError):
            # An empty context: the call belongs to no step, even if a step closes the limiter.
            await asyncio.get_running_loop().create_task(self._sync_quota(0, 0), context=Context())

    def _pause_left(self) -> float:
        return self._paused_until - asyncio.get_running_loop().time()

    def _leave_queue(self) -> None:
        self._running -= 1
        self._admit()

    def _admit(self) -> None:
        while (queue := self._waiting) and self._running < self._share and self._starts >= 1:
            room, _ = queue.popleft()
            if not room.done():
                self._admitted += 1
                self._running, self._starts = self._running + 1, self._starts - 1
                room.set_result(None)

    @property
    def _waiting(self) -> _Queue:
        """The queue whose turn it is. Every fourth turn (`_LOW_PRIORITY_SHARE`) belongs to requests of low priority.

        Such requests fetch pages that are paid for, and must not wait for ever.
        """
        first, low_priority = self._queues
        return (low_priority or first) if self._admitted % _LOW_PRIORITY_SHARE == 0 else (first or low_priority)

    def _start_sync(self) -> None:
        self._needed.set()
        if self._asker is None or self._asker.done():
            # An empty context: the loop serves all steps, and outlives the step that started it.
            self._asker = asyncio.get_running_loop().create_task(self._sync_loop(), context=Context())

    async def _sync_loop(self) -> None:
        """Renew the share until no request waits or is in flight. The last call gives the share back."""
        wanted = True
        while wanted:
            self._needed.clear()
            for queue in self._queues:
                still = [entry for entry in queue if not entry[0].done()]
                queue.clear()
                queue.extend(still)
            wanted = bool(self._waiting or self._running)
            try:
                await self._renew()
            except RedisError as error:
                # The last grant stays valid. Steps need the store for all their work, and report the error.
                log.debug(
                    "could not allocate requests in the store: %s; the last allocation stays in force",
                    type(error).__name__,
                    extra=log_fields("requests_not_allocated"),
                )
            except Exception:
                log.exception(
                    "could not allocate requests in the store; the last allocation stays in force",
                    extra=log_fields("requests_not_allocated"),
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(_HURRY if self._waiting else _EVERY):
                    await (asyncio.sleep(_EVERY) if self._waiting else self._needed.wait())
            wanted = wanted or bool(self._waiting or self._running)
        self._share = 0

    async def _renew(self) -> None:
        wanted = min(sum(map(len, self._queues)) + self._running, self._here)
        # Lower the share before the call: the store may grant the difference to another process before it answers.
        self._share = min(self._share, max(wanted, self._running))
        share = await self._sync_quota(wanted, self._running, self._rate)
        self._share = share.requests
        # Starts that unused slots gave back in the meantime count, up to the size of the share.
        self._starts = math.inf if self._rate is None else min(self._starts + share.starts, max(1, share.requests))
        if share.pause > 0:
            self.pause(share.pause)
        self._admit()

    async def _sync_quota(self, wanted: int, under_way: int, rate: float | None = None) -> RequestQuota:
        """Ask the store for a share, and give it the counts of this process."""
        counted = self.counters.drain()
        command = AllocateRequests(self._name, wanted, under_way, limit=self._limit, rate=rate, counted=counted)
        try:
            return await self._store.run(command)
        except BaseException:
            self.counters.restore(counted)
            raise
