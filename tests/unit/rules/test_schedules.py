"""Test that two beats give the same tick the same name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab, schedule
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.rules.schedules import schedule_rule, tick

NOW = datetime(2026, 11, 26, 3, 17, 42, tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "now", "expected"),
    [
        (crontab(), NOW, "2026-11-26T03:17Z"),
        (crontab(minute="*/15"), NOW, "2026-11-26T03:15Z"),
        (crontab(minute=30, hour=6), NOW, "2026-11-25T06:30Z"),
        (crontab(minute=0, hour=0, day_of_month=1), NOW, "2026-11-01T00:00Z"),
        (crontab(minute=0, hour=0, day_of_week="sunday"), NOW, "2026-11-22T00:00Z"),
        (crontab(minute=0, hour=0, day_of_month=29, month_of_year=2), NOW, "2024-02-29T00:00Z"),
        (60, NOW, str(int(NOW.timestamp()) // 60 * 60)),
        (timedelta(minutes=5), NOW, str(int(NOW.timestamp()) // 300 * 300)),
        (schedule(90.0), NOW, str(int(NOW.timestamp()) // 90 * 90)),
    ],
)
def test_tick_follows_from_the_rule_and_the_time(when, now, expected):
    rule = json.loads(json.dumps(schedule_rule(when)))
    assert tick(rule, now, UTC) == expected


def test_a_crontab_goes_by_the_clock_of_its_zone():
    rule = schedule_rule(crontab(minute=0, hour=9))
    assert tick(rule, datetime(2026, 7, 1, 12, tzinfo=UTC), ZoneInfo("America/New_York")) == "2026-06-30T13:00Z"
    assert tick(rule, datetime(2026, 1, 15, 14, tzinfo=UTC), ZoneInfo("America/New_York")) == "2026-01-15T14:00Z"


@pytest.mark.parametrize("when", [0, -5, 0.5, True, "daily", None, timedelta(0)])
def test_invalid_schedule_is_refused(when):
    with pytest.raises(ValueError, match="schedule must be"):
        schedule_rule(when)


@given(
    st.datetimes(NOW.replace(year=2020, tzinfo=None), NOW.replace(year=2040, tzinfo=None)),
    st.integers(0, 59),
    st.sampled_from(["*", "*/7", "13"]),
)
def test_all_of_a_minute_is_one_tick(moment, seconds, minutes):
    rule = schedule_rule(crontab(minute=minutes))
    start = moment.replace(second=0, microsecond=0, tzinfo=UTC)
    first, later = (tick(rule, start + timedelta(seconds=s), UTC) for s in (0, seconds))
    assert first == later <= start.strftime("%Y-%m-%dT%H:%MZ")


def test_crontab_without_a_tick_in_eight_years_is_refused():
    """Refuse a Monday that is the 29th of February: the last one was in 2016."""
    rule = schedule_rule(crontab(minute="0", hour="0", day_of_month="29", month_of_year="2", day_of_week="1"))
    with pytest.raises(ValueError, match="never comes"):
        tick(rule, datetime(2026, 11, 29, tzinfo=UTC), UTC)
