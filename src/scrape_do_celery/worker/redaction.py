"""Keep requests out of the logs and monitors of a worker's main process: they may hold secrets."""

from __future__ import annotations

import logging
from typing import Any

from celery.worker.request import Request

from scrape_do_celery import routing
from scrape_do_celery.redaction import call_summary, schedule_summary
from scrape_do_celery.runs import settings_of

_POOL = logging.getLogger("celery.pool")


class RedactedRequest(Request):  # type: ignore[misc]
    """A message that is shown as a summary, and never by the description of its sender.

    A producer without this package describes its message by its arguments. Events, logs and `inspect` show this
    description.
    """

    def __init__(self, message: Any, **options: Any) -> None:
        super().__init__(message, **options)
        # A foreign producer may have sent anything.
        args = self._args if isinstance(self._args, list | tuple) else ()
        kwargs = self._kwargs if isinstance(self._kwargs, dict) else {}
        if kwargs.get("run_id") and len(kwargs) == 1:
            # The message was sent, and described, by this package.
            return
        hosts = settings_of(self._app).encryption_key is None
        if self._type == routing.SCHEDULED_RUN:
            shown = schedule_summary(kwargs, hosts=hosts)
        else:
            shown = call_summary(args, kwargs, hosts=hosts)
        self._argsrepr, self._kwargsrepr = "()", repr(shown)
        # If a step fails, a child of the pool logs this description as well.
        self._request_dict |= {"argsrepr": self._argsrepr, "kwargsrepr": self._kwargsrepr}

    def info(self, safe: bool = False) -> Any:  # noqa: ARG002 (Celery's own signature)
        """Return the description for `inspect`, never with the arguments as they came."""
        return super().info(safe=True)


class RequestBodyFilter(logging.Filter):
    """A filter that leaves the bodies of such messages out of the DEBUG lines of Celery's pool."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True. If the record shows a request, replace the text."""
        given = record.args
        if isinstance(given, tuple) and any(name in str(one) for one in given for name in routing.WITH_REQUESTS):
            record.msg, record.args = "TaskPool: Apply %s (the request is not shown)", (given[0],)
        return True


def install_log_filter() -> None:
    """Install the filter on the log of the pool, once per process."""
    if not any(isinstance(one, RequestBodyFilter) for one in _POOL.filters):
        _POOL.addFilter(RequestBodyFilter())
