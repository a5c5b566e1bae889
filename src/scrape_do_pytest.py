"""The fixtures of `scrape_do_celery.testing` for pytest, which finds this module by itself.

It stands beside the package, so that a run of tests that has nothing to do with Scrape.do does not load the package,
Celery and all: each fixture loads what it needs when it is asked for.
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
    """Tells pytest of the mark."""
    config.addinivalue_line("markers", "scrape_do(**settings): settings of scrape-do-celery for this test.")


def pytest_itemcollected(item: pytest.Item) -> None:
    """Lets a run that takes warnings for errors not do so with Celery's own: the worker is in this process."""
    if "_scrape_do_environment" in getattr(item, "fixturenames", ()):
        for name in ("celery", "kombu"):
            item.add_marker(pytest.mark.filterwarnings(f"ignore::DeprecationWarning:{name}"))


@pytest.fixture(scope="session")
def scrape_do_redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The Redis of the tests: `SCRAPE_DO_REDIS_URL`, else a server of the session. Override it to give another."""
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
    """The Celery app that the test works with: yours, where the process has one by now; else one of this package's.

    Override it to name yours: `return shop.celery_app`.
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
    """The settings of the test, which `enqueue`, `RunHandle` and the rest find by themselves.

    Yours, with servers, a token and short intervals for the test; `@pytest.mark.scrape_do(max_active_jobs=1)` changes
    them.
    """
    return _scrape_do_environment.settings


@pytest.fixture
def scrape_do_sandbox(_scrape_do_environment: SandboxEnvironment) -> Sandbox:
    """A local Scrape.do, empty and without faults."""
    return _scrape_do_environment.servers.sandbox


@pytest.fixture
def scrape_do_worker(_scrape_do_environment: SandboxEnvironment) -> Iterator[Worker]:
    """A real worker of the test's Celery app, in this process; it is ready."""
    from scrape_do_celery.testing import Worker

    with Worker(_scrape_do_environment.app) as worker:
        _scrape_do_environment.worker = worker
        yield worker
    # Not where it did not stop.
    _scrape_do_environment.worker = None


@pytest.fixture
def scrape_do_clock(_scrape_do_environment: SandboxEnvironment) -> Clock:
    """The clock of the sandbox, the store and the worker: `forward(3 * 3600)`, and what takes three hours is done."""
    from scrape_do_celery.testing import Clock

    return Clock(_scrape_do_environment)
