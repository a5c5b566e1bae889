"""Commands that hold requests back: the share of each process, the pause after a 429, the breaker of an account."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.command import Command, Encoded, Value
from scrape_do_celery.store.commands.arguments import flatten_fields

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.store.keys import Keys

#: Seconds between two probes of an account whose token was refused. The delay doubles from the first to the second.
PROBE, LONGEST_PROBE = 1.0, 60.0
#: Seconds for which a process keeps its share of requests without asking again; seconds whose starts may come at once.
_QUOTA_TTL, _AT_ONCE = 10.0, 0.25


@dataclass(frozen=True, slots=True)
class RequestQuota:
    """The requests of a process: how many may be in flight, how many may start now, and the seconds left of a pause."""

    requests: int
    starts: int
    pause: float


@dataclass(frozen=True, slots=True)
class AllocateRequests(Command[RequestQuota]):
    """Allocate to a process its share of `limit` requests in flight, and of `rate` starts per second, of all processes.

    The store adds the counts in `counted` to the totals. If the command is sent twice, they are added twice.
    """

    process: str
    wanted: int
    under_way: int
    _: KW_ONLY
    limit: int
    rate: float | None = None
    counted: Mapping[str, float] | None = None
    script = "allocate_requests"

    def encode(self, keys: Keys) -> Encoded:
        rate: Value = "" if self.rate is None else self.rate
        return Encoded(
            [
                *(self.process, self.wanted, self.under_way, self.limit, _QUOTA_TTL, rate, _AT_ONCE),
                *flatten_fields(self.counted or {}),
            ],
            [keys.quota, keys.next_request_at, keys.pause, keys.totals, keys.stored],
        )

    def decode(self, keys: Keys, reply: Any) -> RequestQuota:
        return RequestQuota(int(reply[0]), int(reply[1]), float(reply[2]))


@dataclass(frozen=True, slots=True)
class PauseAPI(Command[float]):
    """Pause the API for all workers, unless a longer pause stands. The result is its end by the store's clock."""

    seconds: float
    script = "pause_api"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.seconds,), [keys.pause])

    def decode(self, keys: Keys, reply: Any) -> float:
        return float(reply)


@dataclass(frozen=True, slots=True)
class OpenBreaker(Command[bool]):
    """Open the breaker of an account, which holds its runs back. The result tells whether it was closed before.

    `token_id` is the fingerprint of the refused token. The runs fail after `auth_grace` seconds.
    """

    account: str
    token_id: str = ""
    auth_grace: float = 900.0
    script = "set_breaker"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((PROBE, keys.prefix, self.token_id, self.auth_grace), [keys.breaker(self.account)])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class CloseBreaker(Command[bool]):
    """Close the breaker of an account. The result tells whether it was open before."""

    account: str
    script = "set_breaker"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("", keys.prefix, "", ""), [keys.breaker(self.account)])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class ReadFairnessUse(Command[bool]):
    """Tell whether a run has set a priority or a fairness key in the last days."""

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("EXISTS", keys.fairness_used))

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)
