"""The lab can see: each fault of old, put back into the product, turns the lab red."""

from __future__ import annotations

import json

import aiohttp
import pytest

from scrape_do_celery.errors import AsyncAPIResponseError
from scrape_do_celery.models.base import WireModel


def _as_it_came(monkeypatch, wire, field, models):
    """Lets models keep a field as the answer has it."""
    plain = WireModel.from_json.__func__

    def from_json(cls, raw):
        made = plain(cls, raw)
        held = json.loads(raw)
        return made.model_copy(update={field: held[wire]}) if cls.__name__ in models and wire in held else made

    monkeypatch.setattr(WireModel, "from_json", classmethod(from_json))


def _strict_words(monkeypatch):
    _as_it_came(monkeypatch, "Status", "status", {"TaskDetails", "JobDetails"})


def _everybodys_word(monkeypatch):
    monkeypatch.setattr(AsyncAPIResponseError, "is_api_error", property(lambda _: True))


def _short_headers(monkeypatch):
    plain = aiohttp.ClientSession.__init__

    def made(self, *args, **options):
        for name in ("max_line_size", "max_field_size"):
            options.pop(name, None)
        plain(self, *args, **options)

    monkeypatch.setattr(aiohttp.ClientSession, "__init__", made)


def _ids_twice(monkeypatch):
    _as_it_came(monkeypatch, "TaskIDs", "task_ids", {"JobCreationResponse", "JobDetails"})


FAULTS = {
    "status words are compared with their case": (
        _strict_words,
        ["plain/task/Status/upper case/ever", "plain/job/Status/title case/ever"],
    ),
    "a gateway's 4xx is taken for the API's word": (
        _everybodys_word,
        ["plain/task/HTTP status/410 html/window", "plain/create/HTTP status/451 html/window"],
    ),
    "header lines over 8 kB are refused": (
        _short_headers,
        ["plain/task/HTTP frame/header of 9 kB/ever", "plain/job/HTTP frame/header of 60 kB/ever"],
    ),
    "task ids that come twice are kept": (_ids_twice, ["plain/job/TaskIDs/each twice/ever"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_is_put_back_turns_the_lab_red(played, monkeypatch, fault):
    put_back, names = FAULTS[fault]
    assert [name for name in names if played(name).violations] == []
    put_back(monkeypatch)
    assert [name for name in names if played(name).violations]
