"""Read from the store which tokens the API refuses, since when, and when the runs that wait for them fail."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from scrape_do_celery.store.commands.stats import ReadClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.store.client import Store

#: Seconds after which a try that is due has not come: no run waits for the token, or no worker has it any more.
_LATE: Final = 10.0


class TokenRefusal(NamedTuple):
    """The refusal of a token, as workers have met it. Times are seconds by the store's clock."""

    account: str
    since: float
    #: when runs that still wait fail; None if an earlier version wrote the note
    fails_at: float | None
    #: fingerprint of the token; empty if an earlier version wrote the note
    token_id: str
    #: when the token is tried next, and the time at which this was read
    next_try: float
    now: float

    @property
    def is_tried(self) -> bool:
        """Whether runs wait for the token and a worker still has it: each step that waits tries the token in turn."""
        return self.now < self.next_try + _LATE


def read_refusal(store: Store, account: str) -> TokenRefusal | None:
    """Return the refusal of the account's token; None if no worker has met one, or a worker's token was accepted since.

    Raises:
        RedisError: the store did not answer.
    """
    fields = store.call_server(partial(_read_hash, key=store.keys.breaker(account)))
    if b"since" not in fields:
        return None
    now, since = store.run(ReadClock()), float(fields[b"since"])
    fails_at = None
    if b"grace" in fields:
        # `claim_part.lua` ends runs by the watched clock, which counts no outage of the workers.
        watched = float(store.call_server(partial(_read_hash, key=store.keys.clock)).get(b"watched", now))
        fails_at = now + float(fields[b"grace"]) - (watched - float(fields.get(b"watched", since)))
    next_try = float(fields.get(b"next", since))
    return TokenRefusal(account, since, fails_at, fields.get(b"token", b"").decode(), next_try, now)


def find_refusals(store: Store) -> Iterator[TokenRefusal]:
    """Find the refusals of the tokens of all accounts.

    Raises:
        RedisError: the store did not answer, or its user has no right to search.
    """
    start = store.keys.breaker("")
    keys = store.call_server(lambda client: list(client.scan_iter(f"{start}*")))
    # A refusal may end after the search.
    yield from filter(None, (read_refusal(store, key.decode().removeprefix(start)) for key in keys))


def _read_hash(client: Any, *, key: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = client.hgetall(key)
    return found
