"""Open clients of the store from its URL. Every client of the package's own store is opened here."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import redis as redis_sync
import redis.asyncio as redis_async
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from scrape_do_celery.config.redis_parameters import normalize_url
from scrape_do_celery.config.urls import split_nodes
from scrape_do_celery.store.cluster_nodes import ClusterNodes
from scrape_do_celery.store.deadlines import attempt_seconds, connect_in_time
from scrape_do_celery.store.slot_connections import AsyncSlotTcpConnection, AsyncSlotTlsConnection, SlotConnection

#: Seconds until an attempt to connect fails, so that a second attempt may reach another address.
_CONNECT: Final = 5.0


class _InTime:
    """A connection that is made, and used, within the deadline of the call that needs it."""

    def _connect(self) -> Any:
        return connect_in_time(super()._connect)  # type: ignore[misc]


class TimedTcpConnection(_InTime, redis_sync.Connection):
    """A connection by TCP."""


class TimedTlsConnection(_InTime, SSLConnection):
    """A connection by TLS."""


class TimedSocketConnection(_InTime, UnixDomainSocketConnection):
    """A connection by a socket of this machine."""


class SlotTcpConnection(SlotConnection, TimedTcpConnection):
    """A connection by TCP to the node with a slot."""


class SlotTlsConnection(SlotConnection, TimedTlsConnection):
    """A connection by TLS to the node with a slot."""


_CLASSES: Final = {"redis": TimedTcpConnection, "rediss": TimedTlsConnection, "unix": TimedSocketConnection}
_SLOT_CLASSES: Final[dict[str, Any]] = {"redis": SlotTcpConnection, "rediss": SlotTlsConnection}
_ASYNC_SLOT_CLASSES: Final = {"redis": AsyncSlotTcpConnection, "rediss": AsyncSlotTlsConnection}


def open_client(url: str, timeout: float, slot_key: str = "") -> redis_sync.Redis:
    """Return a client for threads. It connects at its first command, and tries each command once.

    With `slot_key`, it connects to the node of a cluster that has the slot of this key.
    """
    first, scheme = split_nodes(url)[0], urlsplit(url).scheme
    found: redis_sync.Redis = redis_sync.Redis.from_url(
        normalize_url(first),
        connection_class=(_SLOT_CLASSES if slot_key else _CLASSES).get(scheme, TimedSocketConnection),
        retry=Retry(NoBackoff(), 0),
        **_options(timeout, timeout),
        **_slot_options(url, slot_key),
    )
    return found


def open_async_client(url: str, timeout: float, connections: int, slot_key: str = "") -> redis_async.Redis:
    """Return a client for one event loop. It connects at its first command, and tries each command once.

    `slot_key` is as for `open_client`.
    """
    given: dict[str, Any] = dict(parse_url(normalize_url(split_nodes(url)[0])))
    if slot_key and urlsplit(url).scheme in _ASYNC_SLOT_CLASSES:
        given["connection_class"] = _ASYNC_SLOT_CLASSES[urlsplit(url).scheme]
    options = {
        "max_connections": connections,
        "timeout": 60,
        "retry": AsyncRetry(NoBackoff(), 0),
        **_options(timeout, attempt_seconds(timeout)),
        **_slot_options(url, slot_key),
        # Parameters of the URL come last, because they override ours.
        **given,
    }
    return redis_async.Redis(connection_pool=redis_async.BlockingConnectionPool(**options))


def _slot_options(url: str, slot_key: str) -> dict[str, Any]:
    if not slot_key or urlsplit(url).scheme not in _SLOT_CLASSES:
        return {}
    parts = [urlsplit(node) for node in split_nodes(url)]
    return {"nodes": ClusterNodes([(one.hostname or "localhost", one.port or 6379) for one in parts], slot_key)}


def _options(timeout: float, attempt: float) -> dict[str, Any]:
    return {
        "socket_timeout": attempt,
        "socket_connect_timeout": min(_CONNECT, timeout),
        "health_check_interval": 30,
    }
