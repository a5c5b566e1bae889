"""Test the names and ids that users give: each has a key of its own, of a bounded length."""

from __future__ import annotations

import pytest

from scrape_do_celery import runs
from scrape_do_celery.errors import InvalidRequestError
from scrape_do_celery.models.sendable import LONGEST_ID, LONGEST_NAME
from scrape_do_celery.runs import RunHandle
from scrape_do_celery.runs.drafts import create_draft
from scrape_do_celery.steps.schedule import start_scheduled_run
from scrape_do_celery.steps.scrape import _park_caller
from scrape_do_celery.store import Keys
from scrape_do_celery.store.commands.creation import ScheduleTick

URLS = ["https://a.example/"]
HUGE = "x" * 20_000_000
KEYS = Keys("p")
WRONG_NAMES = [HUGE, "x" * (LONGEST_NAME + 1), " ", 7, b"x", "\ud800"]


def test_names_with_colons_share_no_key():
    assert KEYS.once("a:0", "x:y") != KEYS.once("a:0:x", "y")
    assert KEYS.tick("daily", "x:1") != KEYS.tick("daily:x", "1")
    assert KEYS.tick("daily", "x:y") != KEYS.tick("daily:x", "y")
    assert KEYS.tick("daily", "x:2026-11-29T14:00Z") != KEYS.tick("daily:x", "2026-11-29T14:00Z")
    # A schedule may have the name that a digest gave to another schedule.
    assert KEYS.schedule(KEYS.schedule(HUGE).rpartition(":")[2]) != KEYS.schedule(HUGE)


def test_a_short_name_gives_the_same_key_in_each_version():
    """A worker of a new version must find the live run of a schedule, and the tick of a redelivered message."""
    assert KEYS.schedule("shop:daily") == "p:schedule:shop:daily"
    assert KEYS.tick("daily", "2026-11-29T14:00Z") == "p:tick:daily:2026-11-29T14:00Z"
    assert KEYS.tick("shop:daily", "2026-11-29T14:00Z") == "p:tick:shop:daily:2026-11-29T14:00Z"
    assert KEYS.tick("shop:daily", "1764424800") == "p:tick:shop:daily:1764424800"
    assert KEYS.message_tick("5c1b") == "p:once:5c1b:tick"
    assert KEYS.once("run", "mail") == "p:once:run:mail"


def test_a_name_gives_a_short_key():
    made = [KEYS.once("r", HUGE), KEYS.tick(HUGE, HUGE), KEYS.schedule(HUGE), KEYS.message_tick(HUGE)]
    made += [KEYS.idempotency(HUGE), KEYS.reservation(HUGE)]
    assert max(map(len, made)) < 100


def test_deliveries_of_runs_whose_ids_hold_colons_are_told_apart(step_harness):
    first, second = (RunHandle(run_id, app_context=step_harness.app_context) for run_id in ("a:0", "a:0:x"))
    assert first.first_delivery("x:y")
    assert second.first_delivery("y")
    assert not first.first_delivery("x:y")


@pytest.mark.parametrize(
    "name", [HUGE, "x" * (LONGEST_NAME + 1), " ", 7, b"x", "\ud800"], ids=lambda one: repr(one)[:12]
)
def test_a_wrong_name_is_refused_with_its_field(step_harness, name):
    app_context = step_harness.app_context
    handle = RunHandle("r", app_context=app_context)
    before = step_harness.redis.keys("*")
    for field, call in {
        "idempotency_key": lambda: runs.enqueue(URLS, idempotency_key=name),
        "name": lambda: handle.first_delivery(name),
        "credentials": lambda: start_scheduled_run(
            app_context, ScheduleTick("daily", "t", "skip"), {"targets": URLS, "credentials": name}
        ),
        "tick": lambda: start_scheduled_run(app_context, ScheduleTick("daily", name, "skip"), {"targets": URLS}),
    }.items():
        with pytest.raises(ValueError, match=rf"^{field} (must|has|holds)"):
            call()
    with pytest.raises(ValueError, match=r"^name (must|has|holds)"):
        runs.scheduled_run(name, 60.0, URLS)
    assert step_harness.redis.keys("*") == before


def test_a_name_and_an_id_of_the_longest_length_are_taken(step_harness):
    run_id = "r" * LONGEST_ID
    create_draft(step_harness.app_context, run_id, {}, (URLS,), {"idempotency_key": "k" * LONGEST_NAME})
    assert RunHandle(run_id, app_context=step_harness.app_context).state == "queued"


def test_an_id_that_is_too_long_is_refused(step_harness):
    app_context, long = step_harness.app_context, "r" * (LONGEST_ID + 1)
    with pytest.raises(ValueError, match=r"^run_id has 256 characters; use at most 255"):
        RunHandle(long, app_context=app_context)
    with pytest.raises(ValueError, match=r"^task_id has 256 characters"):
        create_draft(app_context, long, {}, (URLS,), {})
    with pytest.raises(InvalidRequestError, match=r"^task_id has 256 characters"):
        _park_caller(app_context, "r", long, {})
    with pytest.raises(InvalidRequestError, match=r"^run_id has 256 characters"):
        _park_caller(app_context, long, "r", {})
