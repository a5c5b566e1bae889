"""Test crontabs with a time zone of their own: each time at which Celery's beat publishes is a tick of its own."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

import pytest
from celery import Celery
from celery.schedules import crontab
from django_celery_beat.tzcrontab import TzAwareCrontab

from scrape_do_celery.rules.schedules import schedule_rule, tick, tick_time
from scrape_do_celery.rules.time_zones import read_zone, write_zone
from tests.support.time_limits import limit_time

BERLIN, LORD_HOWE, KOLKATA = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kolkata")


@pytest.fixture
def app():
    with Celery("shop", set_as_current=False, broker="memory://") as one:
        yield one


def publications(app, zone, start, hours, **cron):
    """Return when Celery's own beat would publish a crontab in a zone, from `start` on."""
    schedule, now, found = TzAwareCrontab(tz=zone, app=app, **cron), start, []
    schedule.nowfun = lambda: now.astimezone(zone)
    last = schedule.now()
    while now < start + timedelta(hours=hours):
        due, after = schedule.is_due(last)
        if due:
            found.append(now)
            last = schedule.now()
        now += timedelta(seconds=min(max(after, 1.0), 300.0))
    return found


@pytest.mark.parametrize(
    ("zone", "start"),
    [
        (BERLIN, datetime(2026, 3, 28, 21, tzinfo=UTC)),
        (BERLIN, datetime(2026, 10, 24, 21, tzinfo=UTC)),
        (LORD_HOWE, datetime(2026, 4, 4, 12, tzinfo=UTC)),
        (LORD_HOWE, datetime(2026, 10, 3, 12, tzinfo=UTC)),
        (KOLKATA, datetime(2026, 6, 1, 17, tzinfo=UTC)),
        (ZoneInfo("America/New_York"), datetime(2026, 3, 8, 4, tzinfo=UTC)),
        (timezone(timedelta(hours=-3, minutes=-30)), datetime(2026, 6, 1, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize(
    "cron",
    [
        {"minute": "*/20"},
        {"minute": "30"},
        {"minute": "30", "hour": "1,2,3"},
        {"minute": "0,30", "hour": "2"},
        {"minute": "*/10", "hour": "0-4", "day_of_week": "sun,mon"},
    ],
)
def test_each_publication_of_beat_is_a_tick(app, zone, start, cron):
    rule = json.loads(json.dumps(schedule_rule(TzAwareCrontab(tz=zone, app=app, **cron))))
    published = publications(app, zone, start, 9, **cron)
    # The workers have another zone.
    names = [tick(rule, at, UTC) for at in published]
    assert len(set(names)) == len(published)
    assert names == sorted(names)
    # The first one may be late, if beat starts in its hour.
    assert all(
        tick_time(name) <= at < tick_time(name) + timedelta(minutes=1)
        for name, at in zip(names, published, strict=True)
    )


def test_a_beat_that_starts_in_a_repeated_hour_buys_no_more(app):
    """Celery's beat publishes each second then, from 1:05 to 2:00 UTC. Each minute of the crontab is one tick."""
    start = datetime(2026, 10, 25, 1, 5, tzinfo=UTC)
    for cron, expected in (({"minute": "*/20"}, 3), ({"minute": "30", "hour": "2"}, 1)):
        published = publications(app, BERLIN, start, 0.9, **cron)
        assert len(published) > 1_000
        rule = schedule_rule(TzAwareCrontab(tz=BERLIN, app=app, **cron))
        assert len({tick(rule, at, UTC) for at in published}) == expected


def test_without_the_zone_the_publications_of_a_day_were_one_tick(app):
    """Show the fault that the zone in the rule mends."""
    cron = {"minute": "0", "hour": "9,10,11"}
    published = publications(app, ZoneInfo("Asia/Tokyo"), datetime(2026, 6, 1, 23, 30, tzinfo=UTC), 4, **cron)
    assert len(published) == 3
    plain = schedule_rule(crontab(app=app, **cron))
    assert len({tick(plain, at, UTC) for at in published}) == 1
    kept = schedule_rule(TzAwareCrontab(tz=ZoneInfo("Asia/Tokyo"), app=app, **cron))
    assert len({tick(kept, at, UTC) for at in published}) == 3


def test_the_zone_of_a_clock_is_that_which_celery_uses(app):
    app.conf.timezone = "Asia/Tokyo"
    schedule = crontab(minute="0", hour="9", nowfun=lambda: datetime.now(BERLIN), app=app)
    rule = schedule_rule(schedule)
    used = schedule.remaining_delta(datetime.now(BERLIN))[0].tzinfo
    assert rule.get("zone", "Asia/Tokyo") == used.key


def test_the_zone_of_the_app_does_not_stay_in_the_schedule(app):
    schedule = crontab(minute="0", nowfun=lambda: datetime.now(BERLIN))
    schedule_rule(schedule)
    assert "tz" not in vars(schedule)


def test_a_crontab_that_was_asked_for_its_zone(app):
    app.conf.timezone = "Asia/Tokyo"
    schedule = crontab(minute="0", app=app)
    assert schedule.tz.key == "Asia/Tokyo"
    assert schedule_rule(schedule)["zone"] == "Asia/Tokyo"


class ZonedCrontab(crontab):
    """A team's own crontab, with its zone in the class."""

    tz = BERLIN


def test_a_zone_in_the_class_is_kept(app):
    assert schedule_rule(ZonedCrontab(minute="0", app=app))["zone"] == "Europe/Berlin"


@pytest.mark.parametrize(
    "nowfun",
    [
        lambda: datetime.now(UTC) + timedelta(hours=5),
        lambda: datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=2),
    ],
)
def test_a_clock_with_another_time_is_refused(app, nowfun):
    with pytest.raises(ValueError, match=r"nowfun that is [+-]\d+,\d{3} s from the time"):
        schedule_rule(crontab(minute="0", nowfun=nowfun, app=app))


def test_a_clock_in_utc_without_a_zone_is_accepted(app):
    schedule = crontab(minute="0", nowfun=lambda: datetime.now(UTC).replace(tzinfo=None), app=app)
    assert "zone" not in schedule_rule(schedule)


class NamelessZone(tzinfo):
    """A zone as of dateutil: it has rules and no name."""

    def utcoffset(self, at):
        return None if at is None else timedelta(hours=1)

    def dst(self, at):
        return timedelta(0)


class PytzZone(NamelessZone):
    zone = "Europe/Berlin"


@pytest.mark.parametrize(
    ("zone", "text"),
    [
        (UTC, "+00:00"),
        (BERLIN, "Europe/Berlin"),
        (PytzZone(), "Europe/Berlin"),
        (timezone(timedelta(hours=-3, minutes=-30)), "-03:30"),
        (timezone(timedelta(hours=5, minutes=45)), "+05:45"),
    ],
)
def test_zones_are_kept_as_text(zone, text):
    assert write_zone(zone) == text
    moment = datetime(2026, 7, 1, tzinfo=UTC)
    expected = BERLIN if text == "Europe/Berlin" else zone
    assert moment.astimezone(read_zone(text)).utcoffset() == moment.astimezone(expected).utcoffset()


@pytest.mark.parametrize("zone", [NamelessZone(), None, timezone(timedelta(seconds=30))])
def test_a_zone_without_a_name_is_refused(zone):
    with pytest.raises(ValueError, match=r"time zone without a name.*use ZoneInfo"):
        write_zone(zone)


@pytest.mark.parametrize("text", ["Nowhere/At_All", "../etc/passwd", ""])
def test_an_unknown_zone_is_named(text):
    with pytest.raises(ValueError, match="is not known here: install the package tzdata"):
        read_zone(text)


def test_ticks_are_named_fast_enough():
    rule = schedule_rule(TzAwareCrontab(tz=BERLIN))
    with limit_time(1):
        tick(rule, datetime(2026, 6, 1, 23, 59, tzinfo=UTC), UTC)
