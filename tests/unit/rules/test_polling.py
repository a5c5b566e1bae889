from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scrape_do_celery.errors import JobTimeoutError
from scrape_do_celery.models import JobDetails
from scrape_do_celery.rules.polling import (
    NOT_FOUND_GRACE,
    DeliveryFacts,
    PollingStrategy,
    count_waits,
    job_not_found,
    safety_delay,
)

JOB = JobDetails(job_id="j1", status="rotating")


def looks(strategy, start=0.0):
    """Return the times of all polls, by a clock that starts at `start`, and the error that ended them."""
    now, times = start, []
    while True:
        times.append(now - start)
        try:
            now += strategy(len(times) - 1, now - start, JOB)
        except JobTimeoutError as error:
            return times, error


def test_interval_doubles_up_to_the_maximum():
    strategy = PollingStrategy(jitter=False)
    assert [strategy.interval(n) for n in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_jitter_stays_under_the_maximum():
    strategy = PollingStrategy()
    assert strategy.interval(99, lambda: 0.0) == 30
    assert strategy.interval(99, lambda: 0.5) == 22.5


def test_last_poll_is_exactly_at_the_deadline():
    times, error = looks(PollingStrategy(jitter=False, max_wait=10))
    assert times == [0, 1, 3, 7, 10]
    assert (error.job_id, error.last_status, error.elapsed, error.attempts) == ("j1", "rotating", 10, 5)


def test_max_attempts_counts_looks():
    times, error = looks(PollingStrategy(jitter=False, max_wait=None, max_attempts=3))
    assert times == [0, 1, 3]
    assert error.attempts == 3


def test_without_a_budget_it_goes_on():
    assert PollingStrategy(jitter=False, max_wait=None)(10**9, 1e9, JOB) == 30


@given(
    st.floats(0.1, 5),
    st.floats(0, 100),
    st.floats(1, 3),
    st.booleans(),
    st.floats(1, 60),
    st.floats(0, 1e9),
)
def test_always_ends_at_the_deadline(initial, more, multiplier, jitter, max_wait, start):
    strategy = PollingStrategy(
        initial_interval=initial,
        max_interval=initial + more,
        multiplier=multiplier,
        jitter=jitter,
        max_wait=max_wait,
    )
    times, _ = looks(strategy, start)
    assert times[-1] == pytest.approx(max_wait, abs=0.002)


@pytest.mark.parametrize(
    "wrong",
    [
        {"initial_interval": 0.05},
        {"max_interval": 0.05, "initial_interval": 0.1},
        {"initial_interval": 5, "max_interval": 4},
        {"multiplier": 0.9},
        {"multiplier": float("inf")},
        {"max_wait": 0},
        {"max_wait": float("nan")},
        {"max_attempts": 0},
        {"max_wiat": 3},
    ],
)
def test_refuses(wrong):
    with pytest.raises(ValidationError):
        PollingStrategy(**wrong)


def test_is_frozen():
    with pytest.raises(ValidationError):
        PollingStrategy().max_wait = 3


@pytest.mark.parametrize(
    ("age", "count", "meaning"),
    [
        (0, 99, "poll_again"),
        (NOT_FOUND_GRACE - 0.1, 99, "poll_again"),
        (NOT_FOUND_GRACE, 2, "poll_again"),
        (NOT_FOUND_GRACE, 3, "lost"),
        (float("inf"), 3, "lost"),
    ],
)
def test_job_not_found(age, count, meaning):
    assert job_not_found(age, count) == meaning


@pytest.mark.parametrize(
    ("longest", "times"),
    [
        (300, [60, 180, 420, 720, 1020]),
        (60, [60, 120, 180, 240, 300]),
        (5, [5, 10, 15, 20, 25]),
        (90, [60, 150, 240, 330, 420]),
    ],
)
def test_safety_polls_come_ever_later_up_to_the_limit(longest, times):
    waits = [safety_delay(polls, longest) for polls in range(5)]
    assert [sum(waits[: n + 1]) for n in range(5)] == times


@given(st.integers(0, 10**6), st.floats(1, 1e6))
def test_no_safety_poll_comes_later_than_the_limit(polls, longest):
    assert 0 < safety_delay(polls, longest) <= longest


@pytest.mark.parametrize(
    ("facts", "must_poll", "polls_soon"),
    [
        (DeliveryFacts(is_hinted=True), False, False),
        (DeliveryFacts(is_hinted=False), True, False),
        (DeliveryFacts(is_hinted=True, wants_job=True), True, False),
        (DeliveryFacts(is_hinted=True, has_all=True), True, True),
        (DeliveryFacts(is_hinted=True, is_waiting=True), False, True),
    ],
)
def test_job_is_polled_only_for_a_reason(facts, must_poll, polls_soon):
    assert (facts.must_poll, facts.polls_soon) == (must_poll, polls_soon)


@pytest.mark.parametrize(
    ("facts", "before", "after"),
    [
        (DeliveryFacts(is_hinted=False), (0, 0), (0, 1)),
        (DeliveryFacts(is_hinted=False), (0, 3), (0, 4)),
        (DeliveryFacts(is_hinted=True), (0, 0), (0, 0)),
        (DeliveryFacts(is_hinted=False), (2, 0), (0, 0)),
        (DeliveryFacts(is_hinted=False, is_waiting=True), (2, 1), (3, 1)),
        (DeliveryFacts(is_hinted=True, has_all=True), (0, 0), (1, 0)),
    ],
)
def test_ordinary_intervals_are_no_safety_polls(facts, before, after):
    assert count_waits(facts, *before) == after


@given(st.lists(st.builds(DeliveryFacts, st.booleans(), st.booleans(), st.booleans(), st.booleans()), max_size=40))
def test_each_step_plans_another_one_in_time(steps):
    """Let a part wait no longer than the limit, in any order of deliveries, and poll its job in each planned step."""
    polls = safety_polls = 0
    for facts in steps:
        assert facts.must_poll or facts.is_hinted
        polls, safety_polls = count_waits(facts, polls, safety_polls)
        assert (polls > 0) is facts.polls_soon
        assert safety_delay(safety_polls, 300) <= 300
