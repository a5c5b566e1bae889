"""Set up a worker when it starts, and clean up when the worker or a child of its pool stops."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakKeyDictionary

from celery import Celery, signals
from redis.exceptions import RedisError

from scrape_do_celery import diagnostics
from scrape_do_celery.budget_checks import check_budgets, set_missing_budgets
from scrape_do_celery.client.routes import ssl_context
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.findings import WARNING, WRONG, Finding
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.runs import EAGER, AppContext, is_own_app, refuse_missing_servers, settings_of
from scrape_do_celery.sentinel_checks import check_failover, find_unknown_primaries
from scrape_do_celery.server_checks import check_allowed_plain, check_durability, find_eviction, find_missing_rights
from scrape_do_celery.steps.context import WorkerContext
from scrape_do_celery.steps.os_threads import EVENTLET, has_eventlet
from scrape_do_celery.store.commands.dispatch import ClaimNamespace
from scrape_do_celery.store.retention import NAMESPACE_TTL
from scrape_do_celery.store.server_kinds import refuse_unfit_server
from scrape_do_celery.worker.dispatcher import Dispatcher
from scrape_do_celery.worker.late_checks import LateStoreCheck
from scrape_do_celery.worker.notifier import ChangeNotifier
from scrape_do_celery.worker.redaction import install_log_filter
from scrape_do_celery.worker.task_events import TaskEventSender

if TYPE_CHECKING:
    from collections.abc import Iterable

log = get_logger(__name__)

_LOG_LEVELS = {WARNING: logging.WARNING, WRONG: logging.ERROR}


class WorkerThreads(NamedTuple):
    """The threads of a worker."""

    dispatcher: Dispatcher
    notifier: ChangeNotifier


class WorkerEnding:
    """The end of the newest worker of this process: whether a second signal has made it urgent."""

    def __init__(self) -> None:
        self._signals = 0

    def note_start(self) -> None:
        """Note that a worker starts."""
        self._signals = 0

    def note_signal(self) -> None:
        """Note a request to end the worker."""
        self._signals += 1

    def is_hurried(self) -> bool:
        """Return whether the worker must end without waiting."""
        return self._signals > 1


_ending = WorkerEnding()
_running: list[WorkerThreads] = []
#: The apps whose store was away when their worker started, and whether their workers consume the queue of scrapes.
_unchecked: WeakKeyDictionary[Celery, bool] = WeakKeyDictionary()


def start(app: Celery) -> None:
    """Set up a worker of this app: its queue, its dispatcher and its clean end.

    If a worker of our own app cannot do its work, exit with a readable line. A worker of a foreign app, such as one
    without a token, leaves our queue alone then and does its other work.
    """
    try:
        refuse_missing_servers(app)
        settings = settings_of(app)
        if settings.api_key is None:
            _stop_consuming(
                app, "SCRAPE_DO_API_KEY is not set: set it, because a worker needs the token to call the API"
            )
            return
        if app.conf.task_always_eager:
            _stop_consuming(app, EAGER)
            return
        # Make the TLS context before the fork: each child of a pool would spend time on a context of its own.
        ssl_context(settings.ca_file)
        if has_eventlet():
            _stop_consuming(app, EVENTLET)
            return
        if faults := find_unknown_primaries(app):
            _stop_consuming(app, "; ".join(f"{place} {fault}" for place, fault in faults.items()))
            return
        if fault := _why_not_ours(AppContext.for_app(app)):
            _stop_consuming(app, fault)
            return
    except ConfigurationError as error:
        raise SystemExit(f"scrape-do-celery: {error}") from None
    queues = app.amqp.queues
    # Celery 5.7 has no selection after the queue was deselected, and would consume it before the store is checked.
    if app not in _unchecked and queues._consume_from is None:  # noqa: SLF001 (with -Q, the user chooses the queues)
        queues.select_add(settings.queue)
    _log_findings(
        [*diagnostics.check_server_urls(settings), *diagnostics.check_celery_app(app), *check_allowed_plain(settings)]
    )
    install_log_filter()
    signals.worker_ready.connect(_start_threads, weak=False)
    signals.worker_shutting_down.connect(_shutting_down, weak=False)
    signals.worker_process_shutdown.connect(_close_contexts, weak=False)
    signals.worker_shutdown.connect(_close_contexts, weak=False)


def running_threads() -> WorkerThreads | None:
    """Return the threads of the newest worker in this process; None if no worker serves scrapes."""
    return _running[-1] if _running else None


def _stop_consuming(app: Celery, why: str) -> None:
    """Leave the queue of scrapes to other workers. If this worker has no other queue, end it with the reason."""
    queues = app.amqp.queues
    # The user may have named the queue by -Q or in `task_queues`. Each step message would fail here and be lost.
    queues.deselect(settings_of(app).queue)
    if is_own_app(app) or not queues.consume_from:
        raise ConfigurationError(why)
    log.error("%s; this worker does not consume the queue of scrapes", why, extra=log_fields("queue_not_consumed"))


def _log_findings(findings: Iterable[Finding]) -> None:
    for finding in findings:
        log.log(_LOG_LEVELS[finding.level], "%s", finding.text, extra=log_fields("finding"))


def _why_not_ours(app_context: AppContext) -> str | None:
    """Return the reason why this store is not for workers of this app, or None.

    Outcomes and chains go through the broker and the result backend of the delivering worker. Two applications on one
    store would answer each other's callers.
    """
    try:
        return find_store_fault(app_context)
    except RedisError as error:
        log.warning(
            "the store does not answer yet (%s); this worker consumes no scrapes until it has checked the store",
            error,
            extra=log_fields("store_away"),
        )
        queues, queue = app_context.app.amqp.queues, app_context.settings.queue
        # With -Q, the user chooses the queues. Without it, all queues are consumed, and ours is added.
        selected = queues._consume_from  # noqa: SLF001
        _unchecked[app_context.app] = selected is None or queue in selected
        if queue not in queues:
            queues.add(queue)
        queues.deselect(queue)
        return None


def find_store_fault(app_context: AppContext) -> str | None:
    """Return the reason why this store is not for workers of this app, or None. Then its budgets are set.

    Raises:
        ConfigurationError: the server is of a kind that cannot be a store.
        RedisError: the store does not answer.
    """
    store, mine = app_context.store, app_context.application
    refuse_unfit_server(store)
    if fault := find_missing_rights(store) or find_eviction(store):
        return fault
    _log_findings([*check_durability(store), *check_failover(store)])
    _log_findings(diagnostics.check_encryption_keys(store, app_context.settings.record_ttl))
    holder = store.run(ClaimNamespace(mine))
    if holder == mine:
        set_missing_budgets(store, app_context.settings)
        _log_findings(check_budgets(store, app_context.settings))
        return None
    return (
        f"the store under the prefix {app_context.settings.key_prefix} is served by another application: {holder}; "
        f"this one has {mine}. If you only moved the broker or the result backend, keep the prefix, stop the old "
        f"workers, and start this one again {NAMESPACE_TTL} s later: under a new prefix, all live runs are hidden. For "
        "two applications, give each its own SCRAPE_DO_KEY_PREFIX"
    )


def _start_threads(sender: Any, **_: Any) -> None:
    _ending.note_start()
    try:
        _start_dispatcher(sender)
    except Exception as error:
        # Celery would log the exception, and serve without a dispatcher.
        log.critical(
            "this worker cannot start its dispatcher, and ends",
            exc_info=error,
            extra=log_fields("dispatcher_not_started"),
        )
        raise SystemExit(1) from error


def _start_dispatcher(sender: Any) -> None:
    app_context = AppContext.for_app(sender.app)
    interval = app_context.timing.pass_interval
    late_check = None
    if sender.app in _unchecked:
        consumes = _unchecked.pop(sender.app)
        late_check = LateStoreCheck(app_context, sender, find_store_fault, consumes=consumes)
    threads = WorkerThreads(
        Dispatcher(app_context, interval, late_check), ChangeNotifier(app_context, TaskEventSender(sender), interval)
    )
    _running.append(threads)
    for thread in threads:
        thread.start()
    log.info("the dispatcher has started", extra=log_fields("dispatcher_started"))


def _shutting_down(**_: Any) -> None:
    _ending.note_signal()
    for threads in _running:
        for thread in threads:
            thread.stop()
    _running.clear()


def _close_contexts(**_: Any) -> None:
    for app in list(WorkerContext.apps()):
        WorkerContext.close_for_app(app, _ending.is_hurried)
