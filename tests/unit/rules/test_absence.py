"""Test many jobs that are not found at once."""

from __future__ import annotations

from scrape_do_celery.rules import absence


def tracker(present, absent, now=0.0):
    made = absence.AbsenceTracker()
    for number in range(present):
        made.note(f"p{number}", now, absent=False)
    for number in range(absent):
        made.note(f"a{number}", now, absent=True)
    return made


def test_three_absent_jobs_of_at_most_six_are_widespread():
    assert tracker(3, 3).is_widespread(1.0)
    assert not tracker(0, 2).is_widespread(1.0)
    assert not tracker(4, 3).is_widespread(1.0)


def test_the_last_answer_of_a_job_counts():
    made = tracker(0, 3)
    made.note("a0", 1.0, absent=False)
    assert not made.is_widespread(1.0)


def test_answers_count_for_a_minute():
    made = tracker(0, 3)
    assert made.is_widespread(absence.WINDOW)
    assert not made.is_widespread(absence.WINDOW + 1)


def test_tracker_has_a_size_limit(monkeypatch):
    monkeypatch.setattr(absence, "_REMEMBERED", 3)
    made = tracker(0, 3)
    made.note("b", 0.0, absent=False)
    assert not made.is_widespread(0.0)
