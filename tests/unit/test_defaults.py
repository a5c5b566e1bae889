"""Test fields of answers that take their default: a worker counts each, and logs each name once."""

from __future__ import annotations

import logging

from scrape_do_celery.steps.counters import Counters
from scrape_do_celery.steps.once import DefaultedFields, OnceFilter


def test_a_default_is_counted_each_time_and_logged_once(caplog):
    caplog.set_level(logging.WARNING)
    counters = Counters()
    defaulted_fields = DefaultedFields(counters, OnceFilter(), "https://q.example")
    for field in ["canceled", "canceled", "start_time"]:
        defaulted_fields.note_default("JobDetails", field)
    assert counters.drain() == {
        "defaults:JobDetails.canceled": 2,
        "defaults:JobDetails.start_time": 1,
    }
    assert [record.args[1:] for record in caplog.records] == [("JobDetails", "canceled"), ("JobDetails", "start_time")]
