"""Carry commands out: `Store` for threads, `AsyncStore` for asyncio."""

from __future__ import annotations

import asyncio
import time
from contextlib import closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import NoScriptError, RedisError

from scrape_do_celery.config.urls import masked
from scrape_do_celery.store.batching import CommandBatcher, WireCommand
from scrape_do_celery.store.connections import open_async_client, open_client
from scrape_do_celery.store.deadlines import CallDeadline, limited_time
from scrape_do_celery.store.keys import Keys
from scrape_do_celery.store.pending import PendingCommands
from scrape_do_celery.store.refusals import LOST
from scrape_do_celery.store.scripts import LoadedAsyncScript, LoadedScript, load_scripts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    import redis as redis_sync
    import redis.asyncio as redis_async

    from scrape_do_celery.store.command import Command
    from scrape_do_celery.store.encryption import Encryptor

T = TypeVar("T")
C = TypeVar("C")

#: Seconds within which a call to the store must be answered, unless settings say otherwise.
_TIMEOUT = 10.0
#: Seconds for a caller that must answer soon even if the store hangs. It tries each command once.
_FAIL_FAST = 3.0


class _KeyHolder:
    """The part that both stores share: the keys, and facts about the encryption of private values."""

    keys: Keys

    @property
    def encryptor(self) -> Encryptor | None:
        """What encrypts private values; None if this process has no key."""
        return self.keys.encryptor

    @property
    def key_names(self) -> list[str]:
        """The names of the encryption keys of this process, first the key that encrypts."""
        return self.keys.key_names


