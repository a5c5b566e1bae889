"""Carry commands out: `Store` for threads, `AsyncStore` for asyncio."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from redis.exceptions import NoScriptError, RedisError, ResponseError

from scrape_do_celery.config.sentinel_urls import SPELLING
from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.store.batching import CommandBatcher, WireCommand
from scrape_do_celery.store.connections import open_async_client, open_client
from scrape_do_celery.store.deadlines import CallDeadline, limited_time
from scrape_do_celery.store.keys import Keys
from scrape_do_celery.store.pending import PendingCommands
from scrape_do_celery.store.refusals import LOST
from scrape_do_celery.store.scripts import LoadedAsyncScript, LoadedScript, load_scripts
from scrape_do_celery.store.sentinels import UnknownPrimaryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import redis as redis_sync
    import redis.asyncio as redis_async

    from scrape_do_celery.store.command import Command
    from scrape_do_celery.store.encryption import Encryptor

T = TypeVar("T")

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
        scripts = load_scripts(clock_offset_key)
        self._scripts = {name: LoadedScript(client, text) for name, text in scripts.items()}
        self._fail_fast = False

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
        store = cls(open_client(url, timeout), keys, masked(url), clock_offset_key, timeout=timeout)
        store._fail_fast = fail_fast
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
        pending = PendingCommands([_encode(command, self.keys) for command in commands], self.where)
        # A command that moves pages may take long, so progress counts, unless the caller has a deadline.
        with limited_time(self._timeout, by_progress=True) as deadline:
            deadline.start_command()
            wait: float | None = 0.0
            while wait is not None:
                if wait:
                    time.sleep(wait)
                deadline.start_attempt()
                wait = pending.note(self._attempt(pending.commands), deadline)
                wait = None if self._fail_fast else wait
                if wait is not None:
                    # Connections stay open to a server that is no primary any more. A new one reaches its successor.
                    self.client.connection_pool.disconnect(inuse_connections=False)
        answers = pending.answers
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return [command.decode(self.keys, answer) for command, answer in zip(commands, answers, strict=True)]

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

    def check(self) -> None:
        """Check that the server can serve as a store.

        Raises:
            ConfigurationError: If the server is a Redis Cluster or a sentinel, or sentinels do not know its name.
        """
        try:
            facts = self.client.info("server")
            cluster = self.client.info("cluster")
        except UnknownPrimaryError as error:
            raise ConfigurationError(f"SCRAPE_DO_REDIS_URL: {error}") from None
        except ResponseError:
            return  # `diagnostics.check_durability` reports the cost of a user who may not use INFO
        if "sentinel" in {facts.get("redis_mode"), facts.get("server_mode")}:
            raise ConfigurationError(
                f"SCRAPE_DO_REDIS_URL names a sentinel as if it was a Redis server; write {SPELLING}"
            )
        if int(cluster.get("cluster_enabled", 0)):
            raise ConfigurationError(
                "SCRAPE_DO_REDIS_URL names a Redis Cluster, which cannot change a run and the due set in one step. "
                "Use one server, a managed single shard, or servers under Sentinel (sentinel://)."
            )

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
        scripts = load_scripts(clock_offset_key)
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
        client = open_async_client(url, timeout, connections)
        return cls(client, Keys(prefix, encryptor), clock_offset_key, where=masked(url), timeout=timeout)

    async def run(self, command: Command[T]) -> T:
        """Carry out a command. Return its result. Commands of the same moment share a round trip.

        Raises:
            StoreUnavailableError: If Redis did not answer, or refused the command for now.
        """
        return command.decode(self.keys, await self._batcher.submit(_encode(command, self.keys)))

    async def _execute(self, commands: Sequence[WireCommand]) -> list[Any]:
        """Return for each command its reply, or the error with which it failed."""
        pending, deadline = PendingCommands(commands, self._where), CallDeadline(self._timeout)
        wait: float | None = 0.0
        while wait is not None:
            if wait:
                await asyncio.sleep(wait)
            wait = pending.note(await self._attempt(pending.commands), deadline)
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


def _encode(command: Command[Any], keys: Keys) -> WireCommand:
    return WireCommand(command.script, command.encode(keys))


def _put_into(pipe: Any, scripts: Mapping[str, Any], command: WireCommand) -> None:
    script, encoded = command
    if script:
        pipe.evalsha(scripts[script].sha, len(encoded.keys), *encoded.keys, *encoded.args)
    else:
        pipe.execute_command(*encoded.args)
