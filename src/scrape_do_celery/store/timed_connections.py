"""Connections to Redis that are made, and used, within the deadline of the call that needs them."""

from __future__ import annotations

from typing import Any, Final

import redis as redis_sync
from redis.connection import SSLConnection, UnixDomainSocketConnection

from scrape_do_celery.store.deadlines import connect_in_time

#: Seconds until an attempt to connect fails, so that a second attempt may reach another address.
_CONNECT: Final = 5.0


class InTime:
    """A connection that is made, and used, within the deadline of the call that needs it."""

    def _connect(self) -> Any:
        return connect_in_time(super()._connect)  # type: ignore[misc]


class TimedTcpConnection(InTime, redis_sync.Connection):
    """A connection by TCP."""


class TimedTlsConnection(InTime, SSLConnection):
    """A connection by TLS."""


class TimedSocketConnection(InTime, UnixDomainSocketConnection):
    """A connection by a socket of this machine."""


#: Scheme of a URL -> the class of its connections.
CLASSES: Final = {"redis": TimedTcpConnection, "rediss": TimedTlsConnection, "unix": TimedSocketConnection}


def limit_sockets(timeout: float, attempt: float) -> dict[str, Any]:
    """Return the options that limit the time of a connection whose calls take `timeout` seconds at most."""
    return {
        "socket_timeout": attempt,
        "socket_connect_timeout": min(_CONNECT, timeout),
        "health_check_interval": 30,
    }
