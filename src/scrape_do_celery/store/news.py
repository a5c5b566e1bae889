"""Commands of the change feed: runs that changed and were not announced yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.store.command import Command

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrape_do_celery.store.keys import Keys

#: Seconds after which a run is handed out again, unless its change was acknowledged.
_AGAIN = 30.0


@dataclass(frozen=True, slots=True)
class ChangedRuns:
    """Changed runs, and the receipt that acknowledges them."""

    receipt: str
    run_ids: tuple[str, ...]


def take_changed_runs(keys: Keys, limit: int) -> Command[ChangedRuns]:
    """Take up to `limit` changed runs. A live run is announced at most every five seconds, an ended run at once."""
    return Command(_changed_runs, (limit, _AGAIN), [keys.changed], "take_changed_runs")


def acknowledge_changed_runs(keys: Keys, receipt: str, run_ids: Iterable[str]) -> Command[int]:
    """Acknowledge announced runs, except runs that changed again after the receipt."""
    return Command(int, (receipt, *run_ids), [keys.changed], "ack_changed_runs")


def _changed_runs(reply: Sequence[bytes]) -> ChangedRuns:
    receipt, *run_ids = (item.decode() for item in reply)
    return ChangedRuns(receipt, tuple(run_ids))
