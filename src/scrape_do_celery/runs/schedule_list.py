"""List the schedules that the store and the app of this process know."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from scrape_do_celery.rules.schedules import TickDecision, any_tick_time, describe_rule, next_tick, with_zone
from scrape_do_celery.runs.beat_entries import find_beat_entries
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.store.commands.schedules import ReadSchedules, ScheduleRow

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.config import Settings
    from scrape_do_celery.runs.beat_entries import BeatEntry
    from scrape_do_celery.store.commands.schedules import PauseRow

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SchedulePause:
    """The pause of a schedule.

    Attributes:
        at: when the schedule was paused.
        by: who paused it, if the caller has said so.
        note: why, if the caller has said so.
    """

    at: datetime
    by: str | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """A schedule, as the store and the app of this process know it. Times are in UTC.

    Attributes:
        name: the name of the schedule.
        rule: `every 300 s`, or the five fields of a crontab and its time zone. None if nothing but a pause is known.
        if_running: the fate of a tick while the run of an earlier tick goes on.
        is_declared: whether the app of this process, or the table of django-celery-beat, has an entry with this name.
        next_tick: the time of the next tick by the rule. None if the rule is not known, or if its entry is disabled.
            The store does not know whether a beat runs. A paused schedule skips the tick.
        last_tick: the time of the last tick that was decided. None if there was none in the last 91 days.
        last_decision: the decision about this tick.
        decided_at: when the tick was decided.
        last_run: the id of the last run that was made by a tick or by `run_schedule`.
        live_run: the id of the last run of the schedule that has not ended.
        pause: the pause; None if the schedule is not paused.
    """

    name: str
    rule: str | None
    if_running: str | None
    is_declared: bool
    next_tick: datetime | None
    last_tick: datetime | None
    last_decision: TickDecision | None
    decided_at: datetime | None
    last_run: str | None
    live_run: str | None
    pause: SchedulePause | None

    @property
    def is_paused(self) -> bool:
        """Whether its ticks make no runs."""
        return self.pause is not None


def list_schedules(*, settings: Settings | None = None) -> list[Schedule]:
    """Return all known schedules, sorted by name.

    A schedule is known if it has ticked or was run in the last 91 days, if the app of this process or the table of
    django-celery-beat declares it, or if it is paused.

    Args:
        settings: settings of this call. None takes those of the framework or of the environment.

    Raises:
        StoreUnavailableError: Redis did not answer, or refused.
    """
    context = AppContext.for_app(settings=settings)
    stored, entries = context.store.run(ReadSchedules()), find_beat_entries(context.app)
    now = datetime.fromtimestamp(stored.now, context.app.timezone)
    return [
        _describe_schedule(stored.rows.get(name) or ScheduleRow(name), entries.get(name), stored.pauses.get(name), now)
        for name in sorted({*stored.rows, *entries, *stored.pauses})
    ]


def _describe_schedule(row: ScheduleRow, entry: BeatEntry | None, pause: PauseRow | None, now: datetime) -> Schedule:
    # A rule without its zone does not say when it ticks: a reader takes the hours for those of UTC or of the terminal.
    rule = with_zone(entry.rule, now.tzinfo or UTC) if entry else json.loads(row.rule or "null")
    return Schedule(
        name=row.name,
        rule=_read(describe_rule, rule),
        if_running=entry.if_running if entry else row.if_running,
        is_declared=entry is not None,
        next_tick=_read(_find_next, rule, now) if entry is None or entry.is_enabled else None,
        last_tick=any_tick_time(row.tick or ""),
        last_decision=TickDecision(row.decision) if row.decision in set(TickDecision) else None,
        decided_at=_moment(row.decided_at),
        last_run=row.last_run,
        live_run=row.live_run,
        pause=SchedulePause(datetime.fromtimestamp(pause.at, UTC), pause.by, pause.note) if pause else None,
    )


def _find_next(rule: dict[str, Any], now: datetime) -> datetime:
    return next_tick(rule, now, now.tzinfo or UTC)


def _read(read: Callable[..., T], rule: Any, *arguments: Any) -> T | None:
    """Return what `read` finds in a rule; None for a rule that another version, or a hand, has written otherwise."""
    try:
        return read(rule, *arguments)
    except (ValueError, TypeError, KeyError):
        return None


def _moment(at: float | None) -> datetime | None:
    return None if at is None else datetime.fromtimestamp(at, UTC)
