"""Name the ticks of a schedule by pure rules, so that two beats give a tick the same name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from celery.schedules import crontab, schedule

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import tzinfo

_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
#: Days to search for a tick, at most: the last 29th of February may be eight years back.
_DAYS = 8 * 366 + 1


def schedule_rule(when: object) -> dict[str, Any]:
    """Return the rule of a schedule as JSON values, for `tick`.

    Raises:
        ValueError: the schedule is neither a crontab nor an interval of at least 1 second.
    """
    if isinstance(when, crontab):
        return {"cron": [str(getattr(when, f"_orig_{field}")) for field in _FIELDS]}
    if isinstance(when, schedule):
        when = when.run_every
    seconds = when.total_seconds() if isinstance(when, timedelta) else when
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds < 1:
        raise ValueError(f"schedule must be a crontab, or an interval of at least one second: {when!r}")
    return {"every": float(seconds)}


def tick(rule: Mapping[str, Any], now: datetime, zone: tzinfo) -> str:
    """Return the name of the tick at or before `now`.

    The tick of an interval is a multiple of the interval since the epoch, in seconds. The tick of a crontab is a minute
    by the clock of `zone`.
    """
    if "every" in rule:
        every = float(rule["every"])
        return f"{now.timestamp() // every * every:.0f}"
    cron = crontab(**dict(zip(_FIELDS, rule["cron"], strict=True)))
    return _last_minute(cron, now.astimezone(zone)).astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def _last_minute(cron: crontab, now: datetime) -> datetime:
    """Return the last minute at or before `now` that a crontab names."""
    for days in range(_DAYS):
        day = now - timedelta(days=days)
        if not _is_day(cron, day):
            continue
        for hour in sorted(cron.hour, reverse=True):
            for minute in sorted(cron.minute, reverse=True):
                found = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
                if found <= now:
                    return found
    raise ValueError(f"the crontab never comes due: {cron!r}")


def _is_day(cron: crontab, day: datetime) -> bool:
    return day.month in cron.month_of_year and day.day in cron.day_of_month and day.isoweekday() % 7 in cron.day_of_week
