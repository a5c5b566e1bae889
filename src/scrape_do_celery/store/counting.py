"""The commands of whoever monitors the store: how it stands, what was counted, and a census of the live runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.buying import START
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.states import RunState, run_state

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrape_do_celery.store.keys import Keys

#: Runs that have not begun, and runs that have ended and are not delivered: beside the states that `RunState` has.
DRAFT, DELIVERING = "draft", "delivering"
#: Upper bounds, in seconds, of the classes in which it is counted how late steps began; `inf` is behind the last.
LATENCY_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)
#: Parts that one look of a census takes, or twice as many: so many keep Redis busy for less than a millisecond.
_SLICE = 100
_HOUR = 3600
#: Length of the rows of `census.lua` that tell of many runs.
_BY_STATE = 3


@dataclass(frozen=True, slots=True)
class AccountStats:
    """How an account stands. Times are by the store's clock, None where there is nothing."""

    account: str
    polled_by_list: int
    next_poll_at: float | None
    active: int
    waiting_for_slot: int
    first_waiting_since: float | None
    refused_since: float | None


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Figures of the store at a moment of its clock."""

    now: float
    due: int
    due_at: float | None
    dispatched_parts: int
    paused_until: float | None
    #: when the first of what is paid and not fetched expires, and how many parts do within some seconds from now
    paid_until: float | None
    expiring: tuple[int, ...]
    #: requests that processes want to have under way, and those that they may have
    wanted: int
    granted: int
    totals: Mapping[str, float]
    #: bytes of contents that have not expired
    contents_bytes: int
    accounts: tuple[AccountStats, ...]


@dataclass
class LiveRunCount:
    """Live runs by state. A run that moves while they are counted may be missed, or counted twice."""

    runs: dict[str, int] = field(default_factory=dict)
    #: when the first run that is in a state was accepted, by the store's clock
    since: dict[str, float] = field(default_factory=dict)
    _multi_part: dict[str, list[str]] = field(default_factory=dict)

    def add(self, part: LiveRunPage) -> None:
        """Adds what one look saw."""
        for state, runs, first in part.states:
            self.runs[state] = self.runs.get(state, 0) + runs
            if first is not None:
                self.since[state] = min(first, self.since.get(state, first))
        for run_id, state in part.multi_part:
            self._multi_part.setdefault(run_id, []).append(state)

    def close(self) -> LiveRunCount:
        """Itself, once all was seen: runs of several parts count where the most telling of these stands."""
        for states in self._multi_part.values():
            state = run_state(None, states)
            self.runs[state] = self.runs.get(state, 0) + 1
        self._multi_part.clear()
        return self


@dataclass(frozen=True, slots=True)
class LiveRunPage:
    """What one look of a census saw, and the cursor for the next."""

    cursor: str
    states: tuple[tuple[str, int, float | None], ...]
    #: runs that have several parts, one a part
    multi_part: tuple[tuple[str, str], ...]


def read_stats(keys: Keys, account: str, ahead: Iterable[float]) -> Command[StoreStats]:
    """How the store stands, for a caller of this account ('' for none). `ahead`: the seconds of `expiring`."""
    redis_keys = [
        keys.due,
        keys.dispatched,
        keys.content_expiry,
        keys.quota,
        keys.pause,
        keys.accounts,
        keys.totals,
        keys.stored,
    ]
    return Command(_store_stats, (keys.prefix, account, *ahead), redis_keys, "read_stats")


def count_live_runs(keys: Keys, key: str, cursor: str = START) -> Command[LiveRunPage]:
    """A look at some of the live runs in `key`, which is `keys.due` or an account's `keys.watch`."""
    return Command(_part, (keys.prefix, cursor, _SLICE), [key], "count_live_runs")


def accounts(keys: Keys) -> Command[list[str]]:
    """The accounts that have, or had, running jobs."""
    return Command(lambda reply: sorted(name.decode() for name in reply), ("SMEMBERS", keys.accounts))


def _part(reply: Sequence[Any]) -> LiveRunPage:
    rows = [[_text(item) for item in row] for row in reply[1:]]
    return LiveRunPage(
        _text(reply[0]),
        tuple((row[0], int(row[1]), _moment(row[2])) for row in rows if len(row) == _BY_STATE),
        tuple((row[0], row[1]) for row in rows if len(row) != _BY_STATE),
    )


def _store_stats(reply: Sequence[Any]) -> StoreStats:
    now, due, due_at, dispatched_parts, pause, paid, shares, totals, stored, *accounts = reply
    split = [share.split(b" ") for share in shares]
    return StoreStats(
        now=float(now),
        due=int(due),
        due_at=_moment(_text(due_at)),
        dispatched_parts=int(dispatched_parts),
        paused_until=_moment(_text(pause)),
        paid_until=_moment(_text(paid[0])),
        expiring=tuple(int(number) for number in paid[1:]),
        wanted=sum(int(wanted) for wanted, _, _ in split),
        granted=sum(int(granted) for _, granted, _ in split),
        totals={_text(totals[n]): float(totals[n + 1]) for n in range(0, len(totals), 2)},
        contents_bytes=_unexpired_bytes(stored, float(now)),
        accounts=tuple(_account([_text(item) for item in row]) for row in accounts),
    )


def _unexpired_bytes(stored: Sequence[bytes], now: float) -> int:
    hours = zip(stored[::2], stored[1::2], strict=True)
    return sum(int(size) for hour, size in hours if int(hour) >= now // _HOUR)


def _account(row: Sequence[str]) -> AccountStats:
    account, polled_by_list, next_poll_at, active, waiting_for_slot, first_waiting_since, refused_since = row
    return AccountStats(
        account,
        int(polled_by_list),
        _moment(next_poll_at),
        int(active),
        int(waiting_for_slot),
        _moment(first_waiting_since),
        _moment(refused_since),
    )


def _text(item: bytes | int) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)


def _moment(text: str) -> float | None:
    return float(text) if text else None


#: States that a census tells apart, in the order in which a run goes through them.
LIVE = (
    DRAFT,
    RunState.QUEUED.value,
    RunState.SUBMITTING.value,
    RunState.RECONCILING.value,
    RunState.RUNNING.value,
    RunState.FETCHING.value,
    DELIVERING,
)
