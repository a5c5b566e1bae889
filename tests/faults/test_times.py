"""Test that the times of the lab end with the lab."""

from __future__ import annotations

from scrape_do_celery.store import claiming, ops
from tests.faults.timings import LONGEST_PROBE, times_shortened


def test_times_are_those_of_production_after_the_lab():
    production = ops.LONGEST_PROBE
    assert production > LONGEST_PROBE
    with times_shortened():
        assert ops.LONGEST_PROBE == claiming.LONGEST_PROBE == LONGEST_PROBE
    assert ops.LONGEST_PROBE == claiming.LONGEST_PROBE == production
