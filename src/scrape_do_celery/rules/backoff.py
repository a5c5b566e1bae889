"""The delay before the next attempt: arithmetic only, without a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def delay(  # noqa: PLR0913 (one argument per term of the formula)
    attempt: int,
    *,
    initial: float,
    maximum: float,
    multiplier: float = 2.0,
    jitter: float,
    random: Callable[[], float],
) -> float:
    """Return the seconds before the attempt after `attempt`, which counts from 0; never above `maximum`.

    `jitter` (0 to 1) is the largest share by which `random` (0 up to but not 1) shortens the delay. Jitter is taken off
    rather than added, so that delays at the maximum differ too.
    """
    return _full_delay(attempt, initial, maximum, multiplier) * (1.0 - jitter * random())


def _full_delay(attempt: int, initial: float, maximum: float, multiplier: float) -> float:
    try:
        return min(maximum, initial * float(multiplier) ** attempt)
    except OverflowError:
        return maximum
