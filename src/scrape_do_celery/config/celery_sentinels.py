"""Give Celery the settings by which it finds its broker and its results through sentinels."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, Final

from redis.backoff import NoBackoff
from redis.retry import Retry

from scrape_do_celery.config.sentinel_urls import SPELLING, is_sentinel_url, read_sentinel_url
from scrape_do_celery.errors import ConfigurationError

if TYPE_CHECKING:
    from scrape_do_celery.config.sentinel_urls import SentinelGroup

#: Seconds for an answer of one sentinel. The next one is asked afterwards.
SENTINEL_TIMEOUT: Final = 1.0
#: Seconds for an answer of a server. A server that fell silent has a successor, which only a new connection finds.
_SERVER_TIMEOUT: Final = 4
#: Options of TCP -> seconds, or a number of probes. Some systems lack an option.
_KEEPALIVE: Final = {
    number: value
    for name, value in {"TCP_KEEPIDLE": 4, "TCP_KEEPINTVL": 2, "TCP_KEEPCNT": 3}.items()
    if (number := getattr(socket, name, None)) is not None
}


def override_for_sentinels(config: dict[str, Any], store_url: str) -> dict[str, Any]:
    """Return Celery's settings, adapted to a broker and results behind sentinels.

    Raises:
        ConfigurationError: a URL does not name the group of servers, and the store's names none either.
    """
    found = dict(config)
    if is_sentinel_url(found["broker_url"]):
        group, name = _read_group(found["broker_url"], "SCRAPE_DO_BROKER_URL", store_url)
        found["broker_url"] = group.spell_address()
        found["broker_transport_options"] = {
            **found["broker_transport_options"],
            **_transport_options(group, name),
            # kombu asks a server that fell silent only at these times, and then gives the server up.
            "unacked_restore_interval": _SERVER_TIMEOUT,
            "health_check_interval": _SERVER_TIMEOUT,
            "socket_timeout": _SERVER_TIMEOUT,
            "socket_connect_timeout": _SERVER_TIMEOUT,
            # A host that vanished is noticed after ten seconds.
            "socket_keepalive_options": _KEEPALIVE,
        }
        found |= {"broker_use_ssl": _tls_options(group)} if group.uses_tls else {}
    if is_sentinel_url(found["result_backend"]):
        group, name = _read_group(found["result_backend"], "SCRAPE_DO_RESULT_BACKEND", store_url)
        found["result_backend"] = group.spell_address()
        found["result_backend_transport_options"] = {
            **found["result_backend_transport_options"],
            **_transport_options(group, name),
        }
        found["redis_socket_timeout"] = found["redis_socket_connect_timeout"] = _SERVER_TIMEOUT
        found |= {"redis_backend_use_ssl": _tls_options(group)} if group.uses_tls else {}
    return found


def _read_group(url: str, variable: str, store_url: str) -> tuple[SentinelGroup, str]:
    """Return the group of a URL and its name, which may be that of the store's group."""
    group = read_sentinel_url(url)
    name = group.master_name or (read_sentinel_url(store_url).master_name if is_sentinel_url(store_url) else "")
    if not name:
        raise ConfigurationError(
            f"{variable} should end with the name under which the sentinels watch the servers: {SPELLING}"
        )
    return group, name


def _transport_options(group: SentinelGroup, name: str) -> dict[str, Any]:
    return {
        "master_name": name,
        "min_other_sentinels": group.min_other_sentinels,
        "sentinel_kwargs": limit_sentinels(group.sentinel_options),
    }


def limit_sentinels(options: dict[str, Any], seconds: float = SENTINEL_TIMEOUT) -> dict[str, Any]:
    """Return options of a connection to a sentinel, with time limits. Without limits, a silent sentinel stops all work.

    A sentinel is asked once: redis-py's own repeats would take longer than the next sentinel's answer.
    """
    limits = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
    return {**limits, "retry": Retry(NoBackoff(), 0), **options}


def _tls_options(group: SentinelGroup) -> dict[str, Any]:
    found = {name: value for name, value in group.server_options.items() if name.startswith("ssl_")}
    # Without `ssl_cert_reqs`, kombu checks no certificate.
    return {"ssl_cert_reqs": "required", **found}
