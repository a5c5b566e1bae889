"""Open clients of the store from its URL. Every client of the package's own store is opened here."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import urlsplit

import redis as redis_sync
import redis.asyncio as redis_async
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import SSLConnection, UnixDomainSocketConnection
from redis.retry import Retry

from scrape_do_celery.config.redis_parameters import normalize_url
from scrape_do_celery.store.deadlines import attempt_seconds, connect_in_time

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


_CLASSES: Final = {"redis": TimedTcpConnection, "rediss": TimedTlsConnection, "unix": TimedSocketConnection}


def open_client(url: str, timeout: float) -> redis_sync.Redis:
    """Return a client for threads. It connects at its first command, and tries each command once."""
    found: redis_sync.Redis = redis_sync.Redis.from_url(
        normalize_url(url),
        connection_class=_CLASSES[urlsplit(url).scheme],
        retry=Retry(NoBackoff(), 0),
        **_options(timeout, timeout),
    )
    return found


def open_async_client(url: str, timeout: float, connections: int) -> redis_async.Redis:
    """Return a client for one event loop. It connects at its first command, and tries each command once."""
    pool = redis_async.BlockingConnectionPool.from_url(
        normalize_url(url),
        max_connections=connections,
        timeout=60,
        retry=AsyncRetry(NoBackoff(), 0),
        **_options(timeout, attempt_seconds(timeout)),
    )
    return redis_async.Redis(connection_pool=pool)


def _options(timeout: float, attempt: float) -> dict[str, Any]:
    return {
        "socket_timeout": attempt,
        "socket_connect_timeout": min(_CONNECT, timeout),
        "health_check_interval": 30,
    }
