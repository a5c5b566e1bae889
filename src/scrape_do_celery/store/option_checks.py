"""Check the values of run options."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any, Final

#: Bytes of a label, at most. A tag has the same limit.
MAX_LABEL_BYTES: Final = 64


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
