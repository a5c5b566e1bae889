from __future__ import annotations

import json
import random
from dataclasses import replace

import pytest

from scrape_do_sandbox.listing import read_query
from scrape_do_sandbox.options import SandboxOptions
from scrape_do_sandbox.spec import ApiError, read_spec
from scrape_do_sandbox.state import Account
from scrape_do_sandbox.timers import SandboxClock, format_time

START = 1_795_000_000.0


@pytest.fixture
def clock():
    return SandboxClock(lambda: START)


@pytest.fixture
def account(clock):
    return Account(SandboxOptions(task_seconds=10.0, spread=0.0), clock)


@pytest.fixture
def jobs(account, clock):
    """Make a job per second. In the end the first has ended, the second runs, and the last three wait."""
    made = []
    for number in range(5):
        made.append(account.create_job(read_spec(json.dumps({"Targets": [f"https://a.example/{number}"]}).encode())))
        clock.advance(6 if number == 0 else 4 if number == 1 else 0.1)
    return made


def ids(account, query, **faults):
    return [job.id for job in account.listing.find_page(replace(read_query(query), **faults)).jobs]


def named(jobs, *places):
    return [jobs[place].id for place in places]


def test_newest_first_and_ten_a_page(account, jobs):
    assert ids(account, "") == named(jobs, 4, 3, 2, 1, 0)
    assert ids(account, "sort=start_time_asc&page_size=2&page=2") == named(jobs, 2, 3)
    assert ids(account, "page=9") == []


def test_totals(account, jobs):
    found = account.listing.find_page(read_query("page_size=2&page=3"))
    assert found.count_totals() == {"TotalCount": 5, "PageSize": 2, "PageNumber": 3, "TotalPages": 3}


def test_by_status(account, jobs):
    assert ids(account, "status=success") == named(jobs, 0)
    assert ids(account, "status=pending") == named(jobs, 1)
    assert ids(account, "status=queuing") == named(jobs, 4, 3, 2)


def test_by_start(account, jobs):
    border = format_time(jobs[1].started_at)
    assert ids(account, f"start_from={border}") == named(jobs, 4, 3, 2, 1)
    assert ids(account, f"start_to={border}") == named(jobs, 1, 0)


def test_with_null_starts_what_waits_is_sorted_last(account, jobs):
    assert ids(account, "", null_start=True) == named(jobs, 1, 0, 4, 3, 2)
    assert ids(account, f"start_from={format_time(START)}", null_start=True) == named(jobs, 1, 0)


def test_a_lagging_listing_misses_what_is_new(account, jobs):
    assert ids(account, "", lag=1.0) == named(jobs, 1, 0)


def test_new_job_is_listed_at_once_and_views_are_cached(account, clock, jobs):
    assert ids(account, "status=pending") == named(jobs, 1)
    clock.advance(0.01)
    assert ids(account, "status=pending") == named(jobs, 1)
    clock.advance(5)
    assert ids(account, "status=pending") == named(jobs, 4, 3, 2, 1)
    account.create_job(read_spec(b'{"Targets": ["https://a.example/new"]}'))
    assert len(ids(account, "")) == 6


def test_no_job_is_missed_between_the_lists_of_two_statuses(account, clock):
    """Read the two lists at random moments while a job is queued after a second, for many jobs."""
    rng = random.Random(1)
    for _ in range(100):
        job = account.create_job(read_spec(b'{"Targets": ["https://a.example/"]}'))
        clock.advance(0.97)
        while clock.now() < job.queued_at + 0.03:
            listed = []
            for status in ("queuing", "queued"):
                listed += ids(account, f"status={status}")
                clock.advance(rng.uniform(0, 0.01))
            assert job.id in listed


def test_views_do_not_pile_up(account, jobs):
    for number in range(300):
        ids(account, f"start_from={format_time(START - number)}")
    assert len(account.listing._views) <= 100


def test_a_skewed_clock_shifts_the_borders():
    query = read_query(f"start_from={format_time(START)}").shift_times(60)
    assert query.start_from == START - 60


@pytest.mark.parametrize(
    "query",
    ["status=running", "sort=newest", "page=0", "page=x", "page_size=101", "start_from=yesterday", "start_to=1x"],
)
def test_a_bad_query_is_refused(query):
    with pytest.raises(ApiError) as caught:
        read_query(query)
    assert caught.value.status == 400
    assert query.partition("=")[0] in caught.value.text
