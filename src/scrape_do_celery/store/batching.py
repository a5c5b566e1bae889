"""Send commands to the store in batches. Commands that are submitted while batches run share the next batch.

A round trip costs a system call, a wake-up, and on a server that syncs every write (`appendfsync always`) a sync. A
batch of fifty commands has each of these costs once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NamedTuple

from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from scrape_do_celery.store.command import Encoded

#: Batches that run at once, so that a large page does not delay the renewal of a lease; commands of a batch at most;
#: bytes after which a batch takes no further command.
_AT_ONCE, _BATCH_LIMIT, _BYTES = 4, 100, 4_000_000


class WireCommand(NamedTuple):
    """A command in the form that is sent. If `script` is empty, the arguments are a plain command of Redis."""

    script: str
    encoded: Encoded


class CommandBatcher:
    """The queue of commands that wait for a batch. Batches take commands in the order in which they were submitted.

    `execute` returns the reply or the error of each command of a batch. If `execute` raises, all commands have failed.
    """

    def __init__(self, execute: Callable[[Sequence[WireCommand]], Awaitable[Sequence[Any]]]) -> None:
        self._execute = execute
        self._waiting: list[tuple[WireCommand, asyncio.Future[Any]]] = []
        self._running: set[asyncio.Task[None]] = set()
        self._is_starting = False

    async def submit(self, command: WireCommand) -> Any:
        """Return the reply to a command. If the caller is cancelled, its command may still be carried out."""
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
            # The batch is sent after all callbacks that are ready now, because these may submit further commands.
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

    async def _answers(self, commands: Sequence[WireCommand]) -> Sequence[Any]:
        try:
            return await self._execute(commands)
        except RedisError as error:
            return [error] * len(commands)
        except Exception as error:  # noqa: BLE001 (the error is handed to the caller of `submit`)
            # A command of this batch cannot be sent at all. The others are sent one by one, so that only it fails.
            return [error] if len(commands) == 1 else [(await self._answers([command]))[0] for command in commands]

    def _next_batch(self) -> list[tuple[WireCommand, asyncio.Future[Any]]]:
        # A caller that was cancelled in the meantime needs no reply.
        self._waiting = [(command, future) for command, future in self._waiting if not future.done()]
        size = count = 0
        while count < min(len(self._waiting), _BATCH_LIMIT) and size < _BYTES:
            size += self._waiting[count][0].encoded.size
            count += 1
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch
