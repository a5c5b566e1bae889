"""What happens when a worker starts, forks and stops."""

from __future__ import annotations

import logging
from typing import Any

from celery import Celery, signals
from redis.exceptions import RedisError

from scrape_do_celery.config.checks import broker_warnings
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.runs import Producer, is_ours, settings_of
from scrape_do_celery.runtime import Runtime
from scrape_do_celery.worker.checks import warnings_about
from scrape_do_celery.worker.ticker import Ticker

log = logging.getLogger(__name__)

_tickers: dict[int, Ticker] = {}


def start(app: Celery) -> None:
    """Makes a worker of this app one of ours: its queue, its ticker, its clean end.

    Exits with a readable line where a worker of ours could not do its work. A worker of somebody else's app that has
    no token leaves our queue alone and does its other work.
    """
    try:
        settings = settings_of(app)
        if settings.api_key is None:
            _without_token(app)
            return
        _check_store(app)
    except ConfigurationError as error:
        raise SystemExit(f"scrape-do-celery: {error}") from None
    queues = app.amqp.queues
    if queues._consume_from is None:  # noqa: SLF001 (-Q was not given: whoever gives it chooses for himself)
        queues.select_add(settings.queue)
    for text in [*broker_warnings(settings), *warnings_about(app)]:
        log.warning("%s", text)
    signals.worker_ready.connect(_ready, weak=False)
    signals.worker_shutting_down.connect(_shutting_down, weak=False)
    signals.worker_process_shutdown.connect(_closed, weak=False)
    signals.worker_shutdown.connect(_closed, weak=False)


def _without_token(app: Celery) -> None:
    text = "SCRAPE_DO_API_KEY is not set: a worker cannot call the API without its token"
    if is_ours(app):
        raise ConfigurationError(text)
    log.error("%s; this one leaves the queue of scrapes alone", text)


def _check_store(app: Celery) -> None:
    try:
        Producer.of(app).store.check()
    except RedisError as error:
        log.warning("the store does not answer yet: %s; the worker goes on trying", type(error).__name__)


def _ready(sender: Any, **_: Any) -> None:
    ticker = _tickers[id(sender.app)] = Ticker(Producer.of(sender.app))
    ticker.start()
    log.info("the ticker is at work")


def _shutting_down(**_: Any) -> None:
    for ticker in list(_tickers.values()):
        ticker.stop()
    _tickers.clear()


def _closed(**_: Any) -> None:
    for app in list(Runtime.apps()):
        Runtime.close_of(app)
