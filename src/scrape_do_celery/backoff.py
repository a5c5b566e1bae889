"""How long to wait before trying again: arithmetic only, without a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def delay(  # noqa: PLR0913 (one argument a term of the formula)
    attempt: int,
    *,
    initial: float,
    maximum: float,
    multiplier: float = 2.0,
    jitter: float,
    random: Callable[[], float],
) -> float:
    """Seconds before the try after `attempt`, which counts from 0; never above `maximum`.

    `jitter` is the share, 0 to 1, by which `random` (0 up to but not 1) may shorten the delay: taken off rather than
    added, so that waiters at the maximum are spread too.
    """
    return _full(attempt, initial, maximum, multiplier) * (1.0 - jitter * random())


def _full(attempt: int, initial: float, maximum: float, multiplier: float) -> float:
    try:
        return min(maximum, initial * float(multiplier) ** attempt)
    except OverflowError:
        return maximum
