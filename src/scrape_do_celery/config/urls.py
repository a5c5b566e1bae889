"""Functions that check, derive, compare and mask the URLs of the API, the store, the broker and the result backend."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from scrape_do_celery.config.redis_parameters import check_parameters

STORE_SCHEMES = ("redis", "rediss", "unix")
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
    parts = _split(url)
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
    if url is not None and ((parts := _split(url)).scheme not in {"http", "https"} or not parts.hostname):
        raise ValueError("should be an http:// or https:// URL with a host")
    return url


def split_nodes(url: str) -> list[str]:
    """Return the URL of each node of a cluster. Semicolons separate them; a password may hold a semicolon too."""
    return re.split(r";(?=rediss?://)", url)


def store_url(url: str) -> str:
    """Return the URL if redis-py can open it, and each URL of several nodes of a cluster."""
    nodes = split_nodes(url)
    if len({node.partition("://")[0] for node in nodes}) > 1:
        raise ValueError("should give all nodes of a cluster one scheme, redis:// or rediss://")
    for node in nodes:
        _check_store_url(node)
    return url


def _check_store_url(url: str) -> None:
    parts = _split(url)
    _refuse_foreign_socket(parts.scheme)
    if parts.scheme not in STORE_SCHEMES:
        raise ValueError("should start with redis://, rediss:// or unix:// (the store is Redis)")
    if parts.scheme == "unix" and (parts.hostname or not parts.path.strip("/")):
        raise ValueError("should name the socket by its absolute path: unix:///run/redis.sock?db=0")
    _database(parts)
    check_parameters(url)


def celery_url(url: str) -> str:
    """Return the URL if kombu does not misread it."""
    scheme = url.partition("://")[0]
    if "://" not in url or not scheme:
        raise ValueError("should be a URL such as redis://host:6379/1 or amqp://host")
    _refuse_foreign_socket(scheme)
    if scheme == "unix":
        raise ValueError("should be redis+socket:///run/redis.sock?virtual_host=1, as Celery spells a Redis socket")
    return url


def sibling(url: str, step: int) -> str:
    """Return the URL of a database on the store's server, `step` numbers after the store's, as Celery spells it."""
    parts = _split(split_nodes(url)[0])
    query = dict(parse_qsl(parts.query))
    db = _database(parts) + step
    userinfo = _userinfo(parts, query)
    if parts.scheme == "unix":
        return f"redis+socket://{userinfo}{parts.path}?virtual_host={db}"
    location = parts.netloc.rpartition("@")[2]
    tls = {"ssl_cert_reqs": "required"} | {key: value for key, value in query.items() if key.startswith("ssl_")}
    # Keep only TLS parameters: kombu refuses redis-py's others. Without `ssl_cert_reqs` it checks no certificate.
    suffix = f"?{urlencode(tls)}" if parts.scheme == "rediss" else ""
    return f"{parts.scheme}://{userinfo}{location}/{db}{suffix}"


def redis_location(url: str) -> RedisLocation | None:
    """Return the location of a Redis URL in any spelling; None for another kind of server."""
    parts = _split(split_nodes(url)[0])
    if parts.scheme in {"unix", "redis+socket"}:
        return RedisLocation(unquote(parts.path), _database(parts))
    if parts.scheme not in {"redis", "rediss"}:
        return None
    host = parts.hostname or ""
    return RedisLocation(f"{'localhost' if host in _LOOPBACK else host}:{parts.port or 6379}", _database(parts))


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


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = None
    # Python's own message would show a piece of the password if Python read that piece as a port.
    if parts is None or parts.fragment or re.search(r"\s", url):
        raise ValueError("is not a valid URL; percent-encode special characters in the password")
    return parts


def _database(parts: SplitResult) -> int:
    query = dict(parse_qsl(parts.query))
    path = "" if parts.scheme in {"unix", "redis+socket"} else unquote(parts.path).strip("/")
    text = query.get("db") or query.get("virtual_host") or path or "0"
    if not (text.isascii() and text.isdigit()):
        raise ValueError("should end with a database number, as in redis://host:6379/0")
    return int(text)


def _userinfo(parts: SplitResult, query: dict[str, str]) -> str:
    user = unquote(parts.username or "") or query.get("username", "")
    password = unquote(parts.password or "") or query.get("password", "")
    # Quote again, because kombu reads an unquoted semicolon as the end of the URL.
    quoted = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"{quoted}@" if quoted else ""


def _refuse_foreign_socket(scheme: str) -> None:
    if scheme == "redis+unix":
        raise ValueError("should be unix:///path?db=0, because Celery reads redis+unix:// as localhost:6379")
    if scheme == "valkey+unix":
        raise ValueError("should be unix:///path?db=0, because Celery and redis-py do not know valkey+unix://")
