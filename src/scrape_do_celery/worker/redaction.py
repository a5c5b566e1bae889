"""Messages whose arguments may hold what no log and no monitor may show, as the worker's main process sees them."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.request import Request

from scrape_do_celery import routing
from scrape_do_celery.runs import settings_of
from scrape_do_celery.store.about import call_summary, schedule_summary

_POOL = logging.getLogger("celery.pool")


class RedactedRequest(Request):  # type: ignore[misc]
    """A message that is shown as a summary, whatever its sender says about it.

    A producer without this package describes its message by its arguments. They are shown in events, in logs, and by
    `inspect`.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        # Whoever sent it may have sent anything.
        args = self._args if isinstance(self._args, list | tuple) else ()
        kwargs = self._kwargs if isinstance(self._kwargs, dict) else {}
        if kwargs.get("run_id") and len(kwargs) == 1:
            # Sent by this package, which has described it.
            return
        hosts = settings_of(self._app).encryption_key is None
        if self._type == routing.SCHEDULED_RUN:
            shown = schedule_summary(kwargs, hosts=hosts)
        else:
            shown = call_summary(args, kwargs, hosts=hosts)
        self._argsrepr, self._kwargsrepr = "()", repr(shown)
        # A child of the pool says it as well, where a step fails.
        self._request_dict |= {"argsrepr": self._argsrepr, "kwargsrepr": self._kwargsrepr}

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002 (Celery's own signature)
        """What `inspect` tells: never the arguments as they came."""
        return super().info(safe=True)


class RequestBodyFilter(logging.Filter):
    """Leaves the body of such a message out of what Celery's pool says at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Always true; the record may be changed."""
        given = record.args
        if isinstance(given, tuple) and any(name in str(one) for one in given for name in routing.WITH_REQUESTS):
            record.msg, record.args = "TaskPool: Apply %s (a request, which is not shown)", (given[0],)
        return True


def install_log_filter() -> None:
    """Filters the pool's log, once a process."""
    if not any(isinstance(one, RequestBodyFilter) for one in _POOL.filters):
        _POOL.addFilter(RequestBodyFilter())
