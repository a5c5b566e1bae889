"""Test the filters of the job list: times in any form, and words that the API knows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrape_do.async_api.models import JobListQueryParameters

from scrape_do_celery import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient
from scrape_do_celery.client import endpoints
from scrape_do_celery.client.job_filters import StatusWord
from scrape_do_celery.models import JobStatus

EAST = timezone(timedelta(hours=2))


def sent(**filters):
    return endpoints.list_jobs(filters).params


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 22, 9, 14, 3),  # noqa: DTZ001 (a naive time is under test)
        datetime(2026, 11, 22, 9, 14, 3, 999_999, UTC),
        datetime(2026, 11, 22, 11, 14, 3, tzinfo=EAST),
        "2026-11-22T09:14:03Z",
        "2026-11-22T09:14:03",
        "2026-11-22 11:14:03.5+02:00",
        " 20261122T091403Z ",
    ],
)
def test_times_are_sent_in_utc(value):
    assert sent(start_from=value, start_to=value) == dict.fromkeys(("start_from", "start_to"), "2026-11-22T09:14:03Z")


def test_a_date_is_its_first_second():
    assert sent(start_from="2026-11-22") == {"start_from": "2026-11-22T00:00:00Z"}


@given(st.datetimes(datetime(1000, 1, 2), timezones=st.none() | st.timezones()))  # noqa: DTZ001
def test_times_are_those_of_the_peer(value):
    theirs = JobListQueryParameters(start_from=value).to_query_dict()["start_from"]
    assert sent(start_from=value)["start_from"] == theirs
    assert sent(start_from=value.isoformat())["start_from"] == theirs


@pytest.mark.parametrize(
    ("filters", "fault"),
    [
        ({"start_from": "yesterday"}, "start_from is no ISO 8601 time, such as 2026-11-22T09:14:03Z"),
        ({"start_to": 1795338843}, "start_to must be a datetime or an ISO 8601 text, not int"),
        ({"start_to": date(2026, 11, 22)}, "not date"),
        ({"start_to": datetime.max.replace(tzinfo=timezone(-timedelta(hours=1)))}, "outside the years 1 to 9999"),
        ({"status": "cancelled"}, "status must be one of .*; did you mean canceled"),
        ({"status": "Success"}, "did you mean success"),
        ({"status": "running"}, "did you mean pending"),
        ({"status": "zzz"}, "status must be one of queuing, queued, pending, rotating, success, error, canceled$"),
        ({"status": 5}, "status must be one of"),
        ({"sort": "start_time"}, "sort must be one of start_time_desc, start_time_asc; did you mean start_time_"),
        ({"sort": "up"}, "sort must be one of start_time_desc, start_time_asc$"),
        ({"sort": True}, "sort must be one of"),
        ({"page": 0}, "page must be a whole number from 1$"),
        ({"page_size": 101}, "page_size must be a whole number from 1 to 100"),
    ],
)
def test_wrong_values_are_refused(filters, fault):
    with pytest.raises(ValueError, match=fault):
        endpoints.list_jobs(filters)


@pytest.mark.parametrize("status", [*JobStatus, *map(str, JobStatus)])
def test_statuses_of_the_api_are_taken(status):
    assert sent(status=status) == {"status": str(status)}


def test_the_words_are_those_of_the_states():
    assert get_args(StatusWord) == tuple(JobStatus)


@pytest.mark.parametrize("cls", [ScrapeDoAsyncAPIClient, AsyncScrapeDoAsyncAPIClient])
def test_both_clients_refuse_unknown_filters(cls):
    def call(**filters):
        found = cls("token", base_url="http://127.0.0.1:9").list_jobs(**filters)
        if cls is AsyncScrapeDoAsyncAPIClient:
            found.send(None)

    with pytest.raises(TypeError, match="unknown filter of the job list: 'statos'; did you mean status"):
        call(statos="queued")
    with pytest.raises(ValueError, match="did you mean queued"):
        call(status="queue")
