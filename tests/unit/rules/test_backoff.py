from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.rules.backoff import delay

FRACTION = st.floats(0, 1, exclude_max=True)
SECONDS = st.floats(1e-3, 1e6)


@pytest.mark.parametrize(("attempt", "expected"), [(0, 1.0), (1, 2.0), (4, 16.0), (5, 30.0), (10**30, 30.0)])
def test_doubles_up_to_the_maximum(attempt, expected):
    assert delay(attempt, initial=1, maximum=30, jitter=0.0, random=lambda: 0.9) == expected


def test_jitter_shortens():
    assert delay(9, initial=1, maximum=30, jitter=0.5, random=lambda: 0.5) == 22.5


@given(st.integers(0, 10**40), SECONDS, SECONDS, st.floats(1, 1e9), st.floats(0, 1), FRACTION)
def test_stays_within_its_bounds(attempt, initial, maximum, multiplier, jitter, drawn):
    seconds = delay(
        attempt, initial=initial, maximum=maximum, multiplier=multiplier, jitter=jitter, random=lambda: drawn
    )
    assert 0 <= seconds <= maximum
    assert seconds >= min(initial, maximum) * (1 - jitter)


@given(st.integers(0, 5000), SECONDS, SECONDS, st.floats(1, 10))
def test_never_shrinks(attempt, initial, maximum, multiplier):
    def full(number):
        return delay(number, initial=initial, maximum=maximum, multiplier=multiplier, jitter=0.0, random=lambda: 0.0)

    assert full(attempt) <= full(attempt + 1)
