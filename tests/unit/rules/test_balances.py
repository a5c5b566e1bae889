"""Test the comparison of reported costs with the balance of the account."""

from __future__ import annotations

import pytest

from scrape_do_celery.rules.balances import check_balance

COSTS = [(5.0, 100.0), (10.0, 10.0), (30.0, 20.0), (31.0, 50.0)]


@pytest.mark.parametrize("readings", [[], [(10.0, 100.0)]])
def test_decrease_needs_two_readings(readings):
    assert check_balance(readings, COSTS) is None


def test_only_costs_between_the_readings_count():
    found = check_balance([(10.0, 100.0), (20.0, 85.0), (30.0, 70.0)], COSTS)
    assert (found.since, found.until, found.reported, found.decrease, found.rise, found.excess) == (
        10,
        30,
        30,
        30,
        0,
        0,
    )


def test_reported_costs_above_the_decrease_are_an_excess():
    assert check_balance([(10.0, 100.0), (30.0, 80.0)], COSTS).excess == 10


def test_other_use_and_a_part_of_a_credit_are_no_excess():
    assert check_balance([(10.0, 100.0), (30.0, 0.0)], COSTS).excess == 0
    assert check_balance([(10.0, 100.0), (30.0, 71.0)], COSTS).excess == 0


def test_after_a_top_up_nothing_is_judged():
    found = check_balance([(10.0, 100.0), (20.0, 95.0), (30.0, 1000.0)], COSTS)
    assert (found.decrease, found.rise, found.excess) == (5, 905, 0)
