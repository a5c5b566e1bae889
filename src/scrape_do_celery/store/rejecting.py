"""Commands for purchases that the API rejected: their jobs should not exist, and are searched for once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.store.command import Command
from scrape_do_celery.store.keys import PartId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.rules.targets import PartDigests
    from scrape_do_celery.store.keys import Keys

#: Seconds after which other steps may take the same purchases, if the first step dies; purchases that a step takes.
_TAKEN_FOR, _AT_ONCE = 300, 100


@dataclass(frozen=True, slots=True)
class RejectedPurchase:
    """A `POST` that the API rejected, with the digests of its targets.

    `at` is a time by the store's clock. `order` is the position of its intent in the order of all intents and first
    sightings of jobs.
    """

    part_id: PartId
    at: float
    strict: str
    coarse: str
    order: int = 0

    def __str__(self) -> str:
        return f"{self.part_id} {self.at:.4f} {self.strict} {self.coarse} {self.order}"

    @classmethod
    def of(cls, part_id: PartId, at: float, digests: PartDigests) -> RejectedPurchase:
        """Return the note of a part's purchase that was rejected at `at`."""
        return cls(part_id, at, digests.strict[0], digests.coarse[0])

    @classmethod
    def parse(cls, text: str) -> RejectedPurchase:
        """Parse the text that `str()` made."""
        part_id, at, strict, coarse, order = text.split(" ")
        return cls(PartId.parse(part_id), float(at), strict, coarse, int(order))


def note_rejected(keys: Keys, account: str, purchase: RejectedPurchase, seconds: float) -> Command[int]:
    """Note a rejected purchase, so that a step searches the job list for its job after `seconds`."""
    entry, _, _ = str(purchase).rpartition(" ")
    part = keys.part(purchase.part_id.run_id, purchase.part_id.part)
    return Command(int, (entry, seconds), [keys.rejected(account), part], "note_rejected")


def has_rejected(keys: Keys, account: str) -> Command[bool]:
    """Tell whether the account has rejected purchases whose jobs must be searched for, now or later."""
    return Command(bool, ("EXISTS", keys.rejected(account)))


def take_rejected(keys: Keys, account: str) -> Command[list[RejectedPurchase]]:
    """Take the rejected purchases whose search is due."""
    return Command(
        lambda r: [RejectedPurchase.parse(one.decode()) for one in r],
        (_TAKEN_FOR, _AT_ONCE),
        [keys.rejected(account)],
        "take_rejected",
    )


def drop_rejected(keys: Keys, account: str, purchases: Sequence[RejectedPurchase]) -> Command[int]:
    """Delete rejected purchases whose jobs were searched for."""
    return Command(int, ("ZREM", keys.rejected(account), *map(str, purchases)))
