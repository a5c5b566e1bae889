"""Test the list of runs, as applications call it."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from scrape_do_celery import RunState, alist_runs, list_runs, runs
from scrape_do_celery.store.commands.runs import RecordOutcome

URLS = ["https://shop.example/1", "https://shop.example/2"]


def ids_of(page):
    return [status.run_id for status in page.runs]


def test_page_has_the_statuses_of_its_runs(start_run):
    first = start_run(URLS, label="prices", tags=["shop:7"])
    second = start_run(URLS[:1])
    page = list_runs()
    assert (ids_of(page), page.cursor) == ([second.run_id, first.run_id], None)
    assert page.runs[1] == replace(first.status, waiting_for=None)
    assert runs.list is list_runs


def test_statuses_of_ended_runs_have_their_errors_and_times(start_run, step_harness):
    handle = start_run(URLS, label="prices")
    step_harness.finish_part(handle.run_id, outcome="failed")
    step_harness.run(RecordOutcome(handle.run_id, "failed", {}))
    [status] = list_runs(state=RunState.FAILED, label="prices").runs
    assert status == handle.status
    assert status.ended is not None


def test_runs_of_a_newer_version_are_named_and_hide_no_other_run(start_run, step_harness):
    newer, readable = start_run(URLS), start_run(URLS)
    step_harness.redis.hset(step_harness.keys.run(newer.run_id), "v", 2)
    page = list_runs()
    assert (ids_of(page), page.newer) == ([readable.run_id], (newer.run_id,))


def test_cursor_leads_through_all_pages(start_run):
    started = [start_run([f"https://shop.example/{n}"]).run_id for n in range(5)]
    found, cursor = [], None
    while not found or cursor:
        page = list_runs(limit=2, cursor=cursor)
        assert len(page.runs) <= 2
        found, cursor = found + ids_of(page), page.cursor
    assert found == started[::-1]


def test_times_are_those_of_the_statuses(start_run):
    handle = start_run(URLS)
    created = handle.status.created
    assert ids_of(list_runs(since=created)) == [handle.run_id]
    assert ids_of(list_runs(until=created)) == []
    assert ids_of(list_runs(since=created.astimezone(), until=created + timedelta(seconds=1))) == [handle.run_id]


@pytest.mark.parametrize("state", [None, "live", "ended", *RunState, "queued"])
def test_each_state_is_a_filter(start_run, state):
    handle = start_run(URLS)
    assert ids_of(list_runs(state=state)) == ([handle.run_id] if state in {None, "live", "queued"} else [])


@pytest.mark.parametrize(
    ("filters", "named"),
    [
        ({"state": "endedd"}, "state must be one of .*did you mean ended"),
        ({"state": 7}, "state must be one of"),
        ({"tag": "a b"}, "a tag must have"),
        ({"label": " x"}, "label must have"),
        ({"limit": 0}, "limit must be a whole number from 1 to 1,000"),
        ({"limit": 1001}, "limit must"),
        ({"limit": True}, "limit must"),
        ({"since": datetime.now(UTC).replace(tzinfo=None)}, "since must be a datetime with a time zone"),
        ({"until": 5.0}, "until must be a datetime with a time zone"),
        ({"cursor": 5}, "cursor must be a text"),
        *(
            ({"cursor": base64.urlsafe_b64encode(text).decode()}, "cursor must be the cursor of a page")
            for text in (b"", b"x r", b"1.5", b"nan r", b"\xff")
        ),
        ({"cursor": "?"}, "cursor must be the cursor of a page"),
        ({"cursor": "\u00fc"}, "cursor must be the cursor of a page"),
    ],
)
def test_wrong_filter_is_named(start_run, filters, named):
    with pytest.raises(ValueError, match=named):
        list_runs(**filters)


def test_async_form_gives_the_same_page(start_run):
    start_run(URLS, label="a", tags=["x"])
    start_run(URLS)
    filters = {"state": "live", "label": "a", "tag": "x", "since": datetime(2000, 1, 1, tzinfo=UTC), "limit": 1}
    page = asyncio.run(alist_runs(**filters))
    assert page == list_runs(**filters)
    assert len(page.runs) == 1
