"""Test that two beats give the same tick the same name."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from celery.schedules import crontab, schedule
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.rules.schedules import any_tick_time, describe_rule, next_tick, schedule_rule, tick, with_zone

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
    """Refuse a Monday that is the 29th of February: the last one was in 2016, and the next one is in 2044."""
    rule = schedule_rule(crontab(minute="0", hour="0", day_of_month="29", month_of_year="2", day_of_week="1"))
    with pytest.raises(ValueError, match="never comes"):
        tick(rule, datetime(2026, 11, 29, tzinfo=UTC), UTC)
    with pytest.raises(ValueError, match="never comes"):
        next_tick(rule, datetime(2026, 11, 29, tzinfo=UTC), UTC)


@given(
    st.datetimes(NOW.replace(year=2020, tzinfo=None), NOW.replace(year=2040, tzinfo=None)),
    st.sampled_from(
        [
            crontab(),
            crontab(minute="*/7"),
            crontab(minute=30, hour=2),
            crontab(minute=0, hour=0, day_of_month=31),
            crontab(minute=0, hour="*/6", day_of_week="sunday"),
            90.0,
            3600,
        ]
    ),
    st.sampled_from(["UTC", "America/New_York", "Asia/Kolkata"]),
)
def test_next_tick_is_the_first_after_now(moment, when, zone):
    now, zone, rule = moment.replace(tzinfo=UTC), ZoneInfo(zone), schedule_rule(when)
    found = next_tick(rule, now, zone)
    assert found > now
    assert any_tick_time(tick(rule, found, zone)) == found
    assert tick(rule, found - timedelta(seconds=1), zone) == tick(rule, now, zone), "no tick is between both"


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (300, "every 300 s"),
        (86_400.5, "every 86,400.5 s"),
        (crontab(minute=0, hour="*/6", day_of_week="1-5", day_of_month="1,15"), "0 */6 1,15 * 1-5"),
        (crontab(minute="0, 30"), "0,30 * * * *"),
    ],
)
def test_rule_is_described_in_the_order_of_a_crontab(when, text):
    assert describe_rule(schedule_rule(when)) == text


def test_rule_for_other_processes_has_the_zone_of_the_app():
    rule = schedule_rule(crontab(minute=0))
    assert describe_rule(with_zone(rule, ZoneInfo("Europe/Berlin"))) == "0 * * * * (Europe/Berlin)"
    own = {**rule, "zone": "Asia/Tokyo"}
    assert with_zone(own, UTC) == own
    assert with_zone({"every": 5.0}, UTC) == {"every": 5.0}
    assert with_zone(rule, timezone(timedelta(seconds=7))) == rule, "a zone without a name cannot be kept"


@pytest.mark.parametrize(
    ("name", "at"),
    [
        ("2026-11-26T03:17Z", datetime(2026, 11, 26, 3, 17, tzinfo=UTC)),
        ("1000000020", datetime.fromtimestamp(1_000_000_020, UTC)),
        ("t1", None),
        ("", None),
        ("\u0661", None),
    ],
)
def test_name_of_a_tick_is_its_time(name, at):
    assert any_tick_time(name) == at
