"""Compare the costs that tasks reported with the credits that the account had left. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


#: The API shows whole credits, and a task may cost a part of one.
_ROUNDING: Final = 1.0


@dataclass(frozen=True, slots=True)
class BalanceCheck:
    """The comparison of reported costs with the balance, from the first to the last reading. Amounts are in credits.

    Attributes:
        since: the time of the first reading, in seconds since the epoch.
        until: the time of the last reading.
        reported: the reported costs of the ended purchases in this time.
        decrease: by how much the balance fell, summed over the pairs of readings between which it fell.
        rise: by how much it rose: top-ups, or the credits of a new month. Between the two readings of a rise, credits
            were used too, and nobody knows how many.
    """

    since: float
    until: float
    reported: float
    decrease: float
    rise: float

    @property
    def excess(self) -> float:
        """The reported costs that the decrease does not cover; 0 if it does, or if a rise may hide the rest.

        The reverse is normal: other programs with the same account lower the balance as well.
        """
        missing = self.reported - self.decrease
        return missing if missing > _ROUNDING and not self.rise else 0.0


def check_balance(readings: Sequence[tuple[float, float]], costs: Iterable[tuple[float, float]]) -> BalanceCheck | None:
    """Compare readings of the balance with costs: pairs of a time and credits. None without two readings.

    The readings are in order of time. The first may have been earlier than its time says, and none may have been later.
    """
    if len(readings) < 2:  # noqa: PLR2004 (a decrease needs two)
        return None
    since, until = readings[0][0], readings[-1][0]
    steps = [after - before for (_, before), (_, after) in pairwise(readings)]
    return BalanceCheck(
        since=since,
        until=until,
        reported=sum(cost for at, cost in costs if since <= at <= until),
        decrease=sum(-step for step in steps if step < 0),
        rise=sum(step for step in steps if step > 0),
    )
