"""Test how test runs are recognised. tests/acceptance/test_purchases_in_tests.py plays real runners."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec, module_from_spec
from types import SimpleNamespace

import pytest

from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs.hooks import override_hooks


@pytest.fixture
def guard():
    """Return the module as it was before tests/conftest.py replaced a function of it."""
    spec = find_spec("scrape_do_celery.runs.store_guard")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leave_pytest(monkeypatch):
    """Make this process look like one that no test runner started. pytest sets its variable after the fixtures."""
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=None))


def test_pytest_is_recognised_by_its_variables_and_its_module(guard, monkeypatch):
    leave_pytest(monkeypatch)
    assert guard.find_test_runner() == ""
    for name in ("PYTEST_VERSION", "PYTEST_CURRENT_TEST"):
        with monkeypatch.context() as change:
            change.setenv(name, "x")
            assert guard.find_test_runner() == "pytest"
            change.delitem(sys.modules, "_pytest")
            assert guard.find_test_runner() == "", "a process that a test starts is the application"


def test_unittest_and_frameworks_are_recognised(guard, monkeypatch):
    leave_pytest(monkeypatch)
    with override_hooks(lambda hooks: replace(hooks, test_runner=lambda: "mine")):
        assert guard.find_test_runner() == "mine"
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=SimpleNamespace(name="unittest.__main__")))
    assert guard.find_test_runner() == "unittest"


def test_only_a_given_store_is_written_to(guard, step_harness, monkeypatch):
    app_context = step_harness.app_context
    url, prefix = app_context.settings.redis_url, app_context.settings.key_prefix
    with pytest.raises(ConfigurationError, match="nobody gave it the store"):
        guard.check_start(app_context)
    for given in ((url, prefix), (url, "other"), ("redis://other/0", prefix)):
        with override_hooks(lambda hooks, given=given: replace(hooks, test_store=given)):
            if given == (url, prefix):
                guard.check_start(app_context)
            else:
                with pytest.raises(ConfigurationError):
                    guard.check_start(app_context)
    monkeypatch.setenv(guard.TEST_STORE, f" {url} ")
    guard.check_start(app_context)
    monkeypatch.setenv(guard.TEST_STORE, "redis://other/0")
    with pytest.raises(ConfigurationError):
        guard.check_start(app_context)
