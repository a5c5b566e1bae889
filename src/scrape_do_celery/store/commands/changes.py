"""Commands of the change feed: runs that changed and were not announced yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.commands.arguments import decode_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys

#: Seconds after which a run is handed out again, unless its change was acknowledged.
_AGAIN = 30.0


@dataclass(frozen=True, slots=True)
class ChangedRuns:
    """Changed runs, and the receipt that acknowledges them."""

    receipt: str
    run_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TakeChangedRuns(Command[ChangedRuns]):
    """Take up to `limit` changed runs. A live run is announced at most every five seconds, an ended run at once."""

    limit: int
    script = "take_changed_runs"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.limit, _AGAIN), [keys.changed])

    def decode(self, keys: Keys, reply: Any) -> ChangedRuns:
        receipt, *run_ids = decode_names(reply)
        return ChangedRuns(receipt, tuple(run_ids))


@dataclass(frozen=True, slots=True)
class CountChangedRuns(Command[int]):
    """Count the runs whose change may be announced at the time `until` of the store's clock."""

    until: float

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("ZCOUNT", keys.changed, "-inf", self.until))

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply)


@dataclass(frozen=True, slots=True)
class AcknowledgeChangedRuns(Command[int]):
    """Acknowledge announced runs, except runs that changed again after the receipt."""

    receipt: str
    run_ids: Sequence[str]
    script = "ack_changed_runs"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.receipt, *self.run_ids), [keys.changed])

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply)
