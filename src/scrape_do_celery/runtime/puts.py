"""Storing what has arrived: pages that come while one trip to the store is under way go together in the next."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from scrape_do_celery.store import AsyncStore, ops

#: Pages, and bytes of them, in one trip.
_MOST, _BYTES = 50, 4_000_000


class Puts:
    """Puts of one process, in the order in which they came."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store
        self._waiting: list[tuple[ops.Op[int], asyncio.Future[int]]] = []
        self._at_work: asyncio.Task[None] | None = None

    async def put(self, op: ops.Op[int]) -> int:
        """What the store answers to this one."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((op, future))
        if self._at_work is None or self._at_work.done():
            self._at_work = asyncio.create_task(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            batch = self._next()
            try:
                answers = await self._store.run_all([op for op, _ in batch])
            except BaseException as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error) if isinstance(error, Exception) else future.cancel()
                if not isinstance(error, Exception):
                    raise
            else:
                for (_, future), answer in zip(batch, answers, strict=True):
                    if not future.done():
                        future.set_result(answer)

    def _next(self) -> list[tuple[ops.Op[int], asyncio.Future[int]]]:
        size = count = 0
        while count < min(len(self._waiting), _MOST) and size < _BYTES:
            size += sum(len(arg) for arg in self._waiting[count][0].args if isinstance(arg, bytes))
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch
