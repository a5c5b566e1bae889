"""What the dispatcher finds due, as one look of it tells."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.keys import PartId

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class DuePart:
    """A part that the dispatcher is to publish a step message for."""

    part_id: PartId
    state: str
    stop_requested: bool
    cancel_sent: bool
    attempts: int
    dispatches: int


@dataclass(frozen=True, slots=True)
class DueRun:
    """A run that waits to be accepted, aggregated or delivered; or, with parts left, is past its deadline."""

    run_id: str
    outcome: str | None
    left: int
    accepted: bool
    dispatches: int


@dataclass(frozen=True, slots=True)
class Due:
    """What one look of the dispatcher found, and when the next is worth it."""

    now: float
    next_at: float | None
    dropped: int
    parts: tuple[DuePart, ...]
    runs: tuple[DueRun, ...]

    @classmethod
    def parse(cls, reply: Sequence[Any]) -> Due:
        """What `claim_due.lua` handed out."""
        now, next_at, dropped, *rows = reply
        return cls(
            now=float(now),
            next_at=float(next_at) if next_at else None,
            dropped=int(dropped),
            parts=tuple(_due_part(row) for row in rows if row[1] != b"run"),
            runs=tuple(_due_run(row) for row in rows if row[1] == b"run"),
        )


def _due_part(row: Sequence[Any]) -> DuePart:
    part_id, state, stop_requested, cancel_sent, attempts, dispatches = row
    return DuePart(
        PartId.parse(part_id.decode()),
        state.decode(),
        bool(stop_requested),
        bool(cancel_sent),
        int(attempts or 0),
        int(dispatches),
    )


def _due_run(row: Sequence[Any]) -> DueRun:
    entry, _, outcome, left, accepted, dispatches = row
    run_id = entry.decode().rpartition(":")[0]
    return DueRun(run_id, outcome.decode() or None, int(left), bool(accepted), int(dispatches))
