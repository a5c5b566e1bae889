"""Check the values of run options."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from scrape_do_celery.models import JobCreationRequest

#: Bytes of a label, at most. A tag has the same limit.
MAX_LABEL_BYTES: Final = 64
#: Bytes of a fairness key, at most. Temporal has the same limit, and the same bounds of a weight.
MAX_FAIRNESS_KEY_BYTES: Final = 64
LEAST_WEIGHT, LARGEST_WEIGHT = 0.001, 1000
#: The highest priority; the lowest is its negative. Lua counts places of waiters by it: `KEYED_FROM` of `retention`.
LARGEST_PRIORITY: Final = 9


def check_flag(name: str, value: Any) -> bool:
    """Return a flag.

    Raises:
        ValueError: the value is no flag.
    """
    if value not in (True, False):
        raise ValueError(f"{name} must be True or False, not {type(value).__name__}; a text such as 'no' is no flag")
    return bool(value)


def check_seconds(name: str, value: Any) -> float | None:
    """Return a number of seconds, or None.

    Raises:
        ValueError: the value is no positive number of seconds.
    """
    if value is None:
        return None
    hint = ": use .total_seconds()" if isinstance(value, timedelta) else ""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number of seconds, or None; not {type(value).__name__}{hint}")  # noqa: TRY004
    # A larger int cannot be converted to a float.
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} must be a positive, finite number of seconds, or None")
    return float(value)


def check_label(value: Any) -> str | None:
    """Return a label, or None.

    Raises:
        ValueError: the value is no label.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(f"label must be a text, such as 'prices', or None; not {type(value).__name__}")  # noqa: TRY004
    if not is_label(value):
        raise ValueError(
            f"label must have 1 to {MAX_LABEL_BYTES} bytes on one line, no control character, and no space at its "
            "ends, such as 'prices of shop 7'; or be None"
        )
    return value


def is_label(text: str) -> bool:
    """Return whether a text can be a label."""
    # A text that is printable can be encoded.
    return text.isprintable() and text == text.strip() and 0 < len(text.encode()) <= MAX_LABEL_BYTES


def check_fairness_key(value: Any) -> str | None:
    """Return a fairness key, or None.

    Raises:
        ValueError: the value is no word of the allowed length.
    """
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError(  # noqa: TRY004
            f"fairness_key must be a text, such as 'customer:7', or None; not {type(value).__name__}"
        )
    # Scripts split at spaces. A text that is printable can be encoded.
    if not value.isprintable() or " " in value or not 0 < len(value.encode()) <= MAX_FAIRNESS_KEY_BYTES:
        raise ValueError(
            f"fairness_key must have 1 to {MAX_FAIRNESS_KEY_BYTES} bytes, and no space or control character, such as "
            "'customer:7'; or be None"
        )
    return value


def check_weight(value: Any, fairness_key: str | None) -> float:
    """Return the weight of a fairness key.

    Raises:
        ValueError: the value is no number within the bounds, or the run has no fairness key.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not LEAST_WEIGHT <= value <= LARGEST_WEIGHT:
        raise ValueError(f"fairness_weight must be a number from {LEAST_WEIGHT} to {LARGEST_WEIGHT}; 1 by default")
    if value != 1 and fairness_key is None:
        raise ValueError("fairness_weight needs a fairness_key: all runs without a key share one key, of weight 1")
    return float(value)


def check_priority(value: Any) -> int:
    """Return the priority of a run.

    Raises:
        ValueError: the value is no whole number within the bounds.
    """
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > LARGEST_PRIORITY:
        raise ValueError(
            f"priority must be a whole number from -{LARGEST_PRIORITY} to {LARGEST_PRIORITY}; 0 by default, and higher "
            "numbers go first"
        )
    return value


def has_own_webhook(request: JobCreationRequest) -> bool:
    """Return whether the caller has set a webhook of a request."""
    return request.webhook_url is not None or request.webhook_headers is not None


def check_webhook(value: Any, request: JobCreationRequest) -> bool | None:
    """Return whether the run has webhooks; None if the settings decide.

    Raises:
        ValueError: the value is no flag, or the request has a webhook of its own.
    """
    if value is None:
        return None
    if check_flag("webhook", value) and has_own_webhook(request):
        raise ValueError(
            "webhook=True sets webhook_url and webhook_headers itself; leave these two out, or leave webhook out"
        )
    return bool(value)
