"""Everything around one test: settings for it, and what is cleaned up after it."""

from __future__ import annotations

import os
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import redis

from scrape_do_celery import embedded
from scrape_do_celery.config import Settings, urls
from scrape_do_celery.runs import host, make_app
from scrape_do_celery.runs.producer import users_app
from scrape_do_celery.testing.borrowed import borrowed
from scrape_do_celery.testing.sandbox import Sandbox
from scrape_do_celery.testing.store_clock import StoreClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from celery import Celery

    from scrape_do_celery.runs.host import Host
    from scrape_do_celery.testing.worker import Worker

#: A sandbox takes any token; each test is a customer of its own.
_TOKEN = "token-of-a-test"  # noqa: S105 (nobody's)
#: Nothing is far away: what takes seconds with the service takes tenths of them here.
_SHORT = {
    "poll_initial_interval": 0.05,
    "poll_max_interval": 0.5,
    "lease_seconds": 5.0,
    "submit_deadline": 3.0,
    "submit_settle": 1.0,
}


@dataclass(frozen=True)
class Ground:
    """What all tests of a session stand on."""

    redis_url: str
    sandbox: Sandbox
    clock: StoreClock


@dataclass
class Bench:
    """What one test works with."""

    ground: Ground
    app: Celery
    settings: Settings
    worker: Worker | None = None


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """The URL of the user's Redis, `SCRAPE_DO_REDIS_URL`; else of an embedded one, which keeps its data in a folder.

    Raises:
        ConfigurationError: there is no server to embed on this machine; the message says what to install.
    """
    if given := os.environ.get("SCRAPE_DO_REDIS_URL"):
        yield given
    else:
        with embedded.ensure(folder, tie_to_parent=True) as found:
            yield found.url


@contextmanager
def laid(redis_url: str) -> Iterator[Ground]:
    """A sandbox, and a clock for the store."""
    with closing(StoreClock(redis_url)) as clock, Sandbox() as sandbox:
        yield Ground(redis_url, sandbox, clock)


@contextmanager
def found_app() -> Iterator[Celery]:
    """The user's Celery app, where this process has one; else one of ours, for the time being."""
    if (theirs := users_app()) is not None:
        yield theirs
        return
    app = make_app(Settings())
    yield app
    app.close()


@contextmanager
def bench(ground: Ground, app: Celery, given: Mapping[str, Any]) -> Iterator[Bench]:
    """A test's own: settings, which hold for all code of this process that names none; with `given`, which go first.

    The user's own stand, where they do not name a server, a token or an interval, whichever framework they come from
    and whenever it comes. What the test leaves in the store, the broker and the result backend is removed.
    """
    prefix = f"scrape_do_test_{uuid.uuid4().hex[:12]}"
    values = {
        "redis_url": ground.redis_url,
        "broker_url": urls.sibling(ground.redis_url, 1),
        "result_backend": urls.sibling(ground.redis_url, 2),
        "api_url": ground.sandbox.url,
        "api_key": _TOKEN,
        "key_prefix": prefix,
        **_SHORT,
        **given,
    }

    def change(theirs: Host) -> Host:
        return replace(theirs, settings=lambda: _merged(theirs.settings, values))

    ground.sandbox.reset()
    with ground.clock.installed(), host.changed(change):
        settings = host.host().settings()
        try:
            with borrowed(app, settings):
                yield Bench(ground, app, settings)
        finally:
            _wipe(ground.redis_url, settings.key_prefix)


def _merged(theirs: Callable[[], Settings], values: Mapping[str, Any]) -> Settings:
    found = theirs()
    return Settings(**{name: getattr(found, name) for name in found.model_fields_set} | dict(values))


def _wipe(redis_url: str, prefix: str) -> None:
    with redis.Redis.from_url(redis_url, single_connection_client=True) as client:
        first = int(client.connection_pool.connection_kwargs.get("db") or 0)
        for database in range(first, first + 3):
            client.execute_command("SELECT", database)
            for key in client.scan_iter(match=f"{prefix}*", count=1000):
                client.delete(key)
