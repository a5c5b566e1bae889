"""Find the runs with plain values, while a store is migrated to encryption."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scrape_do_celery.store.encryption import ENCRYPTED_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.store.client import Store

#: Keys that one round trip looks at, and fields of a run that it looks at.
_KEYS_AT_ONCE: Final = 500
_ALL_FIELDS: Final = 10_000


class PlainRuns(NamedTuple):
    """The runs with plain values among the keys that were looked at."""

    #: the ids of live runs, and of ended runs
    live: tuple[str, ...]
    ended: tuple[str, ...]
    #: seconds until the last of the ended runs is deleted
    last_ttl: float
    #: whether all keys of the store were looked at
    is_complete: bool


def find_plain_runs(store: Store, limit: int) -> PlainRuns:
    """Find the runs that were written without a key, or have a plain waiter. Look at about `limit` keys of the server.

    A process without a key writes plain pages only for a run that was written plain, so pages are not read.
    """
    live: list[str] = []
    ended: list[str] = []
    last_ttl, looked_at, cursor = 0.0, 0, 0
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", store.keys.run("")) + "*"
    while True:
        cursor, names = store.call_server(partial(_scan_page, cursor=cursor, pattern=pattern))
        for run_id, has_ended, ttl in _read_plain_runs(store, names):
            (ended if has_ended else live).append(run_id)
            last_ttl = max(last_ttl, ttl)
        looked_at += _KEYS_AT_ONCE
        if cursor == 0 or looked_at >= limit:
            return PlainRuns(tuple(live), tuple(ended), last_ttl, cursor == 0)


def _read_plain_runs(store: Store, names: list[bytes]) -> Iterator[tuple[str, bool, float]]:
    """Yield the id of each run with plain values, whether it has ended, and the seconds until it is deleted."""
    replies = iter(store.call_server(partial(_read_runs, names=names)))
    for name, (created, digest, outcome), (_, waiters), ttl in zip(names, replies, replies, replies, strict=True):
        if created is not None and (digest is None or any(map(_is_plain, waiters.values()))):
            yield name.decode().removeprefix(store.keys.run("")), outcome is not None, max(0, ttl) / 1000


def _scan_page(client: Any, *, cursor: int, pattern: str) -> tuple[int, list[bytes]]:
    found: tuple[int, list[bytes]] = client.scan(cursor, match=pattern, count=_KEYS_AT_ONCE)
    return found


def _read_runs(client: Any, *, names: list[bytes]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for name in names:
            # Only an encrypted request has a digest of its options beside it.
            pipe.hmget(name, "created", "options_digest", "outcome")
            pipe.hscan(name, match="waiter:*", count=_ALL_FIELDS)
            pipe.pttl(name)
        found: list[Any] = pipe.execute()
        return found


def _is_plain(value: bytes) -> bool:
    return bool(value) and value[:1] != ENCRYPTED_PREFIX
