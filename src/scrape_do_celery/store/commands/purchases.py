"""Commands for purchases: the intent, the check before the send, the ledger, the purchases that the API rejected."""

from __future__ import annotations

import json
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from scrape_do_celery.rules.prices import encode_groups
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.store.request_inputs import targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.rules.prices import PriceGroup
    from scrape_do_celery.store.claims import Claim
    from scrape_do_celery.store.keys import Keys

#: Seconds after which a part that waits for a slot checks for itself. A slot that becomes free wakes the part before
#: that; the check serves a limit that was raised while no job ends and none is bought.
SLOT_RECHECK = 3600.0
#: Seconds after which other steps may take the same rejected purchases, if the first step dies; purchases that a step
#: takes.
_TAKEN_FOR, _AT_ONCE = 300, 100


class PurchaseStatus(StrEnum):
    """The status of a purchase in the ledger."""

    OPEN = "open"  #: the `POST` is in progress, or in doubt
    CONFIRMED = "confirmed"  #: the API answered with the job
    ADOPTED = "adopted"  #: the answer was lost; the job was found
    NOT_FOUND = "not_found"  #: the answer was lost; no such job was found
    IN_DOUBT = "in_doubt"  #: the answer was lost; the part ended, and the job may exist
    VOID = "void"  #: certainly not taken; the ledger drops the line


#: The statuses of purchases whose job may exist although no search found it.
UNRESOLVED = frozenset({PurchaseStatus.NOT_FOUND, PurchaseStatus.IN_DOUBT})


class IntentVerdict(StrEnum):
    """The verdict on a request to write an intent. With any verdict but `OK`, the `POST` must not be sent."""

    OK = "ok"  #: the intent is written
    STALE = "stale"  #: another step holds the part
    STOP_REQUESTED = "stop_reason"  #: the run has a stop request
    SKIP_UNSENT = "skip_unsent"  #: the run sends no more parts
    TARGETS_LOCKED = "targets_locked"  #: another part buys the same targets now
    NO_SLOT = "no_slot"  #: as many jobs run as may run
    OVER_BUDGET = "over_budget"  #: a budget refuses the price; the part waits, unless the refusal is final
    DURABILITY_PENDING = "durability_pending"  #: the store has just ceased to be durable
    MAYBE_SENT = "maybe_sent"  #: an earlier intent may have been lost, or a delivery has proven an earlier purchase
    UNSENT = "unsent"  #: the part was certainly not sent, and the caller will not send it


class SendVerdict(StrEnum):
    """The verdict of the check right before the `POST` is sent."""

    OK = "ok"
    LEASE_LOST = "lease_lost"  #: the claim is stale
    STOP_REQUESTED = "stop_requested"  #: the run has a stop request
    BOUGHT_BEFORE = "bought_before"  #: a delivery has proven an earlier purchase of the part


@dataclass(frozen=True, slots=True)
class SendCheck:
    """The reply to the check before the send. `seconds` are left of the submit's lease; 0 with a verdict but `OK`."""

    verdict: SendVerdict
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Purchase:
    """A `POST` that was taken, or may have been. `at` is by the store's clock. `job_id` is None if no job is known."""

    part_id: PartId
    sequence: int
    at: float
    status: PurchaseStatus
    targets: int
    estimated_credits: float
    job_id: str | None
    credits: float
    outcome: str | None
    tags: tuple[str, ...] = ()
    label: str | None = None
    hosts: str = ""

    @classmethod
    def parse(cls, field: str, line: str) -> Purchase:
        """Parse the line that `write_ledger` of lib/ledger.lua wrote."""
        part_id, _, sequence = field.rpartition(":")
        at, status, targets, estimated_credits, job_id, cost, outcome, *more = line.split(" ")
        # A line of an older version ends earlier.
        tags, label, hosts = [*more, "", "", ""][:3]
        return cls(
            PartId.parse(part_id),
            int(sequence),
            float(at),
            PurchaseStatus(status),
            int(targets),
            float(estimated_credits),
            job_id or None,
            float(cost),
            outcome or None,
            tuple(filter(None, tags.split(","))),
            unquote(label) or None,
            json.loads(f'"{unquote(hosts)}"'),
        )


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


