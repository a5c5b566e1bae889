"""Find the code that called this package, so that a warning points there."""

from __future__ import annotations

import sys

_OURS = (__name__.partition(".")[0], "pydantic")


def caller_level() -> int:
    """Return the `stacklevel` for the function that calls `warnings.warn(..., stacklevel=caller_level())`.

    The level points to the first frame outside this package and pydantic.
    """
    # Frame 0 is this function, frame 1 is level 1.
    frame, level = sys._getframe(1), 1  # noqa: SLF001 (no public way before Python 3.12)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _OURS:
        frame, level = frame.f_back, level + 1
    return level
