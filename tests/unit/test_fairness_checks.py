"""Test that `doctor` names the settings that fairness needs."""

from __future__ import annotations

import pytest

from scrape_do_celery import enqueue
from scrape_do_celery.cli import doctor
from scrape_do_celery.fairness_checks import check_fairness
from scrape_do_celery.findings import WARNING

URLS = ["https://shop.example/1"]
JOBS, TARGETS = "SCRAPE_DO_MAX_ACTIVE_JOBS", "SCRAPE_DO_TARGETS_PER_JOB"


@pytest.fixture(autouse=True)
def _own_app(step_harness, monkeypatch):
    monkeypatch.setattr("scrape_do_celery.runs.context.find_app", lambda settings: step_harness.app)


def named(step_harness, **settings):
    """Return the settings that the findings miss."""
    given = step_harness.settings.model_copy(update=settings)
    found = list(check_fairness(step_harness.sync_store, given))
    assert {one.level for one in found} <= {WARNING}
    return [name for name in (JOBS, TARGETS) if any(f"{name} is not set" in one.text for one in found)]


@pytest.mark.parametrize("options", [{"fairness_key": "shop:7"}, {"priority": 1}])
def test_settings_that_fairness_needs_are_named(step_harness, options):
    enqueue(URLS, **options)
    assert named(step_harness) == [JOBS, TARGETS]
    assert named(step_harness, max_active_jobs=5) == [TARGETS]
    assert named(step_harness, max_active_jobs=5, targets_per_job=1000) == []


def test_nothing_is_missed_without_the_options(step_harness):
    enqueue(URLS, tags=["shop:7"])
    assert named(step_harness) == []


def test_doctor_asks(step_harness, monkeypatch):
    monkeypatch.setattr(doctor, "check_api", lambda *_: [])
    enqueue(URLS, priority=1)
    assert any(f"{JOBS} is not set" in one.text for one in doctor._run_checks(calls_receiver=False))


def test_note_is_kept_for_a_week(step_harness):
    enqueue(URLS, priority=1)
    assert 0 < step_harness.redis.ttl(step_harness.keys.fairness_used) <= 7 * 86_400
