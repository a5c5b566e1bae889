"""Commands of the dispatcher: the due parts and runs that it hands out, and its claim of the store."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.part_ids import PartId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys

#: Seconds until the dispatcher publishes again for a part that no step has claimed. The interval grows from the first
#: number to the second.
REDISPATCH_MIN, REDISPATCH_MAX = 5.0, 300.0
#: Seconds after which an older dispatcher puts off a due entry of a newer version, which no newer dispatcher has taken.
NEWER_PATIENCE = 30.0
#: Parts of a step message, at most.
PARTS_PER_MESSAGE = 50


@dataclass(frozen=True, slots=True)
class DuePart:
    """A part for which the dispatcher must publish a step message."""

    part_id: PartId
    state: str
    stop_requested: bool
    cancel_sent: bool
    attempts: int
    dispatches: int


@dataclass(frozen=True, slots=True)
class DueRun:
    """A run that must be accepted, aggregated or delivered. If it is accepted and has parts left, it is overdue."""

    run_id: str
    outcome: str | None
    left: int
    accepted: bool
    dispatches: int


@dataclass(frozen=True, slots=True)
class Due:
    """The due entries of one command, and the time at which the next entry is due; None if there is none."""

    now: float
    next_at: float | None
    dropped: int
    #: whether the server's clock was set back, so that times in the store lie too far ahead
    was_set_back: bool
    parts: tuple[DuePart, ...]
    runs: tuple[DueRun, ...]

    @classmethod
    def parse(cls, reply: Sequence[Any]) -> Due:
        """Parse the reply of `claim_due.lua`."""
        now, next_at, dropped, was_set_back, *rows = reply
        return cls(
            now=float(now),
            next_at=float(next_at) if next_at else None,
            dropped=int(dropped),
            was_set_back=bool(was_set_back),
            parts=tuple(_parse_part(row) for row in rows if row[1] != b"run"),
            runs=tuple(_parse_run(row) for row in rows if row[1] == b"run"),
        )


@dataclass(frozen=True, slots=True)
class ClaimDue(Command[Due]):
    """Hand out at most `limit` due parts and runs, while at most `cap` step messages are in flight.

    Advance the watched clock by no more than `own_elapsed`: the seconds since the last such command of this dispatcher,
    by its monotonic clock.
    """

    _: KW_ONLY
    limit: int
    cap: int
    own_elapsed: float = 0.0
    script = "claim_due"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(
            (
                *(keys.prefix, self.limit, self.cap, REDISPATCH_MIN, REDISPATCH_MAX, PARTS_PER_MESSAGE),
                *(self.own_elapsed, NEWER_PATIENCE),
            ),
            [keys.due, keys.dispatched, keys.content_expiry, keys.queue_delay, keys.clock, keys.expiring],
        )

    def decode(self, keys: Keys, reply: Any) -> Due:
        return Due.parse(reply)


@dataclass(frozen=True, slots=True)
class RewindTimes(Command[float]):
    """Rewind the times in the store after the server's clock was set back. The result is by how many seconds."""

    script = "rewind_times"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(
            (keys.prefix,),
            [
                *(keys.clock, keys.due, keys.dispatched, keys.changed, keys.content_expiry, keys.queue_delay),
                *(keys.quota, keys.next_request_at, keys.pause, keys.accounts),
            ],
        )

    def decode(self, keys: Keys, reply: Any) -> float:
        return float(reply)


@dataclass(frozen=True, slots=True)
class ClaimNamespace(Command[str]):
    """Claim the store for the application `name`. The result is the application that has the claim.

    The claim ends after `NAMESPACE_TTL` seconds.
    """

    name: str
    script = "claim_namespace"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.name,), [keys.namespace_owner])

    def decode(self, keys: Keys, reply: Any) -> str:
        return str(reply.decode())


@dataclass(frozen=True, slots=True)
class ReadNamespaceOwner(Command[str | None]):
    """Read the application whose workers serve the store. The result is None if no worker serves it."""

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("GET", keys.namespace_owner))

    def decode(self, keys: Keys, reply: Any) -> str | None:
        return None if reply is None else str(reply.decode())


def _parse_part(row: Sequence[Any]) -> DuePart:
    part_id, state, stop_requested, cancel_sent, attempts, dispatches = row
    return DuePart(
        PartId.parse(part_id.decode()),
        state.decode(),
        bool(stop_requested),
        bool(cancel_sent),
        int(attempts or 0),
        int(dispatches),
    )


def _parse_run(row: Sequence[Any]) -> DueRun:
    entry, _, outcome, left, accepted, dispatches = row
    run_id = entry.decode().rpartition(":")[0]
    return DueRun(run_id, outcome.decode() or None, int(left), bool(accepted), int(dispatches))
