"""Functions that check, derive, compare and mask the URLs of the API, the store, the broker and the result backend."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from scrape_do_celery.config.celery_parameters import check_backend_parameters, check_broker_parameters
from scrape_do_celery.config.redis_parameters import check_parameters
from scrape_do_celery.config.sentinel_urls import (
    LIKELY_SCHEMES,
    SPELLING,
    check_celery_url,
    check_store_url,
    is_sentinel_url,
    read_sentinel_url,
)
from scrape_do_celery.config.url_parts import quote_userinfo, read_database, split_url

STORE_SCHEMES = ("redis", "rediss", "unix", "sentinel")
_LOOPBACK = {"", "localhost", "127.0.0.1", "::1"}
_USERINFO = re.compile(r"(://[^:/?#;@]*:)(?:(?!://).)*@")
_SECRET_PARAMETER = re.compile(r"([?&][^&=]*(?:password|secret|token)[^&=]*=)[^&;]*", re.IGNORECASE)


class RedisLocation(NamedTuple):
    """A database of a Redis server. Two URLs of the same database have equal locations."""

    server: str
    db: int


def masked(url: str) -> str:
    """Return the URL without its passwords, safe for logs."""
    return _SECRET_PARAMETER.sub(r"\1***", _USERINFO.sub(r"\1***@", url))


def api_url(url: str) -> str:
    """Return the API's root, without a slash or `/api/v1` at its end."""
    parts = split_url(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query:
        raise ValueError("should be an http:// or https:// URL with a host and no query")
    return url.rstrip("/").removesuffix("/api/v1").rstrip("/")


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine: localhost, 127.0.0.0/8 or ::1."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def why_exposed(url: str) -> str | None:
    """Return a warning if requests to the API at `url` are not encrypted; None for https and for this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or is_loopback(host):
        return None
    return f"the API at http://{host} is not encrypted: the token and the pages travel in clear text; use https://"


def http_url(url: str | None) -> str | None:
    """Return the URL if it is an HTTP URL with a host."""
    if url is not None and ((parts := split_url(url)).scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("should be an http:// or https:// URL with a host")
    return url


def split_nodes(url: str) -> list[str]:
    """Return the URL of each node of a cluster. Semicolons separate them; a password may hold a semicolon too."""
    return re.split(r";(?=rediss?://)", url)


def store_url(url: str) -> str:
    """Return the URL if redis-py can open it, and each URL of several nodes of a cluster."""
    if is_sentinel_url(url):
        return check_store_url(url)
    nodes = split_nodes(url)
    if len({node.partition("://")[0] for node in nodes}) > 1:
        raise ValueError("should give all nodes of a cluster one scheme, redis:// or rediss://")
    for node in nodes:
        _check_store_url(node)
    return url


def _check_store_url(url: str) -> None:
    parts = split_url(url)
    _refuse_foreign_scheme(parts.scheme)
    if parts.scheme not in STORE_SCHEMES:
        raise ValueError("should start with redis://, rediss://, unix:// or sentinel:// (the store is Redis)")
    if parts.scheme == "unix" and (parts.hostname or not parts.path.strip("/")):
        raise ValueError("should name the socket by its absolute path: unix:///run/redis.sock?db=0")
    read_database(parts)
    check_parameters(url)


def celery_url(url: str, *, is_broker: bool) -> str:
    """Return the URL if kombu does not misread it, and takes its parameters."""
    scheme = url.partition("://")[0]
    if "://" not in url or not scheme:
        raise ValueError("should be a URL such as redis://host:6379/1 or amqp://host")
    _refuse_foreign_scheme(scheme)
    if is_sentinel_url(url):
        return check_celery_url(url)
    if scheme == "unix":
        raise ValueError("should be redis+socket:///run/redis.sock?virtual_host=1, as Celery spells a Redis socket")
    (check_broker_parameters if is_broker else check_backend_parameters)(url)
    return url


def sibling(url: str, step: int) -> str:
    """Return the URL of a database on the store's server, `step` numbers after the store's, as Celery spells it."""
    if is_sentinel_url(url):
        return read_sentinel_url(url).spell_for_celery(step)
    parts = split_url(split_nodes(url)[0])
    query = dict(parse_qsl(parts.query))
    db = read_database(parts) + step
    userinfo = quote_userinfo(parts, query)
    if parts.scheme == "unix":
        return f"redis+socket://{userinfo}{parts.path}?virtual_host={db}"
    location = parts.netloc.rpartition("@")[2]
    tls = {"ssl_cert_reqs": "required"} | {key: value for key, value in query.items() if key.startswith("ssl_")}
    # Keep only TLS parameters: kombu refuses redis-py's others. Without `ssl_cert_reqs` it checks no certificate.
    suffix = f"?{urlencode(tls)}" if parts.scheme == "rediss" else ""
    return f"{parts.scheme}://{userinfo}{location}/{db}{suffix}"


def redis_location(url: str) -> RedisLocation | None:
    """Return the location of a Redis URL in any spelling; None for another kind of server."""
    if is_sentinel_url(url):
        group = read_sentinel_url(url)
        return RedisLocation(group.describe(), group.database)
    parts = split_url(split_nodes(url)[0])
    if parts.scheme in {"unix", "redis+socket"}:
        return RedisLocation(unquote(parts.path), read_database(parts))
    if parts.scheme not in {"redis", "rediss"}:
        return None
    host = parts.hostname or ""
    return RedisLocation(f"{'localhost' if host in _LOOPBACK else host}:{parts.port or 6379}", read_database(parts))


def application(broker: object, backend: object) -> str:
    """Return a name for an application by its servers, the same for all their spellings and without a password."""
    return f"broker {_server(broker)}, results {_server(backend)}"


def _server(url: object) -> str:
    text = str(url or "none")
    try:
        found = redis_location(text)
    except ValueError:
        found = None
    return masked(text) if found is None else f"{found.server}/{found.db}"


def _refuse_foreign_scheme(scheme: str) -> None:
    if scheme in LIKELY_SCHEMES:
        raise ValueError(f"should be spelled as Celery does, {SPELLING}")
    if scheme == "redis+unix":
        raise ValueError("should be unix:///path?db=0, because Celery reads redis+unix:// as localhost:6379")
    if scheme == "valkey+unix":
        raise ValueError("should be unix:///path?db=0, because Celery and redis-py do not know valkey+unix://")
