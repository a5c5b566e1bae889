"""Test reading pages of a job list with a wrong page count, repeated jobs, or entries without an id."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.errors import AsyncAPIResponseError
from scrape_do_celery.models import JobDetails, JobsListResponse
from scrape_do_celery.rules import listing
from scrape_do_celery.rules.listing import MAX_ZONE_OFFSET, PageWalk, has_no_page, has_unstarted, shift_for_zone

DAY = 86_400
NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)


def job(name, age=None):
    start = None if age is None else NOW - timedelta(seconds=age)
    return JobDetails(job_id=f"j{name}", status="pending", start_time=start)


def page(*names, pages=0, size=0, unreadable=0, total=0):
    jobs = [*(job(name).to_wire() for name in names), *[{"Status": "pending"}] * unreadable]
    return JobsListResponse.model_validate(
        {"Jobs": jobs, "TotalPages": pages, "PageSize": size, "TotalCount": total},
    )


def walk(*answers):
    walked = PageWalk()
    found = [[one.job_id for one in walked.add(answer)] for answer in answers]
    return walked, found


@given(st.integers(0, 450), st.sampled_from([0, 1, -3, 7, 2**70]))
def test_every_job_is_met_whatever_the_totals_say(count, pages):
    walked, seen = PageWalk(), []
    while walked.has_more:
        start = walked.page * 100
        seen += walked.add(page(*range(start, min(start + 100, count)), pages=pages))
    assert len(seen) == count
    assert walked.page <= count // 100 + 2


@pytest.mark.parametrize(
    ("answer", "more"),
    [
        (page(1, pages=2), True),
        (page(1, pages=1), False),
        (page(1, size=1), True),
        (page(1, size=10), False),
        (page(pages=9), False),
        (page(unreadable=1, pages=9), True),
        (page(*range(100)), True),
        (page(*range(100), pages=1), True),
        (page(*range(20), total=31), True),
        (page(*range(20), total=20), False),
        (page(*range(10), total=61, size=100, pages=1), True),
        (page(total=1), False),
    ],
)
def test_a_full_page_or_a_promise_asks_for_another(answer, more):
    assert walk(answer)[0].has_more is more


def test_a_server_that_repeats_its_last_page_ends_the_walk():
    again = page(*range(100), pages=50)
    walked, found = walk(again, again, again)
    assert not walked.has_more
    assert [len(fresh) for fresh in found] == [100, 0, 0]


def test_one_page_without_news_does_not_end_the_walk():
    walked, _ = walk(page(*range(100)), page(*range(100)))
    assert walked.has_more


def test_letter_case_makes_no_new_job():
    _, found = walk(page("a"), JobsListResponse(jobs=[JobDetails(job_id="JA", status="pending")]))
    assert found == [["ja"], []]


def test_a_server_that_makes_jobs_up_ends_the_walk(monkeypatch):
    monkeypatch.setattr(listing, "_MAX_PAGES", 3)
    walked = PageWalk()
    while walked.has_more:
        walked.add(page(*range(walked.page * 100, walked.page * 100 + 100)))
    assert walked.page == 3


@pytest.mark.parametrize(("size", "told"), [(20, 0), (10, 100), (100, 0), (3, 2**70)])
@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 20, 31, 99, 100, 101, 250])
def test_list_is_complete_once_all_counted_jobs_were_read(size, told, count):
    walked, seen = PageWalk(), []
    while walked.has_more:
        start = walked.page * size
        names = range(start, min(start + size, count))
        seen += walked.add(page(*names, total=count, size=told, pages=1 if told else 0))
        assert walked.complete is (walked.has_more or len(seen) == count)
    assert (len(seen), walked.complete) == (count, True)


@pytest.mark.parametrize(
    "answers",
    [
        [page(total=1)],
        [page(*range(100), total=101)] * 3,
        [page(*range(20), total=31), page(*range(20, 30), total=31), page(total=31)],
        [page(*range(20), total=31), page(*range(20, 30)), page()],
    ],
)
def test_list_with_fewer_jobs_than_counted_is_incomplete(answers):
    walked, _ = walk(*answers)
    assert (walked.has_more, walked.complete) == (False, False)


@pytest.mark.parametrize(
    "answers",
    [
        # Jobs end and begin between two pages.
        [page(*range(100), total=101), page(100, total=100)],
        [page(*range(100), total=101), page(100, "new", total=102)],
        [page(*range(100), total=101), page(total=100)],
    ],
)
def test_the_newest_count_holds(answers):
    walked, _ = walk(*answers)
    assert (walked.has_more, walked.complete) == (False, True)


def test_job_moved_to_an_earlier_page_is_read_again():
    walked, _ = walk(page(*range(100), total=101), page(100, total=102))
    assert (walked.has_more, walked.complete) == (True, True)
    walked.add_again(page("new", *range(99), total=102))
    assert (walked.has_more, walked.complete) == (False, True)
    walked.add_again(page(unreadable=1))
    assert not walked.complete


def test_an_entry_without_an_id_may_be_any_job():
    assert not walk(page(1, unreadable=1))[0].complete
    assert walk(page(1))[0].complete


def of_ages(*ages, start=0):
    return JobsListResponse(jobs=[job(n, age) for n, age in enumerate(ages, start)])


@pytest.mark.parametrize(
    ("ages", "past"),
    [
        ([], False),
        ([None], False),
        ([10, 20], False),
        ([70, 80], True),
        ([70, None, 70, 80], True),
        ([50, 80], False),
        ([80, 70], False),
        # Jobs of one moment, and a single job, show no order.
        ([70, 70], False),
        ([70], False),
    ],
)
def test_only_falling_times_say_something_about_the_pages_behind(ages, past):
    answer = of_ages(*ages)
    assert walk(answer)[0].is_past(NOW - timedelta(seconds=60)) is past
    assert has_unstarted(answer) is (None in ages)


@pytest.mark.parametrize(
    ("pages", "past"),
    [
        ([[10, 20], [70, 70]], True),
        ([[10], [70]], True),
        ([[70, 70], [80, 80]], True),
        ([[80, 70], [60, 70], [70, 70]], False),
        ([[90, 80, 85], [70, 70]], False),
        ([[70, 70], [70]], False),
    ],
)
def test_times_must_have_fallen_more_often_than_risen(pages, past):
    answers = [of_ages(*ages, start=10 * n) for n, ages in enumerate(pages)]
    assert walk(*answers)[0].is_past(NOW - timedelta(seconds=60)) is past


def test_job_moved_to_the_next_page_is_no_rise():
    walked, _ = walk(of_ages(10, 80), of_ages(10, 80), of_ages(90, start=2))
    assert walked.is_past(NOW - timedelta(seconds=60))


@pytest.mark.parametrize(
    ("answer", "last"),
    [
        (page(*range(100), pages=3), 3),
        (page(*range(100), pages=3, total=200), 2),
        (page(*range(10), pages=1, total=61), 7),
        (page(*range(100)), 0),
        (page(pages=2, total=5), 5),
    ],
)
def test_last_page_follows_from_the_job_count_first(answer, last):
    assert walk(answer)[0].last_page == last


@pytest.mark.parametrize(
    ("newest", "shift"),
    [(None, 0), (-3600, 0), (0, 0), (30, 30), (5 * 3600, 5 * 3600), (10 * DAY, MAX_ZONE_OFFSET)],
)
def test_list_in_local_time_is_read_as_far_back(newest, shift):
    moment = NOW - timedelta(hours=1)
    walked, _ = walk(of_ages(*([] if newest is None else [newest, newest + 5])))
    assert shift_for_zone(moment, walked.newest, NOW.timestamp()) == moment - timedelta(seconds=shift)


@pytest.mark.parametrize(
    ("status", "page_number", "by_status", "expected"),
    [
        (400, 1, True, True),
        (422, 1, True, True),
        (400, 1, False, False),
        (404, 1, True, False),
        (401, 1, True, False),
        (429, 1, True, False),
        (500, 1, True, False),
        (400, 2, False, True),
        (404, 2, False, True),
        (422, 2, True, True),
        (403, 2, True, False),
        (503, 2, True, False),
    ],
)
def test_only_an_api_error_means_no_such_page(status, page_number, by_status, expected):
    def error(*body):
        return AsyncAPIResponseError.for_status(status)("no", status, *body)

    assert has_no_page(error("invalid status", status), page_number, by_status=by_status) is expected
    assert not has_no_page(error(), page_number, by_status=by_status)
