"""The environment of one test: its settings, and the cleanup after it."""

from __future__ import annotations

import os
import uuid
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import redis
from pydantic import SecretStr

from scrape_do_celery import embedded
from scrape_do_celery.config import Settings
from scrape_do_celery.config.variables import env_name
from scrape_do_celery.runs import hooks, make_app
from scrape_do_celery.runs.celery_app import find_app_except
from scrape_do_celery.runs.timing import ProcessTiming
from scrape_do_celery.testing.app_override import use_test_servers
from scrape_do_celery.testing.clock_offset import ClockOffset
from scrape_do_celery.testing.sandbox import Sandbox
from scrape_do_celery.testing.variables import changed_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from celery import Celery

    from scrape_do_celery.runs.hooks import FrameworkHooks
    from scrape_do_celery.testing.worker import Worker

#: The sandbox accepts any token; each test has an account of its own.
_TOKEN = "token-of-a-test"  # noqa: S105 (a made-up token)
#: The name of the app that is created if the process has no app.
_NAME = "scrape_do_test"
#: Short intervals: seconds of the real service are tenths of a second here.
_SHORT = {
    "poll_initial_interval": 0.05,
    "poll_max_interval": 0.5,
    "lease_seconds": 5.0,
    "submit_deadline": 3.0,
    "submit_visibility_grace": 1.0,
}
#: Longest sleep of the dispatcher and of the notifier, in seconds, so that a test does not wait for them.
_PASS_INTERVAL = 0.05


@dataclass(frozen=True)
class SessionServers:
    """The servers that all tests of a session share."""

    redis_url: str
    sandbox: Sandbox
    clock: ClockOffset


@dataclass
class SandboxEnvironment:
    """The parts that one test works with."""

    servers: SessionServers
    app: Celery
    settings: Settings
    worker: Worker | None = None


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Yield the URL of the user's Redis, `SCRAPE_DO_REDIS_URL`, or of an embedded server with its data in `folder`.

    Raises:
        ConfigurationError: If no server can be embedded on this machine; the message says what to install.
    """
    if given := os.environ.get("SCRAPE_DO_REDIS_URL"):
        yield given
    else:
        with embedded.ensure(folder, tie_to_parent=True) as found:
            yield found.url


@contextmanager
def session_servers(redis_url: str) -> Iterator[SessionServers]:
    """Yield a sandbox, and the clock of the session."""
    with closing(ClockOffset(redis_url)) as clock, Sandbox() as sandbox:
        yield SessionServers(redis_url, sandbox, clock)


@contextmanager
def found_app() -> Iterator[Celery]:
    """Yield the Celery app of this process; if the process has none, yield a temporary app."""
    if (found := find_app_except(_NAME)) is not None:
        yield found
        return
    app = make_app(Settings(), _NAME)
    yield app
    app.close()


@contextmanager
def sandbox_environment(servers: SessionServers, app: Celery, given: Mapping[str, Any]) -> Iterator[SandboxEnvironment]:
    """Yield the environment of one test, and use its settings for all code of this process that passes none.

    Values of `given` win over the test's servers, token and intervals. All other settings are the user's, from any
    framework, even if it is loaded later. In the end, the test's keys in the store, the broker and the result backend
    are deleted.

    Raises:
        ValueError: If `given` names `key_prefix`, because each test has a prefix of its own.
    """
    if "key_prefix" in given:
        raise ValueError(
            "key_prefix cannot be set: each test has its own prefix, whose keys are deleted after the test"
        )
    clock = servers.clock
    timing = ProcessTiming(clock.key, clock.loop_time, _PASS_INTERVAL)
    prefix = f"scrape_do_test_{uuid.uuid4().hex[:12]}"
    values = {
        # Everything is in one database, because the server may have no other. The prefix separates the tests.
        "redis_url": servers.redis_url,
        "broker_url": servers.redis_url,
        "result_backend": servers.redis_url,
        "api_url": servers.sandbox.url,
        "api_key": _TOKEN,
        "key_prefix": prefix,
        **_SHORT,
        **given,
    }

    def change(theirs: FrameworkHooks) -> FrameworkHooks:
        store = (str(values["redis_url"]), prefix)
        return replace(theirs, settings=lambda: _merged(theirs.settings, values), timing=timing, test_store=store)

    servers.sandbox.reset()
    clock.set(0.0)
    with hooks.override_hooks(change):
        settings = hooks.hooks().settings()
        one = SandboxEnvironment(servers, app, settings)
        try:
            with (
                changed_variables(_variables_of(settings, values)),
                use_test_servers(app, settings, lambda: one.worker is None),
            ):
                yield one
        finally:
            _wipe(servers.redis_url, settings.key_prefix)


def _variables_of(settings: Settings, names: Iterable[str]) -> dict[str, str | None]:
    """Return the variables of these settings, so that code and processes that read them find no real service."""
    values = {env_name(name): getattr(settings, name) for name in names}
    texts = {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in values.items()
    }
    return {name: None if text is None else str(text) for name, text in texts.items()}


def _merged(theirs: Callable[[], Settings], values: Mapping[str, Any]) -> Settings:
    found = theirs()
    return Settings(**{name: getattr(found, name) for name in found.model_fields_set} | dict(values))


def _wipe(redis_url: str, prefix: str) -> None:
    with redis.Redis.from_url(redis_url, single_connection_client=True) as client:
        for key in client.scan_iter(match=f"{prefix}:*", count=1000):
            client.delete(key)
