"""Check the parameters of a Redis URL as redis-py will read them, and accept Celery's spellings of them."""

from __future__ import annotations

import os
from typing import Final
from urllib.parse import parse_qsl, urlencode

from redis import ConnectionPool
from redis.exceptions import RedisError

#: Celery's names for the checks of a certificate -> the names of redis-py.
_CERT_REQS: Final = {"CERT_NONE": "none", "CERT_OPTIONAL": "optional", "CERT_REQUIRED": "required"}
#: Parameters that a URL may have, beside those of TLS. Others need an object of Python, or change the replies.
_TAKEN: Final = frozenset(
    {
        *("db", "virtual_host", "protocol", "username", "password", "client_name", "lib_name", "lib_version"),
        *("socket_timeout", "socket_connect_timeout", "socket_keepalive", "socket_read_size", "retry_on_timeout"),
        *("max_connections", "health_check_interval"),
    }
)
#: Parameters that name a file.
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


def normalize_url(url: str) -> str:
    """Return the URL in redis-py's spelling: Celery writes `ssl_cert_reqs=CERT_NONE` and `virtual_host=0`."""
    server, _, query = url.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    if not {"ssl_cert_reqs", "virtual_host"} & dict(given).keys():
        return url
    return f"{server}?{urlencode([_normalize_parameter(*one) for one in given])}"


def _normalize_parameter(name: str, value: str) -> tuple[str, str]:
    if name == "ssl_cert_reqs":
        return name, _CERT_REQS.get(value.upper(), value.lower())
    return ("db" if name == "virtual_host" else name), value


def check_parameters(url: str, prefix: str = "") -> None:
    """Build a connection of the URL, without connecting, with each parameter alone and with all of them.

    Errors name a parameter with this prefix.

    Raises:
        ValueError: redis-py refuses a parameter, or a file that a parameter names cannot be read.
    """
    server, _, query = url.partition("?")
    given = parse_qsl(query, keep_blank_values=True)
    for name, value in given:
        is_known = name in _TAKEN or name.startswith("ssl_")
        if not is_known or not _is_accepted(f"{server}?{urlencode([(name, value)])}"):
            raise ValueError(f"has a parameter {prefix}{name} that redis-py does not take, or not with this value")
        check_file(name, value, prefix)
    if not _is_accepted(url):
        raise ValueError(
            f"has parameters that do not go together: {', '.join(prefix + name for name, _ in given) or 'none'}"
        )


def check_file(name: str, value: str, prefix: str = "") -> None:
    """Check that a file can be read, if the parameter names one.

    Raises:
        ValueError: the file cannot be read. The text names the parameter with `prefix`.
    """
    if name in _FILES and not os.access(value, os.R_OK):
        raise ValueError(f"has a parameter {prefix}{name} whose file cannot be read")


def _is_accepted(url: str) -> bool:
    try:
        ConnectionPool.from_url(normalize_url(url)).make_connection()
    except (TypeError, ValueError, AttributeError, RedisError):
        # The text of the error is not shown: it may hold a value, and a value may be a password.
        return False
    return True
