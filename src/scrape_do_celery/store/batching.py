"""Send commands to the store in batches: commands that are submitted while batches run go together in the next batch.

A round trip costs a system call, a wake-up, and on a server that syncs every write (`appendfsync always`) a sync. A
batch of fifty commands costs each of those once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from scrape_do_celery.store.command import Command

#: Batches under way at once, so that a page does not hold up the renewal of a lease; commands, and bytes, in one.
_AT_ONCE, _BATCH_LIMIT, _BYTES = 4, 100, 4_000_000


class CommandBatcher:
    """Carries commands out in the order in which they were asked for, many at a time.

    `execute` answers each command of a batch, with an error if that command failed; if it raises, all of them failed.
    """

    def __init__(self, execute: Callable[[Sequence[Command[Any]]], Awaitable[Sequence[Any]]]) -> None:
        self._execute = execute
        self._waiting: list[tuple[Command[Any], asyncio.Future[Any]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._is_starting = False

    async def submit(self, command: Command[Any]) -> Any:
        """What the store answers; a caller that is cancelled has its command carried out, or not."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((command, future))
        self._start_batch()
        return await future

    async def aclose(self) -> None:
        """Cancel the batches that run."""
        for running in self._running:
            running.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _start_batch(self) -> None:
        if self._waiting and not self._is_starting and len(self._running) < _AT_ONCE:
            # It leaves when all that is ready to run has run: that may have something to take along.
            self._is_starting = True
            running = asyncio.ensure_future(self._run_batch())
            self._running.add(running)
            running.add_done_callback(self._batch_done)

    def _batch_done(self, running: asyncio.Task[None]) -> None:
        self._running.discard(running)
        self._start_batch()

    async def _run_batch(self) -> None:
        self._is_starting = False
        batch = self._next_batch()
        try:
            answers = await self._answers([command for command, _ in batch])
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

    async def _answers(self, commands: Sequence[Command[Any]]) -> Sequence[Any]:
        try:
            return await self._execute(commands)
        except RedisError as error:
            return [error] * len(commands)
        except Exception as error:  # noqa: BLE001 (it is handed to who asked)
            # One that cannot be sent at all: the others are none the worse for it.
            return [error] if len(commands) == 1 else [(await self._answers([command]))[0] for command in commands]

    def _next_batch(self) -> list[tuple[Command[Any], asyncio.Future[Any]]]:
        # Who was cancelled meanwhile wants nothing any more.
        self._waiting = [(command, future) for command, future in self._waiting if not future.done()]
        size = count = 0
        while count < min(len(self._waiting), _BATCH_LIMIT) and size < _BYTES:
            size += sum(len(arg) for arg in self._waiting[count][0].args if isinstance(arg, bytes))
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch
