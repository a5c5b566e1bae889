"""Test that the lab detects each earlier fault of the product, put back by a patch."""

from __future__ import annotations

import aiohttp
import pytest

from scrape_do_celery.client import endpoints
from scrape_do_celery.errors import AsyncAPIResponseError
from scrape_do_celery.models import JobStatus, fields, wire
from scrape_do_celery.steps import fetch_task as fetching


def _strict_words(monkeypatch):
    """Compare a status literally. An unknown status counts as running until its task is given up."""
    known = {str(word): word for word in JobStatus}
    monkeypatch.setattr(fields, "read_status", lambda word: known.get(word, word))
    monkeypatch.setattr(fetching, "settle_task", lambda task, **_: task if task.is_terminal else None)
    monkeypatch.setattr(
        fetching, "give_up_task", lambda task, _: task.model_copy(update={"status": "error", "gone": True})
    )


def _strict_fields(monkeypatch):
    monkeypatch.setattr(wire, "read_tolerantly", lambda _, data, read: read(data))


def _everybodys_word(monkeypatch):
    monkeypatch.setattr(AsyncAPIResponseError, "is_api_error", property(lambda _: True))


def _any_status(monkeypatch):
    monkeypatch.setattr(endpoints, "_has_own_field", lambda *_: True)


def _short_headers(monkeypatch):
    plain = aiohttp.ClientSession.__init__

    def made(self, *args, **options):
        for name in ("max_line_size", "max_field_size"):
            options.pop(name, None)
        plain(self, *args, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", made)


FAULTS = {
    "status words are compared with their case": (
        _strict_words,
        ["plain/task/Status/upper case/ever", "plain/task/Status/title case/ever"],
    ),
    "a gateway's 4xx is taken for the API's word": (
        _everybodys_word,
        ["plain/create/HTTP status/451 html/window", "plain/create/HTTP status, not sold/405 gateway/once"],
    ),
    "a gateway's `Status` is taken for that of a job": (
        _any_status,
        ["plain/job/HTTP status/200 gateway's status/window", "plain/task/HTTP status/200 gateway's status/once"],
    ),
    "header lines over 8 kB are refused": (
        _short_headers,
        ["plain/task/HTTP frame/header of 9 kB/ever", "plain/job/HTTP frame/header of 60 kB/ever"],
    ),
    "a field that may be missing makes an answer unreadable": (
        _strict_fields,
        ["plain/job/EndTime/RFC 1123/ever", "plain/task/StatusCode/with a unit/ever"],
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_is_put_back_turns_the_lab_red(run_mutation, monkeypatch, fault):
    put_back, names = FAULTS[fault]
    assert [name for name in names if run_mutation(name).violations] == []
    put_back(monkeypatch)
    assert [name for name in names if run_mutation(name).violations]
