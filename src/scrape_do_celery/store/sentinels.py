"""Pools of connections to the primary that sentinels name. Each new connection asks the sentinels again.

If the primary is demoted, dies or falls silent, the store drops its connections. The next one reaches the successor.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import redis as redis_sync
import redis.asyncio as redis_async
from redis import sentinel as sync_sentinel
from redis.asyncio import sentinel as async_sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from scrape_do_celery.config.celery_sentinels import limit_sentinels
from scrape_do_celery.store.timed_connections import CLASSES, InTime

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from scrape_do_celery.config.sentinel_urls import SentinelGroup

#: Seconds after which a pool in use asks for its primary again.
_ASK_EVERY: Final = 0.25
#: Seconds after which a silent sentinel is asked again, unless no other one answers.
_ASK_SILENT_EVERY: Final = 30.0
#: Seconds for an answer, above which sentinels count as silent.
_SLOW: Final = 0.2
#: Seconds for which a primary may take writes after its successor was promoted, if `min-replicas-max-lag` is 10.
_DEMOTION_DELAY: Final = 10.0


class UnknownPrimaryError(sync_sentinel.MasterNotFoundError):
    """The sentinels answer, and none of them watches a primary of this name."""


class SentinelRound:
    """One round of questions for a primary. All sentinels are asked, and the newest answer counts.

    During a failover, only one sentinel knows the next primary at first. Writes to the old one are lost from then on.
    """

    def __init__(self, name: str, clients: Sequence[Any], silent_until: dict[str, float]) -> None:
        self._name, self._clients, self._silent_until = name, clients, silent_until
        #: the configuration epoch and the address of each answer that names a primary
        self._found: list[tuple[int, tuple[str, int]]] = []
        self._errors: list[str] = []
        self._down: list[str] = []
        self._without: list[str] = []
        self._known: set[str] = set()

    def __iter__(self) -> Iterator[Any]:
        """Yield each sentinel to ask. A sentinel that was just silent is asked only if no other names a primary."""
        now = time.monotonic()
        silent = [client for client in self._clients if self._silent_until.get(_name_node(client), now) > now]
        yield from (client for client in self._clients if client not in silent)
        if not self._found:
            yield from silent

    def note(self, client: Any, masters: Mapping[str, Any], named: tuple[bytes | str, int] | None) -> None:
        """Note the groups that a sentinel watches, and the address that it names for this one."""
        node, address = _name_node(client), _read_address(named)
        self._silent_until.pop(node, None)
        self._known |= set(masters)
        state = masters.get(self._name)
        if state is None or address is None:
            self._without.append(node)
        # A sentinel that leads a failover calls the old primary down, and already names the next one.
        elif (state["is_sdown"] or state["is_odown"]) and address == (state["ip"], state["port"]):
            self._down.append(node)
        else:
            self._found.append((state["config-epoch"], address))

    def note_error(self, client: Any, error: Exception) -> None:
        """Note that a sentinel did not answer, or refused."""
        node = _name_node(client)
        self._silent_until[node] = time.monotonic() + _ASK_SILENT_EVERY
        told = "refuses" if isinstance(error, ResponseError) else "does not answer"
        self._errors.append(f"{node} {told} ({type(error).__name__}: {error})")

    @property
    def address(self) -> tuple[str, int]:
        """The address of the primary.

        Raises:
            MasterNotFoundError: no sentinel names a primary that is up.
        """
        if self._found:
            return max(self._found)[1]
        if not self._down and 2 * len(self._without) > len(self._clients):
            known = ", ".join(sorted(self._known)) or "nothing"
            raise UnknownPrimaryError(
                f"the sentinels at {', '.join(self._without)} watch no primary named {self._name}; they watch {known}: "
                "correct master_name"
            )
        facts = [
            *(f"{node} calls it down" for node in self._down),
            *(f"{node} does not know it" for node in self._without),
            *self._errors,
        ]
        raise sync_sentinel.MasterNotFoundError(
            f"the sentinels name no primary for {self._name}: {'; '.join(facts)}; a failover may be under way"
        )


class SentinelClients(sync_sentinel.Sentinel):
    """The sentinels of a group, for threads."""

    def __init__(self, clients: Sequence[redis_sync.Redis]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self.sentinels, self._silent_until = list(clients), dict[str, float]()

    def close(self) -> None:
        """Close the connections to the sentinels."""
        for client in self.sentinels:
            client.close()

    def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the address of the primary.

        Raises:
            MasterNotFoundError: no sentinel names a primary that is up.
        """
        asked = SentinelRound(service_name, self.sentinels, self._silent_until)
        for client in asked:
            try:
                masters: Any = client.sentinel_masters()
                address: Any = client.sentinel_get_master_addr_by_name(service_name)
            except (RedisError, OSError) as error:
                asked.note_error(client, error)
            else:
                asked.note(client, masters, address)
        return asked.address


