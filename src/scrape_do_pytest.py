"""The pytest fixtures of `scrape_do_celery.testing`. pytest finds this module by its entry point.

The module is outside the package, so that test runs without Scrape.do do not load the package and Celery. Each fixture
loads its imports when a test requests it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery

    from scrape_do_celery import Settings
    from scrape_do_celery.testing import Clock, Sandbox, Worker
    from scrape_do_celery.testing.environment import SandboxEnvironment, SessionServers


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark `scrape_do`."""
    config.addinivalue_line("markers", "scrape_do(**settings): settings of scrape-do-celery for this test.")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Exempt Celery's own deprecation warnings if a test run treats warnings as errors.

    The worker runs in this process, so such a run would fail on them.
    """
    if "_scrape_do_environment" in getattr(item, "fixturenames", ()):
        for name in ("celery", "kombu"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore::DeprecationWarning:{name}"))


@pytest.fixture(scope="session")
def scrape_do_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of the tests' Redis: `SCRAPE_DO_REDIS_URL`, or a server for the session. Override it if needed."""
    from scrape_do_celery.testing.environment import server

    with server(tmp_path_factory.mktemp("scrape_do", numbered=True)) as url:
        yield url


@pytest.fixture(scope="session")
def _scrape_do_session_servers(scrape_do_redis_url: str) -> Iterator[SessionServers]:
    from scrape_do_celery.testing.environment import session_servers

    with session_servers(scrape_do_redis_url) as servers:
        yield servers


@pytest.fixture
def scrape_do_app() -> Iterator[Celery]:
    """Yield the test's Celery app: yours, if the process has one by now, or else one of this package.

    Override the fixture to name your app: `return shop.celery_app`.
    """
    from scrape_do_celery.testing.environment import found_app

    with found_app() as app:
        yield app


@pytest.fixture
def _scrape_do_environment(
    request: pytest.FixtureRequest, scrape_do_app: Celery, _scrape_do_session_servers: SessionServers
) -> Iterator[SandboxEnvironment]:
    from scrape_do_celery.testing.environment import sandbox_environment

    marks = reversed(list(request.node.iter_markers("scrape_do")))
    with sandbox_environment(
        _scrape_do_session_servers,
        scrape_do_app,
        {name: value for mark in marks for name, value in mark.kwargs.items()},
    ) as one:
        yield one


@pytest.fixture
def scrape_do_settings(_scrape_do_environment: SandboxEnvironment) -> Settings:
    """Return the settings of the test, which `enqueue`, `RunHandle` and your tasks use by default.

    The settings are your own, with servers, a token and short intervals for the test.
    `@pytest.mark.scrape_do(max_active_jobs=1)` changes them.
    """
    return _scrape_do_environment.settings


@pytest.fixture
def scrape_do_sandbox(_scrape_do_environment: SandboxEnvironment) -> Sandbox:
    """Return a local Scrape.do, empty and without faults."""
    return _scrape_do_environment.servers.sandbox


@pytest.fixture
def scrape_do_worker(_scrape_do_environment: SandboxEnvironment) -> Iterator[Worker]:
    """Yield a real worker of the test's Celery app, in this process. The worker is ready."""
    from scrape_do_celery.testing import Worker

    with Worker(_scrape_do_environment.app) as worker:
        _scrape_do_environment.worker = worker
        yield worker
    # Not reached if the worker did not stop: then the app must not be restored.
    _scrape_do_environment.worker = None


@pytest.fixture
def scrape_do_clock(_scrape_do_environment: SandboxEnvironment) -> Clock:
    """Return the clock of the sandbox, the store and the worker: `forward(3 * 3600)` does three hours of work."""
    from scrape_do_celery.testing import Clock

    return Clock(_scrape_do_environment)
