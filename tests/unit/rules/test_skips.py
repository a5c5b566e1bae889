"""Test which runs a bulk call leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.rules.skips import SkipReason, find_forget_skip, find_retry_skip, fix_until

FREE = {"is_live": False, "is_child": False, "is_handled": False, "created": 1.0, "until": 2.0}


@given(st.floats(1e9, 4e9), st.floats(0, 1))
def test_run_that_begins_later_never_looks_earlier(clock, later):
    """The record of a run rounds the time of its creation, down as well as up."""
    assert float(f"{clock + later:.4f}") >= fix_until(clock, None) >= clock - 0.0002


def test_later_time_is_that_of_the_start():
    assert fix_until(5.0, 9.0) == 5.0
    assert fix_until(5.0, 3.0) == 3.0


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, None),
        ({"is_child": True}, None),
        ({"is_live": True}, SkipReason.LIVE),
        ({"is_live": True, "is_child": True}, SkipReason.RETRIED),
        ({"created": 2.0}, SkipReason.RETRIED),
        ({"created": 3.0, "is_live": True}, SkipReason.RETRIED),
        ({"is_handled": True}, SkipReason.RETRIED),
    ],
)
def test_lineage_that_is_not_retried(facts, reason):
    assert find_retry_skip(**{**FREE, **facts}) is reason


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({}, None),
        ({"is_live": True, "is_in_doubt": True}, SkipReason.LIVE),
        ({"is_in_doubt": True, "awaits_export": True}, SkipReason.IN_DOUBT),
        ({"awaits_export": True}, SkipReason.EXPORTING),
        ({"is_retried": True}, SkipReason.RETRIED),
    ],
)
def test_run_that_is_not_forgotten(facts, reason):
    names = ("is_live", "is_in_doubt", "awaits_export", "is_retried")
    assert find_forget_skip(**{**dict.fromkeys(names, False), **facts}) is reason
