"""Test a worker's warnings, its start and stop, and the app that it loads."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest
from celery import Celery, _state, signals
from redis.exceptions import ConnectionError as RedisConnectionError

from scrape_do_celery import worker
from scrape_do_celery.runs import AppContext, make_app
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.worker import lifecycle


def foreign(**conf):
    app = Celery("shop", set_as_current=False, broker="redis://localhost/1", backend="redis://localhost/2")
    app.conf.update(**conf)
    return app


CHECK = lifecycle.refuse_unfit_server


@pytest.fixture
def connected(monkeypatch):
    """Return the signals' receivers instead of connecting them."""
    found = {}
    for name in ("worker_ready", "worker_shutting_down", "worker_process_shutdown", "worker_shutdown"):
        signal = SimpleNamespace(connect=lambda receiver, weak, name=name: found.update({name: receiver}))
        monkeypatch.setattr(signals, name, signal)
    monkeypatch.setattr(lifecycle, "refuse_unfit_server", lambda self: None)
    monkeypatch.setattr(lifecycle, "_running", [])
    return found


def test_a_worker_starts_with_our_queue_and_its_dispatcher(step_harness, connected, caplog):
    lifecycle.start(step_harness.app)
    assert step_harness.settings.queue in step_harness.app.amqp.queues
    assert len(connected) == 4
    sender = SimpleNamespace(app=step_harness.app)
    connected["worker_ready"](sender=sender)
    dispatcher, _ = lifecycle.running_threads()
    assert dispatcher.is_alive()
    connected["worker_shutting_down"]()
    assert not dispatcher.is_alive()
    assert lifecycle.running_threads() is None
    WorkerContext.for_app(step_harness.app)
    connected["worker_shutdown"]()
    assert step_harness.api.calls == [("aclose",)] * 2
    connected["worker_process_shutdown"]()


def test_second_signal_makes_the_end_of_the_newest_worker_urgent(step_harness, connected):
    lifecycle.start(step_harness.app)
    told = []
    for _ in range(2):
        connected["worker_ready"](sender=SimpleNamespace(app=step_harness.app))
        for _ in range(2):
            connected["worker_shutting_down"]()
            told.append(lifecycle._ending.is_hurried())
    assert told == [False, True, False, True]


def test_worker_with_chosen_queues_has_ours_only_if_chosen(step_harness, connected):
    step_harness.app.amqp.queues.select(["mail"])
    lifecycle.start(step_harness.app)
    assert list(step_harness.app.amqp.queues.consume_from) == ["mail"]
    assert len(connected) == 4


def test_own_worker_without_a_token_exits_with_one_line(step_harness, connected, settings):
    app = make_app(settings.model_copy(update={"api_key": None}))
    with pytest.raises(SystemExit, match=r"^scrape-do-celery: SCRAPE_DO_API_KEY is not set") as caught:
        lifecycle.start(app)
    assert caught.value.__cause__ is None
    assert connected == {}


def test_a_worker_whose_threads_eventlet_replaced_is_refused(step_harness, connected, monkeypatch):
    patcher = SimpleNamespace(is_monkey_patched=lambda module: module == "thread")
    monkeypatch.setitem(sys.modules, "eventlet.patcher", patcher)
    with pytest.raises(SystemExit, match="the eventlet pool is not supported"):
        lifecycle.start(make_app(step_harness.settings))
    assert connected == {}


def test_a_foreign_worker_without_a_token_leaves_our_queue_alone_also_with_q(step_harness, connected):
    """Deselect the queue: a step message that this worker took would fail, and only the dispatcher would repeat it."""
    app, queue = foreign(), step_harness.settings.queue
    app.amqp.queues.select([queue, "mail"])
    lifecycle.start(app)
    assert list(app.amqp.queues.consume_from) == ["mail"]
    only = foreign()
    only.amqp.queues.select([queue])
    with pytest.raises(SystemExit, match="SCRAPE_DO_API_KEY is not set"):
        lifecycle.start(only)
    assert connected == {}


def test_a_foreign_worker_without_a_token_does_its_other_work(step_harness, connected, caplog):
    app = foreign()
    lifecycle.start(app)
    assert connected == {}
    assert "SCRAPE_DO_API_KEY" in caplog.text
    assert step_harness.settings.queue not in app.amqp.queues


def test_settings_that_cannot_work_are_one_line_too(clean_environment, connected, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_MAX_DISPATCHED_PARTS", "0")
    with pytest.raises(SystemExit, match="SCRAPE_DO_MAX_DISPATCHED_PARTS"):
        lifecycle.start(foreign())


def test_a_store_that_is_away_is_waited_for(step_harness, connected, monkeypatch, caplog):
    def check(_):
        raise RedisConnectionError("away")

    monkeypatch.setattr(lifecycle, "refuse_unfit_server", check)
    lifecycle.start(step_harness.app)
    assert "the store does not answer yet" in caplog.text
    assert len(connected) == 4


def test_a_cluster_is_one_line(step_harness, connected, monkeypatch):
    monkeypatch.setattr(lifecycle, "refuse_unfit_server", CHECK)
    monkeypatch.setattr(step_harness.app_context.store.client, "info", lambda section: {"cluster_enabled": 1})
    with pytest.raises(SystemExit, match="Cluster"):
        lifecycle.start(step_harness.app)


def test_warnings_are_logged_at_start(step_harness, connected, caplog, settings):
    step_harness.app.conf.worker_prefetch_multiplier = 4
    lifecycle.start(step_harness.app)
    assert "worker_prefetch_multiplier is 4" in caplog.text
    assert step_harness.settings.api_key.get_secret_value() not in caplog.text


def test_any_app_with_the_steps_starts_the_dispatcher(step_harness, monkeypatch):
    from scrape_do_celery import tasks

    started = []
    monkeypatch.setattr(lifecycle, "start", started.append)
    tasks.connect_dispatcher(sender=SimpleNamespace(app=step_harness.app))
    assert started == [step_harness.app]


def test_the_ready_app_is_made_when_it_is_asked_for(clean_environment, monkeypatch):
    monkeypatch.delitem(vars(worker), "app", raising=False)
    app = worker.app
    assert app.main == "scrape_do"
    assert worker.app is app
    assert _state._tls.current_app is None
    monkeypatch.delitem(vars(worker), "app")
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = worker.nothing_like_it


def test_importing_the_worker_makes_no_app():
    code = "import scrape_do_celery.worker as w; print('app' in vars(w))"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "False"


def test_a_dispatcher_works_for_the_app_of_its_worker(step_harness, connected):
    lifecycle.start(step_harness.app)
    connected["worker_ready"](sender=SimpleNamespace(app=step_harness.app))
    dispatcher, _ = lifecycle.running_threads()
    assert dispatcher._app_context is AppContext.for_app(step_harness.app)
    connected["worker_shutting_down"]()
