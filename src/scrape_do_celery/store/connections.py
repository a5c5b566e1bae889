"""Open clients of the store from its URL. Every client of the package's own store is opened here."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import redis as redis_sync
import redis.asyncio as redis_async
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from scrape_do_celery.config.redis_parameters import normalize_url
from scrape_do_celery.config.sentinel_urls import is_sentinel_url, read_sentinel_url
from scrape_do_celery.config.urls import split_nodes
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.store.cluster_nodes import ClusterNodes
from scrape_do_celery.store.deadlines import attempt_seconds
from scrape_do_celery.store.sentinels import make_async_sentinel_pool, make_sentinel_pool
from scrape_do_celery.store.slot_connections import AsyncSlotTcpConnection, AsyncSlotTlsConnection, SlotConnection
from scrape_do_celery.store.timed_connections import (
    CLASSES,
    TimedSocketConnection,
    TimedTcpConnection,
    TimedTlsConnection,
    limit_sockets,
)


class SlotTcpConnection(SlotConnection, TimedTcpConnection):
    """A connection by TCP to the node with a slot."""


class SlotTlsConnection(SlotConnection, TimedTlsConnection):
    """A connection by TLS to the node with a slot."""


_SLOT_CLASSES: Final[dict[str, Any]] = {"redis": SlotTcpConnection, "rediss": SlotTlsConnection}
_ASYNC_SLOT_CLASSES: Final = {"redis": AsyncSlotTcpConnection, "rediss": AsyncSlotTlsConnection}


def open_client(url: str, timeout: float, slot_key: str = "") -> redis_sync.Redis:
    """Return a client for threads. It connects at its first command, and tries each command once.

    With `slot_key`, it connects to the node of a cluster that has the slot of this key.
    """
    options = {"retry": Retry(NoBackoff(), 0), **limit_sockets(timeout, timeout)}
    if is_sentinel_url(url):
        return redis_sync.Redis(connection_pool=make_sentinel_pool(read_sentinel_url(url), options))
    found: redis_sync.Redis = redis_sync.Redis.from_url(
        normalize_url(split_nodes(url)[0]),
        connection_class=(_SLOT_CLASSES if slot_key else CLASSES).get(urlsplit(url).scheme, TimedSocketConnection),
        **options,
        **_slot_options(url, slot_key),
    )
    return found


def open_async_client(url: str, timeout: float, connections: int, slot_key: str = "") -> redis_async.Redis:
    """Return a client for one event loop. It connects at its first command, and tries each command once.

    `slot_key` is as for `open_client`.
    """
    options: dict[str, Any] = {
        "max_connections": connections,
        "timeout": 60,
        "retry": AsyncRetry(NoBackoff(), 0),
        **limit_sockets(timeout, attempt_seconds(timeout)),
    }
    if is_sentinel_url(url):
        return redis_async.Redis(connection_pool=make_async_sentinel_pool(read_sentinel_url(url), options))
    # Parameters of the URL come last, because they override ours.
    options |= _slot_options(url, slot_key) | dict(parse_url(normalize_url(split_nodes(url)[0])))
    if slot_key and urlsplit(url).scheme in _ASYNC_SLOT_CLASSES:
        options["connection_class"] = _ASYNC_SLOT_CLASSES[urlsplit(url).scheme]
    return redis_async.Redis(connection_pool=redis_async.BlockingConnectionPool(**options))


def _slot_options(url: str, slot_key: str) -> dict[str, Any]:
    if not slot_key or urlsplit(url).scheme not in _SLOT_CLASSES:
        return {}
    if not hasattr(redis_sync.Connection, "on_connect_check_health"):
        raise ConfigurationError(
            "SCRAPE_DO_KEY_PREFIX has a hash tag, as on Redis Cluster, for which redis-py "
            f"{redis_sync.__version__} is too old: install redis 6.0 or newer"
        )
    parts = [urlsplit(node) for node in split_nodes(url)]
    return {"nodes": ClusterNodes([(one.hostname or "localhost", one.port or 6379) for one in parts], slot_key)}
