"""Test which Celery app a process uses."""

from __future__ import annotations

import threading

import pytest
from celery import Celery, _state
from celery.result import AsyncResult

from scrape_do_celery import routing
from scrape_do_celery.config import Settings
from scrape_do_celery.runs.celery_app import find_app, is_own_app, make_app, settings_of


def foreign(**options):
    app = Celery("shop", broker="memory://", backend="cache+memory://", **options)
    app.finalize()
    return app


@pytest.fixture
def environment(clean_environment, monkeypatch):
    monkeypatch.setenv("SCRAPE_DO_BROKER_URL", "memory://")
    monkeypatch.setenv("SCRAPE_DO_RESULT_BACKEND", "cache+memory://")


def test_process_without_an_app_gets_a_default_app(environment):
    app = find_app(None)
    assert app.main == "scrape_do"
    assert _state.default_app is app
    assert find_app(None) is app
    app.backend.store_result("id", {"a": 1}, "SUCCESS")
    assert AsyncResult("id").get() == {"a": 1}


def test_celerys_own_fallback_is_no_app_of_the_users(environment):
    fallback = _state.get_current_app()
    assert fallback is _state.default_app
    app = find_app(None)
    assert app.main == "scrape_do"
    assert _state.default_app is app


def test_app_with_a_broker_unlike_the_settings_is_not_used(environment):
    app = Celery("shop", broker="amqp://elsewhere.invalid")
    ours = find_app(None)
    assert ours is not app
    assert ours.conf.broker_url == "memory://"
    assert _state.default_app is None


def test_app_with_the_broker_of_the_settings_is_used(environment):
    app = foreign()
    assert find_app(None) is app


def test_the_users_current_app_is_used(clean_environment):
    app = foreign()
    assert find_app(None) is app


def test_the_users_app_is_found_from_another_thread(clean_environment):
    app, found = foreign(), []
    thread = threading.Thread(target=lambda: found.append((_state._tls.current_app, find_app(None))))
    thread.start()
    thread.join()
    assert found == [(None, app)]


def test_none_of_two_inactive_apps_is_chosen(clean_environment):
    apps = [foreign(set_as_current=False) for _ in range(2)]
    assert find_app(None) not in apps


def test_one_app_that_is_not_current_is_chosen(clean_environment):
    app = foreign(set_as_current=False)
    assert find_app(None) is app


def test_settings_of_the_callers_own_make_an_app_of_ours(clean_environment):
    users = foreign()
    settings = Settings(broker_url="memory://", result_backend="cache+memory://", key_prefix="mine")
    app = find_app(settings)
    assert app is not users
    assert app.conf.broker_url == "memory://"
    assert _state._tls.current_app is users
    assert _state.default_app is None
    assert find_app(settings) is app
    assert find_app(None) is users


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
