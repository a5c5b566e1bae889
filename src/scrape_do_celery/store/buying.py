"""The commands around a purchase: the intent, the check before the send, unresolved ones, breaker, ledger."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scrape_do_celery.polling import RETENTION
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.keys import PartId
from scrape_do_celery.store.options import targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.records import Claim

#: The cursor of a scan, before the first and behind the last.
START = "0"
#: Seconds until an account whose token was refused is tried again; it doubles to the second figure.
PROBE, LONGEST_PROBE = 1.0, 60.0
#: What `guard` answers where the `POST` must not leave.
LEASE_LOST, STOP_REQUESTED = -1.0, -2.0


class PurchaseStatus(StrEnum):
    """What the ledger says of a purchase."""

    OPEN = "open"  #: the `POST` is under way, or in doubt
    CONFIRMED = "confirmed"  #: the API answered with the job
    ADOPTED = "adopted"  #: the answer was lost; the job was found
    NOT_FOUND = "not_found"  #: the answer was lost; no such job was found
    IN_DOUBT = "in_doubt"  #: the answer was lost; it was never known whether there is a job
    VOID = "void"  #: certainly not taken: struck out


#: Jobs of an account that no run owns and that are remembered.
_REMEMBERED_JOBS = 20_000
#: Purchases that may exist although nobody found them.
UNRESOLVED = frozenset({PurchaseStatus.NOT_FOUND, PurchaseStatus.IN_DOUBT})


#: Seconds after which a part that waits for a slot checks for itself. A slot that becomes free wakes the part before
#: that; the check serves a limit that was raised while no job ends and none is bought.
SLOT_RECHECK = 3600.0


@dataclass(frozen=True, slots=True)
class Purchase:
    """A `POST` that was taken, or may have been. `at` is by the store's clock, `job_id` None where none is known."""

    part_id: PartId
    sequence: int
    at: float
    status: PurchaseStatus
    targets: int
    estimated_credits: int
    job_id: str | None
    credits: float
    outcome: str | None

    @classmethod
    def parse(cls, field: str, line: str) -> Purchase:
        """The purchase that `write_ledger` of lib/ledger.lua wrote."""
        part_id, _, sequence = field.rpartition(":")
        at, status, targets, estimated_credits, job_id, cost, outcome = line.split(" ")
        return cls(
            PartId.parse(part_id),
            int(sequence),
            float(at),
            PurchaseStatus(status),
            int(targets),
            int(estimated_credits),
            job_id or None,
            float(cost),
            outcome or None,
        )


def check_before_send(keys: Keys, claim: Claim) -> Command[float]:
    """Seconds left of a submit's lease; `LEASE_LOST`, or `UNWANTED` where the run is to end."""
    return Command(
        float, (claim.part.fence,), [_part(keys, claim), keys.run(claim.part_id.run_id)], "check_before_send"
    )


def write_intent(  # noqa: PLR0913 (one argument a thing that is written down)
    keys: Keys,
    claim: Claim,
    nonce: str,
    seconds: float,
    *,
    account: str = "",
    estimated_credits: int = 0,
    marker: str = "",
    durable: bool = True,
    limit: int | None = None,
    digests: PartDigests | None = None,
) -> Command[tuple[str, str]]:
    """`("ok", when)` once the intent to buy is written; else why the `POST` must not be made.

    `durable`: a restart of the store loses no write, so that a part which is queued was never sent. `limit` jobs may
    run at a time; a part beyond them waits for a slot, and is due when it has one. `digests` are those of the claim's
    targets, if the caller has them.
    """
    digests = digests or digests_of(claim)
    return Command(
        lambda r: (r[0].decode(), r[1].decode() if len(r) > 1 else ""),
        (
            *(str(claim.part_id), claim.part.fence, nonce, seconds),
            *(
                keys.prefix,
                account,
                estimated_credits,
                marker,
                "1" if durable else "",
                "" if limit is None else limit,
                SLOT_RECHECK,
            ),
            *map(" ".join, (digests.strict, digests.coarse, digests.previous)),
        ),
        [_part(keys, claim), keys.run(claim.part_id.run_id), keys.due],
        "write_intent",
    )


@dataclass(frozen=True, slots=True)
class UnresolvedPurchases:
    """Purchases of other parts that may have bought an unknown job, by how far their targets are those of a part."""

    equal: tuple[PartId, ...]
    #: Parts with similar targets, those with equal ones among them.
    similar: int
    #: Whether the store may have lost purchases since the part's own.
    may_lack_some: bool


def read_unresolved_purchases(
    keys: Keys, claim: Claim, account: str, digests: PartDigests, sighted: int
) -> Command[UnresolvedPurchases]:
    """Read the unresolved purchases of other parts whose targets are like those of the claimed part.

    Purchases behind the place `sighted` in the order are left out: a job that was first seen there is not theirs.
    """
    named = (" ".join(digests.strict), digests.by_any_version)
    return Command(
        lambda r: UnresolvedPurchases(
            tuple(PartId.parse(one.decode()) for one in r[0].split()), int(r[1]), r[2] == b"1"
        ),
        (str(claim.part_id), keys.prefix, account, *named, sighted, *digests.coarse),
        [_part(keys, claim)],
        "read_unresolved_purchases",
    )


def scan_conflicting_parts(
    keys: Keys, claim: Claim, digests: PartDigests, cursor: str = START
) -> Command[tuple[str, str]]:
    """Scan one page of the live parts. Return the next cursor and a conflicting part, or an empty text.

    A conflicting part has the same targets, other options and no job. If the store lost writes, it may have bought
    the job that this part finds. A part that stays in the store during the whole scan is never left out.
    """
    return Command(
        lambda r: (r[0].decode(), r[1].decode()),
        (str(claim.part_id), keys.prefix, cursor, digests.by_any_version),
        [keys.run(claim.part_id.run_id), keys.due],
        "scan_conflicting_parts",
    )


def note_unowned(keys: Keys, account: str, job_ids: Sequence[str]) -> Command[list[int]]:
    """Note jobs that no run owns. Return for each its first sighting's place in the order of all intents."""
    return Command(
        lambda r: [int(float(place)) for place in r],
        (keys.prefix, int(RETENTION) + 86_400, _REMEMBERED_JOBS, *(job_id.lower() for job_id in job_ids)),
        [keys.unowned(account)],
        "note_unowned",
    )


def digests_of(claim: Claim) -> PartDigests:
    """Make the digests of a claimed part's targets."""
    return PartDigests.from_targets(targets_of(claim.spec().request))


def open_breaker(keys: Keys, account: str) -> Command[bool]:
    """Whether this was the first refusal of the account's token; its runs are held back from now on."""
    return Command(bool, (PROBE,), [keys.breaker(account)], "set_breaker")


def close_breaker(keys: Keys, account: str) -> Command[bool]:
    """Whether the account's runs were held back, and no longer are."""
    return Command(bool, ("",), [keys.breaker(account)], "set_breaker")


def owners(keys: Keys, jobs: Sequence[str]) -> Command[list[str | None]]:
    """Who owns each of some jobs: a part as text, None where no run does."""
    return Command(lambda r: [None if one is None else one.decode() for one in r], ("MGET", *map(keys.owner, jobs)))


def ledger(keys: Keys, day: int) -> Command[list[Purchase]]:
    """The purchases of one day, counted from the epoch, in no order."""
    return Command(
        lambda r: [Purchase.parse(field.decode(), line.decode()) for field, line in r.items()],
        ("HGETALL", keys.ledger(day)),
    )


def _part(keys: Keys, claim: Claim) -> str:
    return keys.part(claim.part_id.run_id, claim.part_id.part)
