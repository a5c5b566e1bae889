"""Name the ticks of a schedule by pure rules, so that two beats give a tick the same name. Find the next tick."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from celery.schedules import crontab, schedule

from scrape_do_celery.figures import format_figure
from scrape_do_celery.rules.time_zones import find_own_zone, read_zone, write_zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
#: Days to search for a tick, at most: the last 29th of February may be eight years back.
_DAYS = 8 * 366 + 1
_HOURS = 24
#: The name of a tick of a crontab.
_NAME = "%Y-%m-%dT%H:%MZ"
#: The places of `_FIELDS` in the order in which a crontab is written.
_WRITTEN = (0, 1, 3, 4, 2)


class TickDecision(StrEnum):
    """The decision about a tick of a schedule."""

    STARTED = "started"  #: a run was started
    QUEUED = "queued"  #: a run was written, which starts when the earlier runs of the schedule have ended
    SKIPPED = "skipped"  #: no run was made, because a run of another tick was live
    PAUSED = "paused"  #: no run was made, because the schedule was paused


def schedule_rule(when: object) -> dict[str, Any]:
    """Return the rule of a schedule as JSON values, for `tick`.

    Raises:
        ValueError: the schedule is neither a crontab nor an interval of at least 1 second, or its time zone cannot be
            kept.
    """
    if isinstance(when, crontab):
        zone = find_own_zone(when)
        fields = [str(getattr(when, f"_orig_{field}")) for field in _FIELDS]
        return {"cron": fields, **({} if zone is None else {"zone": zone})}
    if isinstance(when, schedule):
        when = when.run_every
    seconds = when.total_seconds() if isinstance(when, timedelta) else when
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 1:
        raise ValueError(f"schedule must be a crontab, or an interval of at least one second: {when!r}")
    return {"every": float(seconds)}


def tick(rule: Mapping[str, Any], now: datetime, zone: tzinfo) -> str:
    """Return the name of the tick at or before `now`.

    The tick of an interval is a multiple of the interval since the epoch, in seconds. The tick of a crontab is a minute
    by the clock of its own zone, or else of `zone`.

    Raises:
        ValueError: this machine does not know the zone of the crontab, or the crontab never comes due.
    """
    if "every" in rule:
        every = float(rule["every"])
        return f"{now.timestamp() // every * every:.0f}"
    cron, own = _read_crontab(rule, zone)
    return _last_minute(cron, now.astimezone(own)).strftime(_NAME)


def next_tick(rule: Mapping[str, Any], now: datetime, zone: tzinfo) -> datetime:
    """Return the time of the first tick after `now`.

    Raises:
        ValueError: as for `tick`.
    """
    if "every" in rule:
        every = float(rule["every"])
        return datetime.fromtimestamp((now.timestamp() // every + 1) * every, UTC)
    cron, own = _read_crontab(rule, zone)
    return _first_minute(cron, now.astimezone(own))


def with_zone(rule: Mapping[str, Any], zone: tzinfo) -> dict[str, Any]:
    """Return a rule that other processes read in the same way: a crontab gets `zone`, unless it has a zone.

    If the zone has no name, the rule stays as it is.
    """
    if "cron" not in rule or "zone" in rule:
        return dict(rule)
    try:
        return {**rule, "zone": write_zone(zone)}
    except ValueError:
        return dict(rule)


def describe_rule(rule: Mapping[str, Any]) -> str:
    """Return the text of a rule: `every 300 s`, or the five fields of a crontab and its zone."""
    if "every" in rule:
        return f"every {format_figure(float(rule['every']))} s"
    fields = " ".join("".join(str(rule["cron"][place]).split()) for place in _WRITTEN)
    return f"{fields} ({rule['zone']})" if "zone" in rule else fields


def tick_time(name: str) -> datetime | None:
    """Return the time of a tick of a crontab; None for a tick of an interval."""
    try:
        return datetime.strptime(name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


def any_tick_time(name: str) -> datetime | None:
    """Return the time of a tick; None for a name that no rule has made."""
    if re.fullmatch("[0-9]{1,11}", name):
        return datetime.fromtimestamp(int(name), UTC)
    return tick_time(name)


def _read_crontab(rule: Mapping[str, Any], zone: tzinfo) -> tuple[crontab, tzinfo]:
    """Return the crontab of a rule, and its zone: its own, or else `zone`."""
    cron = crontab(**dict(zip(_FIELDS, rule["cron"], strict=True)))
    return cron, read_zone(rule["zone"]) if "zone" in rule else zone


def _first_minute(cron: crontab, now: datetime) -> datetime:
    """Return the first minute after `now` that a crontab names, in UTC."""
    since = now.astimezone(UTC)
    for days in range(_DAYS):
        day = now + timedelta(days=days)
        if _is_day(cron, day) and (found := min((at for at in _minutes(cron, day) if at > since), default=None)):
            return found
    raise ValueError(f"the crontab never comes due: {cron!r}")


def _last_minute(cron: crontab, now: datetime) -> datetime:
    """Return the last minute at or before `now` that a crontab names, in UTC."""
    until = now.astimezone(UTC)
    for days in range(_DAYS):
        day = now - timedelta(days=days)
        if _is_day(cron, day) and (found := max((at for at in _minutes(cron, day) if at <= until), default=None)):
            return found
    raise ValueError(f"the crontab never comes due: {cron!r}")


def _minutes(cron: crontab, day: datetime) -> Iterator[datetime]:
    """Yield the minutes of a day that a crontab names, in UTC, as Celery finds them when clocks change.

    A minute that the clock skips comes due later by the size of the change. Of two equal minutes, the first counts. A
    beat that starts after it also finds the second, and only schedules of every hour want it.
    """
    folds = (0, 1) if len(cron.hour) == _HOURS else (0,)
    for hour in cron.hour:
        for minute in cron.minute:
            for fold in folds:
                yield day.replace(hour=hour, minute=minute, second=0, microsecond=0, fold=fold).astimezone(UTC)


def _is_day(cron: crontab, day: datetime) -> bool:
    return day.month in cron.month_of_year and day.day in cron.day_of_month and day.isoweekday() % 7 in cron.day_of_week