class Store(_KeyHolder):
    """The store for threads."""

    def __init__(
        self,
        client: redis_sync.Redis,
        keys: Keys,
        where: str = "",
        clock_offset_key: str = "",
        *,
        timeout: float = _TIMEOUT,
    ) -> None:
        self.client, self.keys, self.where, self._timeout = client, keys, where, timeout
        scripts = load_scripts(clock_offset_key, keys.cluster_prefix)
        self._scripts = {name: LoadedScript(client, text) for name, text in scripts.items()}
        self._fail_fast = False
        self._open_for: Callable[[str], redis_sync.Redis] | None = None

    @classmethod
    def open(  # noqa: PLR0913 (one argument for each option)
        cls,
        url: str,
        prefix: str,
        encryptor: Encryptor | None = None,
        *,
        timeout: float = _TIMEOUT,
        fail_fast: bool = False,
        clock_offset_key: str = "",
    ) -> Store:
        """Open a store that connects at its first command. With `fail_fast`, a command fails soon if Redis hangs.

        Each command has `timeout` seconds, unless `limited_time` gives it less. With `clock_offset_key`, the store's
        clock is ahead of the server's by the seconds in this key.
        """
        timeout = min(timeout, _FAIL_FAST) if fail_fast else timeout
        keys = Keys(prefix, encryptor)
        client = open_client(url, timeout, slot_key=_name_slot_key(keys))
        store = cls(client, keys, masked(url), clock_offset_key, timeout=timeout)
        store._fail_fast = fail_fast
        if keys.cluster_prefix:
            store._open_for = partial(open_client, url, timeout)
        return store

    def run(self, command: Command[T]) -> T:
        """Carry out a command. Return its result.

        Raises:
            StoreUnavailableError: If Redis did not answer, or refused the command for now.
        """
        return self.run_all([command])[0]

    def run_all(self, commands: Sequence[Command[T]]) -> list[T]:
        """Carry out commands in one round trip, but not as one transaction. Return their results.

        Raises:
            StoreUnavailableError: If Redis did not answer, or refused a command. Others may have been carried out.
        """
        answers = self._exchange([_encode(command, self.keys) for command in commands], self._attempt)
        return [command.decode(self.keys, answer) for command, answer in zip(commands, answers, strict=True)]

    def call_server(self, call: Callable[[Any], T]) -> T:
        """Make a call of the client, which may be repeated: for facts of the server, and for searches of keys.

        Raises:
            StoreUnavailableError: If Redis did not answer, or refused the call for now.
            RedisError: If Redis refused the call for good.
        """
        found: T = self._exchange([call], self._call_client)[0]
        return found

    def _exchange(self, commands: Sequence[C], attempt: Callable[[Sequence[C]], list[Any]]) -> list[Any]:
        """Carry out what `attempt` sends. Return the replies."""
        pending = PendingCommands(commands, self.where, has_hash_tag=bool(self.keys.cluster_prefix))
        # A command that moves pages may take long, so progress counts, unless the caller has a deadline.
        with limited_time(self._timeout, by_progress=True) as deadline:
            deadline.start_command()
            wait: float | None = 0.0
            while wait is not None:
                if wait:
                    time.sleep(wait)
                deadline.start_attempt()
                wait = pending.note(attempt(pending.commands), deadline)
                wait = None if self._fail_fast else wait
                if wait is not None:
                    # Connections stay open to a server that is no primary any more. A new one reaches its successor.
                    self.client.connection_pool.disconnect(inuse_connections=False)
        answers = pending.answers
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def _call_client(self, calls: Sequence[Callable[[Any], Any]]) -> list[Any]:
        try:
            return [call(self.client) for call in calls]
        except RedisError as error:
            return [error]

    def _attempt(self, commands: Sequence[WireCommand]) -> list[Any]:
        """Send the commands once. Return for each its reply, or the error with which it failed."""
        if len(commands) <= 1:
            return [self._send(command) for command in commands]
        pipe = self.client.pipeline(transaction=False)
        for command in commands:
            _put_into(pipe, self._scripts, command)
        try:
            replies = pipe.execute(raise_on_error=False)
        except LOST as error:
            return [error] * len(commands)
        # A server that was restarted has lost its scripts. `_send` sends the script again.
        return [
            self._send(command) if isinstance(reply, NoScriptError) else reply
            for command, reply in zip(commands, replies, strict=True)
        ]

    def _send(self, command: WireCommand) -> Any:
        script, encoded = command
        try:
            if script:
                return self._scripts[script](keys=encoded.keys, args=encoded.args)
            return self.client.execute_command(*encoded.args)  # type: ignore[no-untyped-call]
        except RedisError as error:
            return error

    @contextmanager
    def client_for(self, key: str) -> Iterator[redis_sync.Redis]:
        """Provide a client for a key outside of the prefix, which another node of a cluster may have."""
        if self._open_for is None:
            yield self.client
            return
        with closing(self._open_for(key)) as client:
            yield client

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class AsyncStore(_KeyHolder):
    """The store for one event loop."""

    def __init__(
        self,
        client: redis_async.Redis,
        keys: Keys,
        clock_offset_key: str = "",
        *,
        where: str = "",
        timeout: float = _TIMEOUT,
    ) -> None:
        self.client, self.keys, self._where, self._timeout = client, keys, where, timeout
        scripts = load_scripts(clock_offset_key, keys.cluster_prefix)
        self._scripts = {name: LoadedAsyncScript(client, text) for name, text in scripts.items()}
        self._batcher = CommandBatcher(self._execute)

    @classmethod
    def open(  # noqa: PLR0913 (one argument for each option)
        cls,
        url: str,
        prefix: str,
        encryptor: Encryptor | None = None,
        *,
        timeout: float = _TIMEOUT,
        connections: int = 16,
        clock_offset_key: str = "",
    ) -> AsyncStore:
        """Open a store that connects at its first command, and has at most this number of connections.

        No attempt begins later than `timeout` seconds after the first. `clock_offset_key` is as for `Store.open`.
        """
        keys = Keys(prefix, encryptor)
        client = open_async_client(url, timeout, connections, slot_key=_name_slot_key(keys))
        return cls(client, keys, clock_offset_key, where=masked(url), timeout=timeout)

    async def run(self, command: Command[T]) -> T:
        """Carry out a command. Return its result. Commands of the same moment share a round trip.

        Raises:
            StoreUnavailableError: If Redis did not answer, or refused the command for now.
        """
        return command.decode(self.keys, await self._batcher.submit(_encode(command, self.keys)))

    async def call_server(self, call: Callable[[Any], Awaitable[T]]) -> T:
        """Make a call of the client, as `Store.call_server` does."""
        found: T = (await self._exchange([call], self._call_client))[0]
        if isinstance(found, Exception):
            raise found
        return found

    async def _call_client(self, calls: Sequence[Callable[[Any], Awaitable[Any]]]) -> list[Any]:
        try:
            return [await call(self.client) for call in calls]
        except RedisError as error:
            return [error]

    async def _execute(self, commands: Sequence[WireCommand]) -> list[Any]:
        """Return for each command its reply, or the error with which it failed."""
        return await self._exchange(commands, self._attempt)

    async def _exchange(
        self, commands: Sequence[C], attempt: Callable[[Sequence[C]], Awaitable[list[Any]]]
    ) -> list[Any]:
        pending = PendingCommands(commands, self._where, has_hash_tag=bool(self.keys.cluster_prefix))
        deadline = CallDeadline(self._timeout)
        wait: float | None = 0.0
        while wait is not None:
            if wait:
                await asyncio.sleep(wait)
            wait = pending.note(await attempt(pending.commands), deadline)
            if wait is not None:
                # As in `Store.run_all`.
                await self.client.connection_pool.disconnect(inuse_connections=False)
        return pending.answers

    async def _attempt(self, commands: Sequence[WireCommand]) -> list[Any]:
        """Send the commands once. Return for each its reply, or the error with which it failed."""
        if len(commands) <= 1:
            return [await self._send(command) for command in commands]
        pipe = self.client.pipeline(transaction=False)
        for command in commands:
            _put_into(pipe, self._scripts, command)
        try:
            replies = await pipe.execute(raise_on_error=False)
        except LOST as error:
            return [error] * len(commands)
        return [
            # As in `Store._attempt`.
            await self._send(command) if isinstance(reply, NoScriptError) else reply
            for command, reply in zip(commands, replies, strict=True)
        ]

    async def _send(self, command: WireCommand) -> Any:
        script, encoded = command
        try:
            if script:
                return await self._scripts[script](keys=encoded.keys, args=encoded.args)
            return await self.client.execute_command(*encoded.args)  # type: ignore[no-untyped-call]
        except RedisError as error:
            return error

    async def aclose(self) -> None:
        """Close the connections."""
        await self._batcher.aclose()
        await self.client.aclose()
        await self.client.connection_pool.disconnect()


def _name_slot_key(keys: Keys) -> str:
    """Return a key with the slot of a store on a cluster; empty for a store that has keys in all slots."""
    return keys.due if keys.cluster_prefix else ""


def _encode(command: Command[Any], keys: Keys) -> WireCommand:
    return WireCommand(command.script, command.encode(keys))


def _put_into(pipe: Any, scripts: Mapping[str, Any], command: WireCommand) -> None:
    script, encoded = command
    if script:
        pipe.evalsha(scripts[script].sha, len(encoded.keys), *encoded.keys, *encoded.args)
    else:
        pipe.execute_command(*encoded.args)
