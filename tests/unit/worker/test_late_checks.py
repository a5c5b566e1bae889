"""Test the check of a store that was away when its worker started."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery import Celery
from celery.worker import state
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs import AppContext
from scrape_do_celery.worker import lifecycle
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
    check = LateStoreCheck(context, consumer, lambda _: "this server is no store")
    assert not any(check.has_passed() for _ in range(3))
    assert (state.should_stop, consumer.added) == (None, [])
    assert caplog.text.count("this worker does not consume the queue of scrapes") == 1


def test_queue_is_consumed_again_after_the_broker_was_away(step_harness):
    """Celery makes a consumer of the selected queues whenever it connects to the broker."""
    context, queue = step_harness.app_context, step_harness.settings.queue
    queues = context.app.amqp.queues
    if queue not in queues:
        queues.add(queue)
    queues.deselect(queue)
    assert queue not in queues.consume_from
    assert LateStoreCheck(context, make_consumer(), lambda _: None).has_passed()
    assert queue in queues.consume_from


@pytest.fixture
def start_without_store(clean_environment, monkeypatch):
    """Return a function that starts a worker of a user's app while the store is away, and returns the app."""

    def find_fault(_):
        raise RedisConnectionError("away")

    monkeypatch.setenv("SCRAPE_DO_API_KEY", "t" * 32)
    monkeypatch.setattr(lifecycle, "find_store_fault", find_fault)

    def start(*chosen):
        app = Celery("user", broker="memory://")
        app.amqp.queues.select(chosen)
        lifecycle.start(app)
        return app

    return start


def test_no_queue_of_scrapes_is_consumed_before_the_store_is_checked(start_without_store):
    app = start_without_store()
    assert list(app.amqp.queues.consume_from) == ["celery"]
    assert lifecycle._unchecked[app]


@pytest.mark.parametrize(("chosen", "consumes"), [(["celery"], False), (["celery", "scrape_do"], True)])
def test_late_check_consumes_only_queues_that_the_user_chose(start_without_store, step_harness, chosen, consumes):
    app, consumer = start_without_store(*chosen), make_consumer()
    assert list(app.amqp.queues.consume_from) == ["celery"]
    assert lifecycle._unchecked[app] is consumes
    check = LateStoreCheck(AppContext.for_app(app), consumer, lambda _: None, consumes=lifecycle._unchecked[app])
    assert check.has_passed()
    assert consumer.added == (["scrape_do"] if consumes else [])
