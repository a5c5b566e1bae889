"""Commands for monitoring: figures of the store, totals of counters, live runs by state, the clock."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.outcomes import RunState, run_state
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.commands.arguments import START, decode_names

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.store.keys import Keys

#: States beside those of `RunState`: a run that has not begun, and a run that has ended and is not delivered.
DRAFT, DELIVERING = "draft", "delivering"
#: Upper bounds, in seconds, of the buckets for the latency of steps. The last bucket, `inf`, has no bound.
LATENCY_BUCKETS = (0.1, 0.5, 1, 2, 5, 10, 30, 60, 300)
#: Entries of a page of live runs. Redis may return up to twice this number, and is busy for less than a millisecond.
_SLICE = 100
_HOUR = 3600
#: Lengths of the rows of `count_live_runs.lua`: the runs in a state, the runs with a label, one part of a run.
_BY_STATE, _BY_LABEL, _OF_PART = 3, 2, 4


@dataclass(frozen=True, slots=True)
class AccountStats:
    """Figures of an account. Times are by the store's clock; None if nothing polls, waits, is refused, or differed."""

    account: str
    polled_by_list: int
    next_poll_at: float | None
    active: int
    waiting_for_slot: int
    first_waiting_since: float | None
    refused_since: float | None
    #: since when pages that webhooks deliver are not believed
    distrusted_since: float | None


@dataclass(frozen=True, slots=True)
class StoreStats:
    """Figures of the store at the time `now` of its clock."""

    now: float
    due: int
    due_at: float | None
    dispatched_parts: int
    paused_until: float | None
    #: when the first page that is paid for and not fetched expires; how many parts expire within each of the seconds
    #: that the caller asked for
    paid_until: float | None
    expiring: tuple[int, ...]
    #: requests that all processes want to have in flight, and requests that they may have
    wanted: int
    granted: int
    totals: Mapping[str, float]
    #: bytes of contents that have not expired
    contents_bytes: int
    accounts: tuple[AccountStats, ...]


@dataclass
class LiveRunCount:
    """The number of live runs by state. A run that changes during the count may be missed, or counted twice."""

    runs: dict[str, int] = field(default_factory=dict)
    #: by state, when the first run in the state was accepted, by the store's clock
    since: dict[str, float] = field(default_factory=dict)
    #: by label; runs without a label are not counted
    labels: Counter[str] = field(default_factory=Counter)
    _multi_part: dict[str, list[str]] = field(default_factory=dict)
    _labels: dict[str, str] = field(default_factory=dict)

    def add(self, part: LiveRunPage) -> None:
        """Add the counts of a page."""
        for state, runs, first in part.states:
            self.runs[state] = self.runs.get(state, 0) + runs
            if first is not None:
                self.since[state] = min(first, self.since.get(state, first))
        self.labels.update(dict(part.labels))
        for run_id, state, label in part.multi_part:
            self._multi_part.setdefault(run_id, []).append(state)
            self._labels[run_id] = label

    def close(self) -> LiveRunCount:
        """Count the runs of several parts, after the last page. Return this object.

        Each of them counts in the state that `run_state` returns for its parts.
        """
        for states in self._multi_part.values():
            state = run_state(None, states)
            self.runs[state] = self.runs.get(state, 0) + 1
        self.labels.update(filter(None, self._labels.values()))
        self._multi_part.clear()
        self._labels.clear()
        return self


@dataclass(frozen=True, slots=True)
class LiveRunPage:
    """A page of the count of live runs, and the cursor of the next page."""

    cursor: str
    states: tuple[tuple[str, int, float | None], ...]
    labels: tuple[tuple[str, int], ...]
    #: run id, state and label of each live part of runs that have several parts; the label may be empty
    multi_part: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class ReadStats(Command[StoreStats]):
    """Read the figures of the store. `ahead` are the seconds of `expiring`.

    The caller's `account` is included even if it never had a job; '' for none.
    """

    account: str
    ahead: Sequence[float]
    script = "read_stats"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(
            (keys.prefix, self.account, *self.ahead),
            [
                *(keys.due, keys.dispatched, keys.content_expiry, keys.quota),
                *(keys.pause, keys.accounts, keys.totals, keys.stored),
            ],
        )

    def decode(self, keys: Keys, reply: Any) -> StoreStats:
        return _parse_stats(reply)


