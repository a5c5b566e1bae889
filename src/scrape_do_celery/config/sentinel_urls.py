"""Read the URLs of Redis servers that sentinels watch, in Celery's spelling, and split them into plain URLs.

User and password before a host are those of the Redis servers, as for Celery. Parameters that begin with `sentinel_`
are for the connections to the sentinels.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode

from redis.connection import parse_url

from scrape_do_celery.config.redis_parameters import check_parameters, normalize_url
from scrape_do_celery.config.url_parts import quote_userinfo, read_database, split_url

SPELLING: Final = "sentinel://host1:26379;sentinel://host2:26379/0?master_name=mymaster"
#: Schemes by which other programs name sentinels.
LIKELY_SCHEMES: Final = frozenset(
    {"sentinels", "redis+sentinel", "rediss+sentinel", "redis-sentinel", "rediss-sentinel", "valkey+sentinel"}
)
_SCHEME, _PORT, _OWN = "sentinel", 26_379, "sentinel_"
_MASTER, _OTHERS = "master_name", "min_other_sentinels"
#: The place of the host in the URL of the servers. The sentinels tell the real one.
_PLACEHOLDER: Final = "primary"
_TRUE, _FALSE = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


class SentinelGroup(NamedTuple):
    """Redis servers that sentinels watch under one name.

    Attributes:
        nodes: The addresses of the sentinels.
        server: The parameters of connections to the servers, without those of the user.
        sentinel: The parameters of connections to the sentinels.
    """

    nodes: tuple[tuple[str, int], ...]
    master_name: str
    database: int
    userinfo: str
    min_other_sentinels: int
    server: dict[str, str]
    sentinel: dict[str, str]

    @property
    def server_url(self) -> str:
        """The URL of the servers, with a placeholder for the host."""
        return _spell(self.server, f"{self.userinfo}{_PLACEHOLDER}/{self.database}")

    @property
    def sentinel_urls(self) -> list[str]:
        """The URL of each sentinel."""
        return [_spell(self.sentinel, f"{_spell_host(host)}:{port}") for host, port in self.nodes]

    def describe(self) -> str:
        """Return the name of the group and of its sentinels, the same for all spellings and without a password."""
        named = ", ".join(f"{host}:{port}" for host, port in sorted(self.nodes))
        return f"{self.master_name} of the sentinels {named}" if self.master_name else f"the sentinels {named}"

    def spell_address(self, step: int = 0) -> str:
        """Return the URL that Celery takes, `step` databases further.

        Each sentinel has the password and the database: kombu takes those of the sentinel that it tries.
        """
        return ";".join(
            f"{_SCHEME}://{self.userinfo}{_spell_host(host)}:{port}/{self.database + step}" for host, port in self.nodes
        )

    def spell_for_celery(self, step: int) -> str:
        """Return the URL of a later database, with the parameters that Celery needs too."""
        server = {name: value for name, value in self.server.items() if _is_tls(name)}
        sentinel = {f"{_OWN}{name}": value for name, value in self.sentinel.items()}
        others = {_OTHERS: str(self.min_other_sentinels)} if self.min_other_sentinels else {}
        return f"{self.spell_address(step)}?{urlencode({_MASTER: self.master_name, **others, **server, **sentinel})}"

    @property
    def server_options(self) -> dict[str, Any]:
        """The options of connections to the servers, as redis-py takes them, without host and port."""
        return _read_options(self.server_url)

    @property
    def sentinel_options(self) -> dict[str, Any]:
        """The options of clients of the sentinels, as redis-py takes them, without host and port."""
        url = self.sentinel_urls[0]
        found = _read_options(url)
        return {**found, "ssl": True} if url.startswith("rediss") else found

    @property
    def uses_tls(self) -> bool:
        """Whether connections to the servers use TLS."""
        return self.server_url.startswith("rediss")


def is_sentinel_url(url: str) -> bool:
    """Return whether a URL names sentinels."""
    return url.startswith(f"{_SCHEME}://")


def spell_address(url: str) -> str:
    """Return a Sentinel URL without its parameters, as Celery takes it. Any other URL stays as it is."""
    try:
        return read_sentinel_url(url).spell_address() if is_sentinel_url(url) else url
    except ValueError:
        return url


def read_sentinel_url(url: str) -> SentinelGroup:
    """Return what a Sentinel URL says.

    Raises:
        ValueError: the URL is not valid, or says different things about its sentinels.
    """
    every = [split_url(_complete(text)) for text in url.split(";") if text]
    query: dict[str, str] = {}
    for parts in every:
        if parts.scheme != _SCHEME or not parts.hostname or "," in parts.hostname:
            raise ValueError(f"should name each sentinel with its host: {SPELLING}")
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if query.setdefault(name, value) != value:
                raise ValueError(f"has two values of the parameter {name}")
    users = {found for parts in every if (found := quote_userinfo(parts, query))}
    if len(users) > 1:
        raise ValueError(
            "has two passwords: that before a host is the password of the Redis servers; give that of the sentinels as "
            "sentinel_password=..."
        )
    server = {name: value for name, value in query.items() if name not in _GENERAL and not name.startswith(_OWN)}
    own = {name.removeprefix(_OWN): value for name, value in query.items() if name.startswith(_OWN)}
    if own.get("ssl", server.get("ssl", "")) in _TRUE or (_uses_tls(server) and own.get("ssl") not in _FALSE):
        own = {name: value for name, value in server.items() if _is_tls(name)} | own
    return SentinelGroup(
        nodes=tuple((parts.hostname or "", parts.port or _PORT) for parts in every),
        master_name=query.get(_MASTER, ""),
        database=_read_common_database([_with_database(parts, query) for parts in every]),
        userinfo="".join(users),
        min_other_sentinels=_read_number(query.get(_OTHERS, "0")),
        server=server,
        sentinel=own,
    )


#: Parameters that are no option of a connection.
_GENERAL: Final = frozenset({_MASTER, _OTHERS, "db", "virtual_host", "username", "password"})


def check_store_url(url: str) -> str:
    """Return the URL if redis-py can open it.

    Raises:
        ValueError: the URL is not valid, or does not name its group of servers.
    """
    group = read_sentinel_url(url)
    if not group.master_name:
        raise ValueError(f"should end with the name under which the sentinels watch the servers: {SPELLING}")
    _check_options(group)
    return url


def check_celery_url(url: str) -> str:
    """Return the URL if this package can hand its parameters to Celery.

    Raises:
        ValueError: the URL is not valid, or has a parameter that Celery takes elsewhere.
    """
    group = read_sentinel_url(url)
    for name in group.server:
        if not _is_tls(name):
            raise ValueError(f"has a parameter {name} that Celery does not take in a Sentinel URL")
    _check_options(group)
    return url


def _check_options(group: SentinelGroup) -> None:
    check_parameters(group.server_url)
    check_parameters(group.sentinel_urls[0], prefix=_OWN)


def _complete(text: str) -> str:
    return text if "://" in text else f"{_SCHEME}://{text}"


def _with_database(parts: Any, query: dict[str, str]) -> int:
    given: dict[str, str] = {name: query[name] for name in ("db", "virtual_host") if name in query}
    return read_database(parts._replace(query=urlencode(given)))


def _read_common_database(found: list[int]) -> int:
    if len(set(found)) > 1:
        raise ValueError(
            "should end with the same database for each sentinel, because Celery takes that of the sentinel it tries: "
            "sentinel://host1:26379/1;sentinel://host2:26379/1"
        )
    return found[0]


def _read_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"should have a number as {_OTHERS}")
    return int(text)


def _is_tls(name: str) -> bool:
    return name == "ssl" or name.startswith("ssl_")


def _uses_tls(query: dict[str, str]) -> bool:
    if "ssl" in query:
        return query["ssl"].lower() in _TRUE
    return any(_is_tls(name) for name in query)


def _spell(query: dict[str, str], address: str) -> str:
    given = dict(query)
    scheme = "rediss" if _uses_tls(given) else "redis"
    if given.pop("ssl", "true").lower() in _FALSE:
        given = {name: value for name, value in given.items() if not _is_tls(name)}
    return f"{scheme}://{address}?{urlencode(given)}" if given else f"{scheme}://{address}"


def _spell_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _read_options(url: str) -> dict[str, Any]:
    found: dict[str, Any] = parse_url(normalize_url(url))  # type: ignore[no-untyped-call]
    return {name: value for name, value in found.items() if name not in {"host", "port", "connection_class"}}
