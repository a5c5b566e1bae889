"""Find the time zone in which a crontab of Celery reads its fields, and keep it as text."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from celery.schedules import BaseSchedule
from celery.utils.time import maybe_make_aware

if TYPE_CHECKING:
    from celery.schedules import crontab

#: Seconds by which the clock of a schedule may differ from ours.
_TOLERANCE: Final = 60.0
_OFFSET: Final = re.compile(r"([+-])(\d\d):(\d\d)")
_MINUTES: Final = 60


def find_own_zone(cron: crontab) -> str | None:
    """Return the zone that a crontab has by itself, such as django-celery-beat's `TzAwareCrontab`.

    None stands for the zone of the app.

    Raises:
        ValueError: the zone cannot be kept as text, or the crontab has a clock with another time.
    """
    kept = dict(vars(cron))
    try:
        if cron.nowfun is not None:
            _check_clock(cron)
        if "tz" in kept or type(cron).tz is not BaseSchedule.tz:
            return write_zone(cron.tz)
        if cron.nowfun is None:
            return None
        # Some versions of Celery read the fields in the zone of `nowfun`, and some in that of the app.
        used = cron.remaining_delta(maybe_make_aware(cron.now(), cron.tz))[0].tzinfo
        return None if used == cron.tz else write_zone(used)
    finally:
        # The zone of the app that is current at the declaration must not stay in the schedule.
        vars(cron).clear()
        vars(cron).update(kept)


def _check_clock(cron: crontab) -> None:
    told: Any = cron.now()
    ahead = (maybe_make_aware(told, UTC) - datetime.now(UTC)).total_seconds()
    if abs(ahead) > _TOLERANCE:
        naive = " (a time without a zone counts as UTC)" if told.tzinfo is None else ""
        raise ValueError(
            f"schedule has a nowfun that is {ahead:+,.0f} s from the time{naive}: ticks are named by the time; return "
            'the time with a zone, as `datetime.now(ZoneInfo("Europe/Berlin"))` does'
        )


def write_zone(zone: tzinfo | None) -> str:
    """Return the name of a zone, or its offset if it has the same offset at all times.

    Raises:
        ValueError: the zone has neither.
    """
    for attribute in ("key", "zone"):
        if isinstance(name := getattr(zone, attribute, None), str):
            read_zone(name)
            return name
    offset = zone.utcoffset(None) if zone is not None else None
    if offset is None or offset % timedelta(minutes=1):
        raise ValueError(f'schedule has a time zone without a name: {zone!r}; use ZoneInfo("Europe/Berlin")')
    minutes = int(offset.total_seconds()) // _MINUTES
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // _MINUTES:02}:{abs(minutes) % _MINUTES:02}"


def read_zone(text: str) -> tzinfo:
    """Return the zone of a name or offset.

    Raises:
        ValueError: this machine does not know the zone.
    """
    if found := _OFFSET.fullmatch(text):
        minutes = int(found[2]) * _MINUTES + int(found[3])
        return timezone(timedelta(minutes=-minutes if found[1] == "-" else minutes))
    try:
        return ZoneInfo(text)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"the time zone {text!r} of the schedule is not known here: install the package tzdata"
        ) from None
