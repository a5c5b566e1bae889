"""Test which Celery app a process uses."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from celery import Celery, _state
from celery.result import AsyncResult

from scrape_do_celery import routing
from scrape_do_celery.config import Settings
from scrape_do_celery.runs import AppContext, StepMessage, make_app, settings_of
from scrape_do_celery.runs.context import _current_app, is_own_app


def foreign(**options):
    app = Celery("shop", broker="memory://", backend="cache+memory://", **options)
    app.finalize()
    return app


@pytest.fixture
def environment(clean_environment, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_BROKER_URL", "memory://")
    monkeypatch.setenv("SCRAPE_DO_RESULT_BACKEND", "cache+memory://")


def test_process_without_an_app_gets_a_default_app(environment):
    app = _current_app(None)
    assert app.main == "scrape_do"
    assert _state.default_app is app
    assert _current_app(None) is app
    app.backend.store_result("id", {"a": 1}, "SUCCESS")
    assert AsyncResult("id").get() == {"a": 1}


def test_celerys_own_fallback_is_no_app_of_the_users(environment):
    fallback = _state.get_current_app()
    assert fallback is _state.default_app
    app = _current_app(None)
    assert app.main == "scrape_do"
    assert _state.default_app is app


def test_app_with_a_broker_unlike_the_settings_is_not_used(environment):
    app = Celery("shop", broker="amqp://elsewhere.invalid")
    ours = _current_app(None)
    assert ours is not app
    assert ours.conf.broker_url == "memory://"
    assert _state.default_app is None


def test_app_with_the_broker_of_the_settings_is_used(environment):
    app = foreign()
    assert _current_app(None) is app


def test_the_users_current_app_is_used(clean_environment):
    app = foreign()
    assert _current_app(None) is app


def test_the_users_app_is_found_from_another_thread(clean_environment):
    app, found = foreign(), []
    thread = threading.Thread(target=lambda: found.append((_state._tls.current_app, _current_app(None))))
    thread.start()
    thread.join()
    assert found == [(None, app)]


def test_none_of_two_inactive_apps_is_chosen(clean_environment):
    apps = [foreign(set_as_current=False) for _ in range(2)]
    assert _current_app(None) not in apps


def test_one_app_that_is_not_current_is_chosen(clean_environment):
    app = foreign(set_as_current=False)
    assert _current_app(None) is app


def test_settings_of_the_callers_own_make_an_app_of_ours(clean_environment):
    users = foreign()
    settings = Settings(broker_url="memory://", result_backend="cache+memory://", key_prefix="mine")
    app = _current_app(settings)
    assert app is not users
    assert app.conf.broker_url == "memory://"
    assert _state._tls.current_app is users
    assert _state.default_app is None
    assert _current_app(settings) is app
    assert _current_app(None) is users


def test_an_app_of_ours_never_becomes_current(settings):
    users = foreign()
    app = make_app(settings)
    assert _state._tls.current_app is users
    assert _state.default_app is None
    assert is_own_app(app)
    assert not is_own_app(users)
    assert settings_of(app) is settings
    assert routing.SCRAPE in app.tasks or routing.STEPS_MODULE in app.conf.include


def test_settings_come_from_the_environment_where_the_app_has_none(clean_environment, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_KEY_PREFIX", "elsewhere")
    app = foreign(set_as_current=False)
    assert settings_of(app).key_prefix == "elsewhere"
    assert settings_of(app) is settings_of(app)


def test_an_app_has_one_producer(step_harness, settings):
    assert AppContext.for_app(step_harness.app) is step_harness.app_context
    assert AppContext.for_app(step_harness.app, settings) is step_harness.app_context
    other = AppContext.for_app(step_harness.app, settings.model_copy(update={"queue": "other"}))
    assert other is not step_harness.app_context
    assert other.settings.queue == "other"


def test_a_fork_has_a_producer_of_its_own(step_harness, monkeypatch):
    monkeypatch.setattr(step_harness.app_context, "pid", os.getpid() + 1)
    assert AppContext.for_app(step_harness.app) is not step_harness.app_context


def test_the_producer_of_no_app_is_that_of_the_process(step_harness, monkeypatch):
    monkeypatch.setattr(_state._tls, "current_app", step_harness.app)
    assert AppContext.for_app() is step_harness.app_context


def test_one_message_a_step(step_harness):
    step_harness.app_context.publish_all(
        [StepMessage("a", ("r:0", "r:1")), StepMessage("b", ("r",)), StepMessage("a", ("r:1", "r:2"))]
    )
    assert step_harness.step_messages() == [("a", ["r:0", "r:1", "r:2"]), ("b", ["r"])]
    step_harness.app_context.publish_all([])
    assert step_harness.step_messages() == []


def test_retention_comes_from_the_settings(step_harness):
    retention, settings = step_harness.app_context.retention, step_harness.settings
    assert (retention.contents, retention.record, retention.idempotency) == (
        *(settings.result_ttl, settings.record_ttl),
        settings.idempotency_ttl,
    )


@pytest.mark.parametrize(
    "module", ["scrape_do_celery", "scrape_do_celery.runs", "scrape_do_celery.store", "scrape_do_celery.config"]
)
def test_web_process_loads_no_client_step_or_worker(module):
    heavy = ["httpx", "scrape_do_celery.client", "scrape_do_celery.tasks", "scrape_do_celery.worker"]
    code = f"import sys, {module}; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, capture_output=True, text=True)
    assert (ran.stdout.strip(), ran.stderr) == ("[]", "")
