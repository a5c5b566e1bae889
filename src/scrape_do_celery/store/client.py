"""Carry commands out: `Store` for threads, `AsyncStore` for asyncio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import redis as redis_sync
import redis.asyncio as redis_async
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, OutOfMemoryError, ReadOnlyError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import ConfigurationError, StoreUnavailableError
from scrape_do_celery.store.batching import CommandBatcher, WireCommand
from scrape_do_celery.store.keys import Keys
from scrape_do_celery.store.scripts import load_scripts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.store.command import Command
    from scrape_do_celery.store.encryption import Encryptor

T = TypeVar("T")

#: A command fails if the store is down for longer than these retries take. The dispatcher publishes its step later.
_RETRIES, _BACKOFF = 4, ExponentialBackoff(cap=0.5, base=0.05)
_OPTIONS = {"socket_timeout": 10.0, "socket_connect_timeout": 5.0, "health_check_interval": 30}
#: Options for a caller that must answer within seconds even if the store hangs: each command is tried once.
_FAIL_FAST = {"socket_timeout": 3.0, "socket_connect_timeout": 3.0}
_LOST = [RedisConnectionError, RedisTimeoutError]
#: Errors that end when the server recovers. Any other error is a fault of this package, and is raised as it is.
_AWAY = (*_LOST, ReadOnlyError, OutOfMemoryError)


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

    def __init__(self, client: redis_sync.Redis, keys: Keys, where: str = "", clock_offset_key: str = "") -> None:
        self.client, self.keys, self.where = client, keys, where
        scripts = load_scripts(clock_offset_key)
        self._scripts = {name: client.register_script(text) for name, text in scripts.items()}

    @classmethod
    def open(
        cls,
        url: str,
        prefix: str,
        encryptor: Encryptor | None = None,
        *,
        fail_fast: bool = False,
        clock_offset_key: str = "",
    ) -> Store:
        """Open a store that connects at its first command. With `fail_fast`, a command fails soon if Redis hangs.

        With `clock_offset_key`, the store's clock is ahead of the server's by the seconds in this key.
        """
        retry = Retry(NoBackoff(), 0) if fail_fast else Retry(_BACKOFF, _RETRIES)
        options = _OPTIONS | _FAIL_FAST if fail_fast else _OPTIONS
        return cls(
            redis_sync.Redis.from_url(url, retry=retry, retry_on_error=_LOST, **options),
            Keys(prefix, encryptor),
            masked(url),
            clock_offset_key,
        )

    def run(self, command: Command[T]) -> T:
        """Carry out a command. Return its result.

        Raises:
            StoreUnavailableError: If Redis did not answer, or refused the command for now.
        """
        return command.decode(self.keys, self._send(_encode(command, self.keys)))

    def _send(self, command: WireCommand) -> Any:
        script, encoded = command
        try:
            if script:
                return self._scripts[script](keys=encoded.keys, args=encoded.args)
            return self.client.execute_command(*encoded.args)  # type: ignore[no-untyped-call]
        except _AWAY as error:
            raise self._away(error) from error

    def run_all(self, commands: Sequence[Command[T]]) -> list[T]:
        """Carry out commands in one round trip, but not as one transaction. Return their results.

        Raises:
            StoreUnavailableError: If Redis did not answer, or refused a command. Others may have been carried out.
        """
        pipe, sent = self.client.pipeline(transaction=False), [_encode(command, self.keys) for command in commands]
        for one in sent:
            _put_into(pipe, self._scripts, one)
        try:
            replies = pipe.execute(raise_on_error=False)
        except _AWAY as error:
            raise self._away(error) from error
        answers = [self._check_reply(one, reply) for one, reply in zip(sent, replies, strict=True)]
        return [command.decode(self.keys, answer) for command, answer in zip(commands, answers, strict=True)]

    def _check_reply(self, command: WireCommand, reply: Any) -> Any:
        if isinstance(reply, NoScriptError):
            # The server was restarted and has lost the script. `_send` sends the script again.
            return self._send(command)
        if isinstance(reply, _AWAY):
            raise self._away(reply) from reply
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _away(self, error: Exception) -> StoreUnavailableError:
        return StoreUnavailableError(f"the store at {self.where}: {error}")

    def check(self) -> None:
        """Check that the server can serve as a store.

        Raises:
            ConfigurationError: If the server is a Redis Cluster.
        """
        try:
            cluster = self.client.info("cluster")
        except ResponseError:
            return  # `diagnostics.check_durability` reports the cost of a user who may not use INFO
        if int(cluster.get("cluster_enabled", 0)):
            raise ConfigurationError(
                "SCRAPE_DO_REDIS_URL names a Redis Cluster, which cannot change a run and the due set in one step. "
                "Use a single server or a managed single shard."
            )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class AsyncStore(_KeyHolder):
    """The store for one event loop."""

    def __init__(self, client: redis_async.Redis, keys: Keys, clock_offset_key: str = "") -> None:
        self.client, self.keys = client, keys
        scripts = load_scripts(clock_offset_key)
        self._scripts = {name: client.register_script(text) for name, text in scripts.items()}
        self._batcher = CommandBatcher(self._execute)

    @classmethod
    def open(
        cls,
        url: str,
        prefix: str,
        encryptor: Encryptor | None = None,
        *,
        connections: int = 16,
        clock_offset_key: str = "",
    ) -> AsyncStore:
        """Open a store that connects at its first command, and has at most this number of connections.

        `clock_offset_key` is as for `Store.open`.
        """
        pool = redis_async.BlockingConnectionPool.from_url(
            url,
            max_connections=connections,
            timeout=60,
            retry=AsyncRetry(_BACKOFF, _RETRIES),
            retry_on_error=_LOST,
            **_OPTIONS,
        )
        return cls(redis_async.Redis(connection_pool=pool), Keys(prefix, encryptor), clock_offset_key)

    async def run(self, command: Command[T]) -> T:
        """Carry out a command. Return its result. Commands of the same moment share a round trip."""
        return command.decode(self.keys, await self._batcher.submit(_encode(command, self.keys)))

    async def _execute(self, commands: Sequence[WireCommand]) -> list[Any]:
        """Return for each command its reply, or the error with which it failed."""
        if len(commands) == 1:
            return [await self._send(commands[0])]
        pipe = self.client.pipeline(transaction=False)
        for command in commands:
            _put_into(pipe, self._scripts, command)
        replies = await pipe.execute(raise_on_error=False)
        return [await self._repeat_lost(command, reply) for command, reply in zip(commands, replies, strict=True)]

    async def _repeat_lost(self, command: WireCommand, reply: Any) -> Any:
        """Return the reply, unless the server was restarted and has lost the script; then send the script again."""
        if not isinstance(reply, NoScriptError):
            return reply
        try:
            return await self._send(command)
        except Exception as error:  # noqa: BLE001 (the error belongs to this command alone)
            return error

    async def _send(self, command: WireCommand) -> Any:
        script, encoded = command
        if script:
            return await self._scripts[script](keys=encoded.keys, args=encoded.args)
        return await self.client.execute_command(*encoded.args)  # type: ignore[no-untyped-call]

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
