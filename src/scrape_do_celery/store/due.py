"""The due parts and runs that the store hands out to the dispatcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.keys import PartId

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    parts: tuple[DuePart, ...]
    runs: tuple[DueRun, ...]

    @classmethod
    def parse(cls, reply: Sequence[Any]) -> Due:
        """Parse the reply of `claim_due.lua`."""
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
