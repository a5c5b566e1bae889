"""Commands for schedules: read what the store knows of them, pause and resume them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.models.sendable import canonical_json
from scrape_do_celery.store.command import Command, Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys


@dataclass(frozen=True, slots=True)
class PauseRow:
    """The pause of a schedule: its time by the store's clock, who paused the schedule, and why."""

    at: float
    by: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class ScheduleRow:
    """What the store knows of a schedule: texts as the script has written them. A field is None if it is not known."""

    name: str
    rule: str | None = None
    if_running: str | None = None
    tick: str | None = None
    decision: str | None = None
    decided_at: float | None = None
    last_run: str | None = None
    live_run: str | None = None


@dataclass(frozen=True, slots=True)
class StoredSchedules:
    """The schedules that the store knows, and the pauses, by name. A paused schedule may never have ticked."""

    now: float
    rows: dict[str, ScheduleRow]
    pauses: dict[str, PauseRow]


@dataclass(frozen=True, slots=True)
class ReadSchedules(Command[StoredSchedules]):
    """Read the records of all schedules, and the pauses."""

    script = "read_schedules"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((keys.prefix,), [keys.schedules, keys.schedule_pauses])

    def decode(self, keys: Keys, reply: Any) -> StoredSchedules:
        now, pauses, *records = reply
        rows = [_parse_row(live.decode(), _pair(fields)) for live, fields in records if fields]
        return StoredSchedules(
            float(now),
            {row.name: row for row in rows},
            {name: _parse_pause(text) for name, text in _pair(pauses).items()},
        )


@dataclass(frozen=True, slots=True)
class PauseSchedule(Command[bool]):
    """Pause a schedule, or resume it. The result is whether this has changed anything."""

    name: str
    is_paused: bool
    by: str | None = None
    note: str | None = None
    script = "pause_schedule"

    def encode(self, keys: Keys) -> Encoded:
        details = canonical_json({"by": self.by, "note": self.note}) if self.is_paused else ""
        return Encoded((self.name, details), [keys.schedule_pauses])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


def _pair(flat: Sequence[bytes]) -> dict[str, str]:
    texts = [one.decode() for one in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _parse_pause(text: str) -> PauseRow:
    at, _, details = text.partition(" ")
    found = json.loads(details)
    return PauseRow(float(at), found.get("by"), found.get("note"))


def _parse_row(live_run: str, fields: dict[str, str]) -> ScheduleRow:
    decided = fields.get("decided")
    return ScheduleRow(
        name=fields["name"],
        rule=fields["rule"],
        if_running=fields["if_running"],
        tick=fields.get("tick"),
        decision=fields.get("decision"),
        decided_at=None if decided is None else float(decided),
        last_run=fields.get("run"),
        live_run=live_run or None,
    )