class AsyncSentinelClients(async_sentinel.Sentinel):
    """The sentinels of a group, for one event loop."""

    def __init__(self, clients: Sequence[redis_async.Redis]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        self.sentinels, self._silent_until = list(clients), dict[str, float]()

    async def aclose(self) -> None:
        """Close the connections to the sentinels."""
        for client in self.sentinels:
            await client.aclose()

    async def discover_master(self, service_name: str) -> tuple[str, int]:
        """Return the address of the primary, as `SentinelClients` does."""
        asked = SentinelRound(service_name, self.sentinels, self._silent_until)
        for client in asked:
            try:
                masters: Any = await client.sentinel_masters()
                address: Any = await client.sentinel_get_master_addr_by_name(service_name)
            except (RedisError, OSError) as error:
                asked.note_error(client, error)
            else:
                asked.note(client, masters, address)
        return asked.address


def _read_address(named: tuple[bytes | str, int] | None) -> tuple[str, int] | None:
    if named is None:
        return None
    host, port = named
    return host.decode() if isinstance(host, bytes) else host, int(port)


def _name_node(client: Any) -> str:
    options = client.connection_pool.connection_kwargs
    return f"{options['host']}:{options['port']}"


class PrimaryTcpConnection(InTime, sync_sentinel.SentinelManagedConnection):
    """A connection by TCP to the primary."""


class PrimaryTlsConnection(InTime, sync_sentinel.SentinelManagedSSLConnection):
    """A connection by TLS to the primary."""


class FollowingTimer:
    """The times at which a pool asks whether its primary is still the primary.

    A primary that was replaced takes writes until it is demoted, which may take ten seconds. These writes are lost.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def is_due(self) -> bool:
        """Return whether it is time to ask. The caller then asks at once."""
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + _ASK_EVERY
        return True

    def note_failure(self) -> None:
        """Note that no sentinel named a primary. If that took long, they are silent, and may not slow each call."""
        if time.monotonic() - (self._next - _ASK_EVERY) > _SLOW:
            self._next = time.monotonic() + _ASK_SILENT_EVERY


class PrimaryPool(sync_sentinel.SentinelConnectionPool):
    """A pool of connections to the primary, for threads. A pool in use asks for its primary four times a second."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._timer = FollowingTimer()

    def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection to the primary."""
        if self.master_address and self._timer.is_due():
            try:
                self.get_master_address()  # type: ignore[no-untyped-call]
            except (RedisError, OSError):
                self._timer.note_failure()
        return super().get_connection(*args, **options)


class BlockingPrimaryPool(async_sentinel.SentinelConnectionPool, redis_async.BlockingConnectionPool):
    """A pool of connections to the primary, for one event loop. It waits for a connection if all are in use."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)  # type: ignore[no-untyped-call]
        self._timer = FollowingTimer()

    async def get_connection(self, *args: Any, **options: Any) -> Any:
        """Return a connection to the primary."""
        if self.master_address and self._timer.is_due():
            try:
                await self.get_master_address()  # type: ignore[no-untyped-call]
            except (RedisError, OSError):
                self._timer.note_failure()
        return await super().get_connection(*args, **options)  # type: ignore[no-untyped-call]

    async def release(self, connection: Any) -> None:
        """Take a connection back. Close a connection to an earlier primary."""
        if self.master_address not in {None, (connection.host, connection.port)}:
            await connection.disconnect()
        await super().release(connection)

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections. If those in use are closed too, close those to the sentinels as well."""
        await super().disconnect(inuse_connections)
        if inuse_connections:
            await self.sentinel_manager.aclose()


def open_sentinels(group: SentinelGroup, options: Mapping[str, Any]) -> SentinelClients:
    """Return the clients of the sentinels of a group, whose connections have these options."""
    own = dict(options)
    own["connection_class"] = CLASSES["rediss" if own.pop("ssl", False) else "redis"]
    pools = [redis_sync.ConnectionPool(host=host, port=port, **own) for host, port in group.nodes]
    return SentinelClients([redis_sync.Redis(connection_pool=pool) for pool in pools])


def make_sentinel_pool(group: SentinelGroup, options: dict[str, Any]) -> PrimaryPool:
    """Return a pool for threads, whose connections have these options beside those of the URL."""
    return PrimaryPool(
        group.master_name,
        open_sentinels(group, limit_sentinels(group.sentinel_options)),
        connection_class=PrimaryTlsConnection if group.uses_tls else PrimaryTcpConnection,
        **{**options, **group.server_options},
    )


def make_async_sentinel_pool(group: SentinelGroup, options: dict[str, Any]) -> BlockingPrimaryPool:
    """Return a pool for one event loop, as `make_sentinel_pool` does."""
    own = {**limit_sentinels(group.sentinel_options), "retry": AsyncRetry(NoBackoff(), 0)}
    clients = AsyncSentinelClients([redis_async.Redis(host=host, port=port, **own) for host, port in group.nodes])
    return BlockingPrimaryPool(group.master_name, clients, ssl=group.uses_tls, **{**options, **group.server_options})


def is_watched(client: redis_sync.Redis | redis_async.Redis) -> bool:
    """Return whether sentinels may replace the server of a client by one of its replicas."""
    return isinstance(client.connection_pool, (PrimaryPool, BlockingPrimaryPool))


def demotion_delay(client: redis_sync.Redis | redis_async.Redis) -> float:
    """Return the seconds for which an earlier primary may have taken writes that this server lacks."""
    return _DEMOTION_DELAY if is_watched(client) else 0.0
