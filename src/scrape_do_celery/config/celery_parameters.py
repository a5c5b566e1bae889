"""Check the parameters in the URLs of Celery's broker and result backend as kombu and Celery will read them."""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, urlencode

from scrape_do_celery.config.redis_parameters import check_file, check_parameters

_REDIS: Final = ("redis", "rediss")
_BROKERS: Final = (*_REDIS, "amqp", "amqps", "pyamqp")
#: A parameter of Celery's result backend that names a class, which need not exist on this machine.
_OF_CELERY: Final = "credential_provider"


def check_broker_parameters(urls: str) -> None:
    """Build a connection of each broker, without connecting, with each parameter alone.

    Raises:
        ValueError: kombu refuses a parameter, or a file that a parameter names cannot be read.
    """
    for url in urls.split(";"):
        server, _, query = url.partition("?")
        if server.partition("://")[0] not in _BROKERS:
            continue
        for name, value in parse_qsl(query, keep_blank_values=True):
            if not _is_accepted(f"{server}?{urlencode([(name, value)])}"):
                raise ValueError(
                    f"has a parameter {name} that kombu does not take in a URL, or not with this value; set it in "
                    "Celery's broker_transport_options"
                )
            check_file(name, value)


def check_backend_parameters(url: str) -> None:
    """Build a connection of a result backend in Redis, without connecting.

    Raises:
        ValueError: redis-py refuses a parameter, or a file that a parameter names cannot be read.
    """
    server, _, query = url.partition("?")
    if server.partition("://")[0] in _REDIS and query:
        kept = [one for one in parse_qsl(query, keep_blank_values=True) if one[0] != _OF_CELERY]
        check_parameters(f"{server}?{urlencode(kept)}")


def _is_accepted(url: str) -> bool:
    # Late: a process that only needs the settings does not load kombu.
    from kombu.connection import Connection
    from redis import SSLConnection

    try:
        connection = Connection(url)  # type: ignore[no-untyped-call]
        if url.partition("://")[0] in _REDIS and connection.ssl:
            SSLConnection(**connection.ssl)
    except (TypeError, ValueError, KeyError, AttributeError):
        # The text of the error is not shown: it may hold a value, and a value may be a password.
        return False
    # kombu hands this parameter to sockets as the text that it is.
    return not isinstance(connection.connect_timeout, str)
