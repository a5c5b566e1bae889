"""Select the headers that an app adds to its messages, and check their bounds.

A run keeps the headers of the call that started it. The message that delivers its outcome carries them, so that the
callbacks run for the same tenant and request. They may hold secrets: no log, error or repr shows a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from celery.app.task import Context
from kombu.utils.json import dumps

from scrape_do_celery import tracing
from scrape_do_celery.models.sendable import why_no_name

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Characters of a header's name, and bytes of all headers of a call as JSON, at most.
LONGEST_HEADER: Final = 128
LARGEST_HEADERS: Final = 16_384
#: Headers that brokers add.
_OF_BROKERS: Final = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-acquired-count")
#: Headers of Celery, and attributes of a request in a worker.
_OF_CELERY: Final = frozenset(Context.__dict__) | {"lang", "task", "argsrepr", "kwargsrepr", "compression"}
#: Headers of a trace. If the run keeps the trace, its own spans continue the trace and set these headers.
_OF_TRACES: Final = ("traceparent", "tracestate")


def select_app_headers(headers: Mapping[str, Any]) -> dict[str, Any]:
    """Return the headers of a message, or of a request in a worker, that the app has added.

    Raises:
        ValueError: a name or the headers are too long, or cannot be kept.
    """
    traced = _OF_TRACES if tracing.current() else ()
    added = {
        name: value
        for name, value in headers.items()
        if name not in _OF_CELERY and name not in traced and not str(name).startswith(_OF_BROKERS)
    }
    # Some instrumentations write their headers a second time, into a header with this name.
    nested = headers.get("headers")
    if isinstance(nested, dict) and nested and not nested.keys() <= headers.keys():
        added["headers"] = nested
    _check_bounds(added)
    return added


def _check_bounds(headers: Mapping[str, Any]) -> None:
    for name in headers:
        if fault := why_no_name(name, LONGEST_HEADER):
            raise ValueError(f"the name of a header that the app adds to its messages {fault}")
    for name, value in headers.items():
        try:
            dumps(value)  # type: ignore[no-untyped-call]
        except (TypeError, ValueError, RecursionError):
            # The text of the error may hold the value.
            fault = f"the header {name} that the app adds to its messages cannot be kept: it must be a value of JSON"
        else:
            continue
        raise ValueError(fault)
    size = len(dumps(dict(headers)).encode()) if headers else 0  # type: ignore[no-untyped-call]
    if size > LARGEST_HEADERS:
        raise ValueError(
            f"the headers that the app adds to its messages have {size:,} bytes as JSON, and a run keeps at most "
            f"{LARGEST_HEADERS:,}; add less in before_task_publish or apply_async. The longest is "
            f"{max(headers, key=lambda name: len(dumps(headers[name])))}"  # type: ignore[no-untyped-call]
        )
