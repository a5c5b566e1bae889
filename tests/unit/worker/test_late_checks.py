"""Test the check of a store that was away when its worker started."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery
from celery.worker import state

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.worker.dispatcher import Dispatcher
from scrape_do_celery.worker.late_checks import LateStoreCheck


def make_consumer():
    added = []
    return SimpleNamespace(call_soon=lambda call, *args: call(*args), add_task_queue=added.append, added=added)


def refuse(_):
    raise ConfigurationError("this server is no store")


def test_store_that_passes_is_checked_once(step_harness):
    consumer, faults = make_consumer(), iter([None])
    check = LateStoreCheck(step_harness.app_context, consumer, lambda _: next(faults))
    Dispatcher(step_harness.app_context, late_check=check).dispatch_due()
    assert consumer.added == [step_harness.settings.queue]


@pytest.mark.parametrize("find_fault", [lambda _: "this server is no store", refuse])
def test_own_worker_ends_by_a_fault(step_harness, monkeypatch, caplog, find_fault):
    monkeypatch.setattr(state, "should_stop", None)
    consumer = make_consumer()
    dispatcher = Dispatcher(
        step_harness.app_context, late_check=LateStoreCheck(step_harness.app_context, consumer, find_fault)
    )
    for _ in range(3):
        assert dispatcher.dispatch_due() == dispatcher.interval
    assert (state.should_stop, consumer.added) == (1, [])
    assert caplog.text.count("this server is no store; this worker ends") == 1


def test_foreign_worker_leaves_the_queue_alone(step_harness, monkeypatch, caplog):
    monkeypatch.setattr(state, "should_stop", None)
    consumer, context = make_consumer(), SimpleNamespace(app=Celery("user"), settings=step_harness.settings)
    assert not LateStoreCheck(context, consumer, lambda _: "this server is no store").has_passed()
    assert (state.should_stop, consumer.added) == (None, [])
    assert "this worker does not consume the queue of scrapes" in caplog.text
