"""Set up a worker when it starts, and clean up when the worker or a child of its pool stops."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

from celery import Celery, signals
from redis.exceptions import RedisError

from scrape_do_celery import diagnostics
from scrape_do_celery.client.transports import ssl_context
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.log_fields import log_fields
from scrape_do_celery.runs import EAGER, AppContext, is_own_app, settings_of
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.store.commands.dispatch import ClaimNamespace
from scrape_do_celery.store.retention import NAMESPACE_TTL
from scrape_do_celery.worker.dispatcher import Dispatcher
from scrape_do_celery.worker.notifier import ChangeNotifier
from scrape_do_celery.worker.redaction import install_log_filter
from scrape_do_celery.worker.task_events import TaskEventSender

if TYPE_CHECKING:
    from collections.abc import Iterable

log = logging.getLogger(__name__)

_LOG_LEVELS = {diagnostics.WARNING: logging.WARNING, diagnostics.WRONG: logging.ERROR}


class WorkerThreads(NamedTuple):
    """The threads of a worker."""

    dispatcher: Dispatcher
    notifier: ChangeNotifier


_running: list[WorkerThreads] = []


def start(app: Celery) -> None:
    """Set up a worker of this app: its queue, its dispatcher and its clean end.

    If a worker of our own app cannot do its work, exit with a readable line. A worker of a foreign app, such as one
    without a token, leaves our queue alone then and does its other work.
    """
    try:
        settings = settings_of(app)
        if settings.api_key is None:
            _stop_consuming(
                app, "SCRAPE_DO_API_KEY is not set: set it, because a worker needs the token to call the API"
            )
            return
        if app.conf.task_always_eager:
            _stop_consuming(app, EAGER)
            return
        if other := _other_application(AppContext.for_app(app)):
            _stop_consuming(app, other)
            return
    except ConfigurationError as error:
        raise SystemExit(f"scrape-do-celery: {error}") from None
    queues = app.amqp.queues
    if queues._consume_from is None:  # noqa: SLF001 (-Q was not given: with -Q, the user chooses the queues)
        queues.select_add(settings.queue)
    _log_findings([*diagnostics.check_server_urls(settings), *diagnostics.check_celery_app(app)])
    install_log_filter()
    # Make the TLS context before the fork: each child of a pool would spend time on a context of its own.
    ssl_context()
    signals.worker_ready.connect(_start_threads, weak=False)
    signals.worker_shutting_down.connect(_shutting_down, weak=False)
    signals.worker_process_shutdown.connect(_close_contexts, weak=False)
    signals.worker_shutdown.connect(_close_contexts, weak=False)


def running_threads() -> WorkerThreads | None:
    """Return the threads of the newest worker in this process; None if no worker serves scrapes."""
    return _running[-1] if _running else None


def _stop_consuming(app: Celery, why: str) -> None:
    if is_own_app(app):
        raise ConfigurationError(why)
    log.error("%s; this worker does not consume the queue of scrapes", why, extra=log_fields("queue_not_consumed"))


def _log_findings(findings: Iterable[diagnostics.Finding]) -> None:
    for finding in findings:
        log.log(_LOG_LEVELS[finding.level], "%s", finding.text, extra=log_fields("finding"))


def _other_application(app_context: AppContext) -> str | None:
    """Return the reason why this store is not for workers of this app, or None.

    Outcomes and chains go through the broker and the result backend of the delivering worker. Two applications on one
    store would answer each other's callers.
    """
    store, mine = app_context.store, app_context.application
    try:
        store.check()
        _log_findings(diagnostics.check_durability(store))
        _log_findings(diagnostics.check_encryption_keys(store, app_context.settings.record_ttl))
        holder = store.run(ClaimNamespace(mine))
    except RedisError as error:
        log.warning("the store does not answer yet (%s); the worker tries again", error, extra=log_fields("store_away"))
        return None
    if holder == mine:
        return None
    return (
        f"the store under the prefix {app_context.settings.key_prefix} is served by another application: {holder}; "
        f"this one has {mine}. Give each its own SCRAPE_DO_KEY_PREFIX, or stop the other's workers, and "
        f"start this one again {NAMESPACE_TTL} s later"
    )


def _start_threads(sender: Any, **_: Any) -> None:
    app_context = AppContext.for_app(sender.app)
    interval = app_context.timing.pass_interval
    threads = WorkerThreads(
        Dispatcher(app_context, interval), ChangeNotifier(app_context, TaskEventSender(sender), interval)
    )
    _running.append(threads)
    for thread in threads:
        thread.start()
    log.info("the dispatcher has started", extra=log_fields("dispatcher_started"))


def _shutting_down(**_: Any) -> None:
    for threads in _running:
        for thread in threads:
            thread.stop()
    _running.clear()


def _close_contexts(**_: Any) -> None:
    for app in list(WorkerContext.apps()):
        WorkerContext.close_for_app(app)
