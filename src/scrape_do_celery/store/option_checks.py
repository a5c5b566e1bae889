"""Check the values of run options."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any


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
