"""Lend a Celery app to a test, with other servers and separate connections, and restore it afterwards."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from celery import _state
from kombu import pools

from scrape_do_celery.config.celery import celery_config
from scrape_do_celery.runs.context import replace_settings
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.testing.clock_offset import CELERY
from scrape_do_celery.testing.variables import changed_variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from celery import Celery

    from scrape_do_celery.config import Settings

#: The settings of our own configuration that a test needs. All other settings of the app stay as the owner set them.
_OURS = (
    "broker_url",
    "result_backend",
    "broker_connection_retry_on_startup",
    "result_backend_always_retry",
    "result_backend_thread_safe",
)
#: Variables that would override the app's configuration.
_VARIABLES = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL", "CELERY_RESULT_BACKEND")


@contextmanager
def use_test_servers(app: Celery, settings: Settings, is_over: Callable[[], bool]) -> Iterator[None]:
    """Make the app the default of this process, with the servers of `settings` and their prefix for all its keys.

    If `is_over` is still false at the end, the app is not restored: running steps must not continue on the owner's
    servers.
    """
    before = _state.default_app, _state._tls.current_app  # noqa: SLF001 (public access would create an app)
    # Celery reads its configuration at the first access, which must happen before the changes.
    _ = app.conf.broker_url
    changes, kept = dict(app.conf.changes), _put_aside(app)
    with changed_variables(dict.fromkeys(_VARIABLES)):
        app.conf.update(_changes(settings))
        theirs = replace_settings(app, settings)
        app.set_default()
        app.set_current()
        try:
            yield
        finally:
            if is_over():
                _give_back(app, theirs, changes, kept)
                _state.set_default_app(before[0])
                _state._set_current_app(before[1])  # noqa: SLF001 (the public function cannot restore None)


def _give_back(app: Celery, theirs: Settings | None, changes: dict[str, Any], kept: dict[str, Any]) -> None:
    WorkerContext.close_for_app(app)
    replace_settings(app, theirs)
    _close(_put_aside(app))
    app.conf.changes.clear()
    app.conf.changes.update(changes)
    _put_back(app, kept)


def _changes(settings: Settings) -> dict[str, Any]:
    ours = celery_config(settings)
    apart = {"global_keyprefix": f"{settings.key_prefix}:{CELERY}:"}
    found = {
        **{name: ours[name] for name in _OURS},
        "broker_read_url": None,
        "broker_write_url": None,
        # A stopping worker waits until the server has answered that no message came, by default 1 second.
        "broker_transport_options": {**ours.get("broker_transport_options", {}), **apart, "polling_interval": 0.05},
        "result_backend_transport_options": {**ours.get("result_backend_transport_options", {}), **apart},
        # A step that runs eagerly would wait for itself.
        "task_always_eager": False,
    }
    if not settings.broker_url.startswith("rediss"):
        found |= {"broker_use_ssl": None, "redis_backend_use_ssl": None}
    return found


def _put_aside(app: Celery) -> dict[str, Any]:
    """Remove the connections and pools that the app has opened, and return them; the app opens new ones."""
    kept = {
        "_pool": app._pool,  # noqa: SLF001
        "amqp": app.__dict__.pop("amqp", None),
        "_backend_cache": app._backend_cache,  # noqa: SLF001
        "_local": app._local,  # noqa: SLF001
    }
    app._pool, app._backend_cache, app._local = None, None, threading.local()  # noqa: SLF001
    return kept


def _put_back(app: Celery, kept: dict[str, Any]) -> None:
    app.__dict__.update({name: value for name, value in kept.items() if value is not None or name != "amqp"})


def _close(opened: dict[str, Any]) -> None:
    amqp, pool, backend = opened["amqp"], opened["_pool"], opened["_backend_cache"]
    producers = None if amqp is None else amqp._producer_pool  # noqa: SLF001
    for one in (producers, pool):
        if one is not None:
            one.force_close_all()
    # kombu keeps a pool for each broker that it has ever seen.
    for group in (pools.producers, pools.connections):
        for key in [key for key, one in dict.items(group) if one is producers or one is pool]:
            dict.pop(group, key)
    if backend is not None:
        if backend.result_consumer is not None:
            backend.result_consumer.stop()
        backend.client.close()
