"""Test that the times of the lab end with the lab."""

from __future__ import annotations

from scrape_do_celery.store.commands import limits
from tests.faults.timings import LONGEST_PROBE, times_shortened


def test_times_are_those_of_production_after_the_lab():
    production = limits.LONGEST_PROBE
    assert production > LONGEST_PROBE
    with times_shortened():
        assert limits.LONGEST_PROBE == limits.LONGEST_PROBE == LONGEST_PROBE
    assert limits.LONGEST_PROBE == limits.LONGEST_PROBE == production