@dataclass(frozen=True, slots=True)
class CountLiveRuns(Command[LiveRunPage]):
    """Count one page of the live runs: those that are polled by list for `account`, or else those in the due set."""

    account: str | None = None
    cursor: str = START
    script = "count_live_runs"

    def encode(self, keys: Keys) -> Encoded:
        key = keys.due if self.account is None else keys.poll_set(self.account)
        return Encoded((keys.prefix, self.cursor, _SLICE), [key])

    def decode(self, keys: Keys, reply: Any) -> LiveRunPage:
        rows = [[_text(item) for item in row] for row in reply[1:]]
        return LiveRunPage(
            _text(reply[0]),
            tuple((row[0], int(row[1]), _moment(row[2])) for row in rows if len(row) == _BY_STATE),
            tuple((row[0], int(row[1])) for row in rows if len(row) == _BY_LABEL),
            tuple((row[0], row[1], row[2]) for row in rows if len(row) == _OF_PART),
        )


@dataclass(frozen=True, slots=True)
class ReadAccounts(Command[list[str]]):
    """Read the accounts for which jobs were, or are, bought."""

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("SMEMBERS", keys.accounts))

    def decode(self, keys: Keys, reply: Any) -> list[str]:
        return sorted(decode_names(reply))


@dataclass(frozen=True, slots=True)
class ReadTotals(Command[list[float]]):
    """Read the totals of counters, by their names in the store."""

    names: Sequence[str]

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.totals, *self.names))

    def decode(self, keys: Keys, reply: Any) -> list[float]:
        return [float(total or 0) for total in reply]


@dataclass(frozen=True, slots=True)
class ReadClock(Command[float]):
    """Read the store's clock, in seconds since the epoch."""

    script = "read_clock"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(())

    def decode(self, keys: Keys, reply: Any) -> float:
        return float(reply)


@dataclass(frozen=True, slots=True)
class ReadEncryptionKeys(Command[dict[str, float]]):
    """Read the names of the encryption keys that were used, and when each key was last used."""

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("ZRANGE", keys.encryption_keys, 0, -1, "WITHSCORES"))

    def decode(self, keys: Keys, reply: Any) -> dict[str, float]:
        # RESP3 has pairs, RESP2 a flat list of names and scores.
        pairs = reply if reply and isinstance(reply[0], list | tuple) else zip(reply[::2], reply[1::2], strict=True)
        return {name.decode(): float(at) for name, at in pairs}


def _parse_stats(reply: Sequence[Any]) -> StoreStats:
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
        accounts=tuple(_parse_account([_text(item) for item in row]) for row in accounts),
    )


def _unexpired_bytes(stored: Sequence[bytes], now: float) -> int:
    hours = zip(stored[::2], stored[1::2], strict=True)
    return sum(int(size) for hour, size in hours if int(hour) >= now // _HOUR)


def _parse_account(row: Sequence[str]) -> AccountStats:
    account, polled_by_list, next_poll_at, active, waiting_for_slot, *times = row
    return AccountStats(
        account,
        int(polled_by_list),
        _moment(next_poll_at),
        int(active),
        int(waiting_for_slot),
        *map(_moment, times),
    )


def _text(item: bytes | int) -> str:
    return item.decode() if isinstance(item, bytes) else str(item)


def _moment(text: str) -> float | None:
    return float(text) if text else None


#: The states of live runs, in the order in which a run goes through them.
LIVE = (
    DRAFT,
    RunState.QUEUED.value,
    RunState.SUBMITTING.value,
    RunState.RECONCILING.value,
    RunState.RUNNING.value,
    RunState.FETCHING.value,
    DELIVERING,
)
