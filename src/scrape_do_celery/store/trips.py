"""Trips to the store: what is asked for while others are under way goes together in the next one.

A command costs its own trip several times over: a system call, a wake-up, and on a server that syncs at every write
(`appendfsync always`) a sync. A trip of fifty costs each of those once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from scrape_do_celery.store.op import Op

#: Trips under way at once, so that a page does not hold up the renewal of a lease; operations, and bytes, in one.
_AT_ONCE, _MOST, _BYTES = 4, 100, 4_000_000


class Trips:
    """Carries operations out in the order in which they were asked for, many at a time.

    `carry` answers each operation of a trip, with an error where that one failed; if it raises, all of them failed.
    """

    def __init__(self, carry: Callable[[Sequence[Op[Any]]], Awaitable[Sequence[Any]]]) -> None:
        self._carry = carry
        self._waiting: list[tuple[Op[Any], asyncio.Future[Any]]] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._leaving = False

    async def take(self, op: Op[Any]) -> Any:
        """What the store answers; a caller that is cancelled has its operation carried out, or not."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((op, future))
        self._leave()
        return await future

    async def aclose(self) -> None:
        """Ends the trips that are under way."""
        for trip in self._under_way:
            trip.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _leave(self) -> None:
        if self._waiting and not self._leaving and len(self._under_way) < _AT_ONCE:
            # It leaves when all that is ready to run has run: that may have something to take along.
            self._leaving = True
            trip = asyncio.ensure_future(self._trip())
            self._under_way.add(trip)
            trip.add_done_callback(self._back)

    def _back(self, trip: asyncio.Task[None]) -> None:
        self._under_way.discard(trip)
        self._leave()

    async def _trip(self) -> None:
        self._leaving = False
        batch = self._load()
        try:
            answers = await self._answers([op for op, _ in batch])
        except BaseException:
            for _, future in batch:
                future.cancel()
            raise
        for (_, future), answer in zip(batch, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)

    async def _answers(self, ops: Sequence[Op[Any]]) -> Sequence[Any]:
        try:
            return await self._carry(ops)
        except RedisError as error:
            return [error] * len(ops)
        except Exception as error:  # noqa: BLE001 (it is handed to who asked)
            # One that cannot be sent at all: the others are none the worse for it.
            return [error] if len(ops) == 1 else [(await self._answers([op]))[0] for op in ops]

    def _load(self) -> list[tuple[Op[Any], asyncio.Future[Any]]]:
        # Who was cancelled meanwhile wants nothing any more.
        self._waiting = [(op, future) for op, future in self._waiting if not future.done()]
        size = count = 0
        while count < min(len(self._waiting), _MOST) and size < _BYTES:
            size += sum(len(arg) for arg in self._waiting[count][0].args if isinstance(arg, bytes))
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch
