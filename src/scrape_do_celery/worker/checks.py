"""Warn of settings of a foreign app that lose results or workers. Only the app's owner may change its settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.store.commands.stats import ReadClock, ReadEncryptionKeys

if TYPE_CHECKING:
    from celery import Celery

    from scrape_do_celery.runs import AppContext

#: Setting, its safe value, and the effect of other values. Tested with Celery 5.7; see docs.
_SAFE = (
    ("result_backend_always_retry", True, "a result backend that is away for four seconds loses a finished result"),
    ("worker_prefetch_multiplier", 1, "a worker that dies takes the messages that it hoarded with it for an hour"),
    ("broker_connection_retry_on_startup", True, "a worker that starts before its broker gives up"),
)
_LONGEST_VISIBILITY = 900


def missing_keys(app_context: AppContext) -> list[str]:
    """Return a line for each encryption key that runs of the store need and this process does not have."""
    store, settings = app_context.store, app_context.settings
    used, now = store.run(ReadEncryptionKeys()), store.run(ReadClock())
    return [
        f"runs of the store are encrypted with key {name}, which SCRAPE_DO_ENCRYPTION_KEY does not have here: they "
        "wait for a worker that has it; add it behind the first one"
        for name, at in sorted(used.items())
        if name not in store.key_names and now - at < settings.record_ttl
    ]


def warnings_about(app: Celery) -> list[str]:
    """Return a line for each setting of this app that can lose results, messages or workers."""
    conf = app.conf
    found = [
        f"{name} is {getattr(conf, name)!r}: {what}; set it to {safe!r}"
        for name, safe, what in _SAFE
        if getattr(conf, name) != safe
    ]
    if not conf.result_backend:
        found.append("result_backend is not set: AsyncResult cannot tell how a run ended, RunHandle.result() can")
    timeout = conf.broker_transport_options.get("visibility_timeout", 3600)
    if str(conf.broker_url).startswith("redis") and timeout > _LONGEST_VISIBILITY:
        found.append(
            f"broker_transport_options visibility_timeout is {timeout} s: so long a killed worker keeps its messages; "
            f"set it to {_LONGEST_VISIBILITY}"
        )
    if "json" not in conf.accept_content:
        found.append("accept_content has no json: our steps are sent as JSON; add it")
    return found
