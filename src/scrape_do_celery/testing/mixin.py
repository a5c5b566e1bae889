"""A mixin for test cases of `unittest`, with a store, a sandbox, a clock and a worker for each test."""

from __future__ import annotations

import os
import warnings
from contextlib import ExitStack, contextmanager
from multiprocessing.util import Finalize
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, ClassVar

from scrape_do_celery.testing.clock import Clock
from scrape_do_celery.testing.environment import found_app, sandbox_environment, server, session_servers
from scrape_do_celery.testing.worker import Worker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager
    from typing import TypeVar

    from celery import Celery

    from scrape_do_celery.config import Settings
    from scrape_do_celery.testing.environment import SandboxEnvironment, SessionServers
    from scrape_do_celery.testing.sandbox import Sandbox

    T = TypeVar("T")

#: The servers of each process. A runner with parallel processes forks them.
_servers: dict[int, SessionServers] = {}


class ScrapeDoMixin:
    """Give each test its own store, sandbox and settings. Put the mixin before the class of the test case.

    `enqueue`, `RunHandle` and your tasks find the settings of the test, so that no test buys a page.
    """

    #: settings of each test, such as `{"max_active_jobs": 1}`
    scrape_do_options: ClassVar[Mapping[str, Any]] = {}
    _scrape_do_environment: SandboxEnvironment

    if TYPE_CHECKING:

        def enterContext(self, cm: AbstractContextManager[T]) -> T:  # noqa: N802 (the name in unittest)
            """Enter a context until the end of the test, as `unittest.TestCase` does."""
            ...

    def setUp(self) -> None:
        """Provide the parts of the test, and then set up the rest of the test case."""
        self.enterContext(_ignored_deprecations())
        app = self.find_scrape_do_app() or self.enterContext(found_app())
        self._scrape_do_environment = self.enterContext(
            sandbox_environment(find_servers(), app, self.scrape_do_options)
        )
        super().setUp()  # type: ignore[misc]

    def find_scrape_do_app(self) -> Celery | None:
        """Return the Celery app of the test. None takes the app of this process. Override this to name your app."""
        return None

    @property
    def scrape_do_settings(self) -> Settings:
        """The settings of the test."""
        return self._scrape_do_environment.settings

    @property
    def scrape_do_sandbox(self) -> Sandbox:
        """A local Scrape.do, empty and without faults at the start of the test."""
        return self._scrape_do_environment.servers.sandbox

    @property
    def scrape_do_clock(self) -> Clock:
        """The clock of the sandbox, the store and the worker."""
        return Clock(self._scrape_do_environment)

    def start_scrape_do_worker(self) -> Worker:
        """Start a real worker of the test's Celery app in this process, until the end of the test."""
        return self.enterContext(_running_worker(self._scrape_do_environment))


@contextmanager
def _ignored_deprecations() -> Iterator[None]:
    """Ignore Celery's own deprecation warnings: the worker would fail on them if a run treats warnings as errors."""
    with warnings.catch_warnings():
        for name in ("celery", "kombu"):
            warnings.filterwarnings("ignore", category=DeprecationWarning, module=name)
        yield


@contextmanager
def _running_worker(environment: SandboxEnvironment) -> Iterator[Worker]:
    with Worker(environment.app) as worker:
        environment.worker = worker
        yield worker
    # Not reached if the worker did not stop: then the app must not be restored.
    environment.worker = None


def find_servers() -> SessionServers:
    """Return the servers of this process. They start at the first call, and end with the process."""
    pid = os.getpid()
    if pid not in _servers:
        with ExitStack() as stack:
            folder = stack.enter_context(TemporaryDirectory(prefix="scrape-do-test-", ignore_cleanup_errors=True))
            url = stack.enter_context(server(Path(folder)))
            _servers[pid] = stack.enter_context(session_servers(url))
            # Children of Django's parallel runner end without `atexit`, but with these finalizers.
            Finalize(None, stack.pop_all().close, exitpriority=0)
    return _servers[pid]