@dataclass(frozen=True, slots=True)
class CheckBeforeSend(Command[SendCheck]):
    """Check fence, lease and stop request once more, right before the bytes of the `POST` leave."""

    claim: Claim
    script = "check_before_send"

    def encode(self, keys: Keys) -> Encoded:
        part_id = self.claim.part_id
        return Encoded((self.claim.part.fence, keys.prefix), [keys.part(part_id), keys.run(part_id.run_id)])

    def decode(self, keys: Keys, reply: Any) -> SendCheck:
        return SendCheck(SendVerdict(reply[0].decode()), *map(float, reply[1:]))


@dataclass(frozen=True, slots=True)
class WriteIntent(Command[tuple[IntentVerdict, str]]):
    """Write the intent to buy, and reserve its price in each budget that the part falls under.

    The result is the verdict, with the time of the intent or what explains the verdict: `parse_refusal` reads why a
    budget refuses the price. `groups` are the tasks of the part with their prices. `if_over_budget` tells whether a
    part waits for the budget of a day or a month ("wait"), or fails ("fail").
    `durable_process` is the id of the server process that loses no write at a restart, if there is one. A queued part
    of such a store was certainly never sent.
    At most `limit` jobs may run at a time. A part beyond them waits for a job slot, and is due when it has a slot.
    `digests` are the digests of the claim's targets, if the caller has them. Unless `will_send`, no intent is written:
    the part is about to end without a `POST`, and only a part that may have been sent before changes. `has_webhook`
    tells that the `POST` carries our webhook.
    """

    claim: Claim
    nonce: str
    seconds: float
    _: KW_ONLY
    account: str = ""
    groups: Sequence[PriceGroup] = ()
    if_over_budget: str = "wait"
    marker: str = ""
    durable_process: str = ""
    limit: int | None = None
    will_send: bool = True
    digests: PartDigests | None = None
    has_webhook: bool = False
    script = "write_intent"

    def encode(self, keys: Keys) -> Encoded:
        claim, digests = self.claim, self.digests or digest_claim(self.claim)
        return Encoded(
            (
                *(str(claim.part_id), claim.part.fence, self.nonce, self.seconds),
                *(keys.prefix, self.account, encode_groups(self.groups), self.marker, self.durable_process),
                *("" if self.limit is None else self.limit, SLOT_RECHECK, "1" if self.will_send else ""),
                *map(" ".join, (digests.strict, digests.coarse)),
                *(self.if_over_budget, "1" if self.has_webhook else ""),
            ),
            [keys.part(claim.part_id), keys.run(claim.part_id.run_id), keys.due],
        )

    def decode(self, keys: Keys, reply: Any) -> tuple[IntentVerdict, str]:
        return IntentVerdict(reply[0].decode()), reply[1].decode() if len(reply) > 1 else ""


@dataclass(frozen=True, slots=True)
class ReadLedgerDay(Command[list[Purchase]]):
    """Read the purchases of a day, which is counted from the epoch, in no order."""

    day: int

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HGETALL", keys.ledger(self.day)))

    def decode(self, keys: Keys, reply: Any) -> list[Purchase]:
        return [Purchase.parse(field.decode(), line.decode()) for field, line in reply.items()]


@dataclass(frozen=True, slots=True)
class NoteRejected(Command[int]):
    """Note a rejected purchase, so that a step searches the job list for its job after `seconds`."""

    account: str
    purchase: RejectedPurchase
    seconds: float
    script = "note_rejected"

    def encode(self, keys: Keys) -> Encoded:
        entry, _, _ = str(self.purchase).rpartition(" ")
        return Encoded((entry, self.seconds), [keys.rejected(self.account), keys.part(self.purchase.part_id)])

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply)


@dataclass(frozen=True, slots=True)
class HasRejected(Command[bool]):
    """Tell whether the account has rejected purchases whose jobs must be searched for, now or later."""

    account: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("EXISTS", keys.rejected(self.account)))

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class TakeRejected(Command[list[RejectedPurchase]]):
    """Take the rejected purchases whose search is due."""

    account: str
    script = "take_rejected"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((_TAKEN_FOR, _AT_ONCE), [keys.rejected(self.account)])

    def decode(self, keys: Keys, reply: Any) -> list[RejectedPurchase]:
        return [RejectedPurchase.parse(one.decode()) for one in reply]


@dataclass(frozen=True, slots=True)
class DropRejected(Command[int]):
    """Delete rejected purchases whose jobs were searched for."""

    account: str
    purchases: Sequence[RejectedPurchase]

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("ZREM", keys.rejected(self.account), *map(str, self.purchases)))

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply)


def digest_claim(claim: Claim) -> PartDigests:
    """Return the digests of a claimed part's targets."""
    return PartDigests.from_targets(targets_of(claim.spec().request))
