"""Test fields of answers that take their default: a worker counts each, and logs each name once."""

from __future__ import annotations

import logging
from types import SimpleNamespace

from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.counters import Counters


def test_a_default_is_counted_each_time_and_logged_once(caplog):
    caplog.set_level(logging.WARNING)
    context = SimpleNamespace(
        rate_limiter=SimpleNamespace(counters=Counters()),
        settings=SimpleNamespace(api_url="https://q.example"),
        _defaulted=set(),
    )
    for field in ["canceled", "canceled", "start_time"]:
        WorkerContext.default_taken(context, "JobDetails", field)
    assert context.rate_limiter.counters.drain() == {
        "defaults:JobDetails.canceled": 2,
        "defaults:JobDetails.start_time": 1,
    }
    assert [record.args[1:] for record in caplog.records] == [("JobDetails", "canceled"), ("JobDetails", "start_time")]
