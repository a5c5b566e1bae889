"""Name the ticks of a schedule by pure rules, so that two beats give a tick the same name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from celery.schedules import crontab, schedule

from scrape_do_celery.rules.time_zones import find_own_zone, read_zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import tzinfo

_FIELDS = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
#: Days to search for a tick, at most: the last 29th of February may be eight years back.
_DAYS = 8 * 366 + 1
_HOURS = 24
#: The name of a tick of a crontab.
_NAME = "%Y-%m-%dT%H:%MZ"


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
    cron = crontab(**dict(zip(_FIELDS, rule["cron"], strict=True)))
    own = read_zone(rule["zone"]) if "zone" in rule else zone
    return _last_minute(cron, now.astimezone(own)).strftime(_NAME)


def tick_time(name: str) -> datetime | None:
    """Return the time of a tick of a crontab; None for a tick of an interval."""
    try:
        return datetime.strptime(name, _NAME).replace(tzinfo=UTC)
    except ValueError:
        return None


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
