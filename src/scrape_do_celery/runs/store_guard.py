"""The guard before each new run: an app that cannot carry it out, or a test that would buy, is refused."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs.celery_app import refuse_eager, refuse_missing_servers
from scrape_do_celery.runs.hooks import hooks

if TYPE_CHECKING:
    from scrape_do_celery.runs.context import AppContext

#: The variable with the URL of the store that the tests of an application may write to.
TEST_STORE: Final = "SCRAPE_DO_TEST_REDIS_URL"
_PYTEST_VARIABLES: Final = ("PYTEST_VERSION", "PYTEST_CURRENT_TEST")


def check_start(app_context: AppContext) -> None:
    """Check that this process may start runs.

    Raises:
        ConfigurationError: the app has `task_always_eager` or no broker; or this is a test run, and nobody gave it this
            store.
    """
    refuse_eager(app_context.app)
    refuse_missing_servers(app_context.app)
    runner = find_test_runner()
    if runner and not _is_given(app_context):
        raise ConfigurationError(
            f"this is a test run ({runner}), and nobody gave it the store at {masked(app_context.settings.redis_url)}: "
            "a worker of that store would buy the pages. Nothing was written. With pytest, request a fixture such as "
            "`scrape_do_worker` or `scrape_do_settings`. With Django's test runner, inherit from `ScrapeDoMixin` of "
            "scrape_do_celery.contrib.django.test; with unittest, from that of scrape_do_celery.testing. If the tests "
            f"have a store of their own, name its URL in {TEST_STORE}"
        )


def find_test_runner() -> str:
    """Return the name of the runner whose tests this process runs; empty outside of tests.

    A process that a test starts inherits pytest's variables, but has not imported pytest. Such a process is a part of
    the application, so it is no test run.
    """
    if "_pytest" in sys.modules and any(name in os.environ for name in _PYTEST_VARIABLES):
        return "pytest"
    main = getattr(sys.modules.get("__main__"), "__spec__", None)
    if main is not None and main.name == "unittest.__main__":
        return "unittest"
    return hooks().test_runner()


def _is_given(app_context: AppContext) -> bool:
    settings = app_context.settings
    if hooks().test_store == (settings.redis_url, settings.key_prefix):
        return True
    return settings.redis_url == os.environ.get(TEST_STORE, "").strip()
