"""Commands for purchases: the intent, the check before the send, unresolved purchases, the breaker, the ledger."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.rules.targets import PartDigests
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.keys import PartId
from scrape_do_celery.store.options import targets_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.records import Claim

#: The cursor that begins a scan. A scan that is complete returns the same cursor.
START = "0"
#: Seconds between two probes of an account whose token was refused. The delay doubles from the first to the second.
PROBE, LONGEST_PROBE = 1.0, 60.0
#: Replies of `check_before_send` if the `POST` must not be sent: the claim is stale, or the run has a stop request.
LEASE_LOST, STOP_REQUESTED = -1.0, -2.0


class PurchaseStatus(StrEnum):
    """The status of a purchase in the ledger."""

    OPEN = "open"  #: the `POST` is in progress, or in doubt
    CONFIRMED = "confirmed"  #: the API answered with the job
    ADOPTED = "adopted"  #: the answer was lost; the job was found
    NOT_FOUND = "not_found"  #: the answer was lost; no such job was found
    IN_DOUBT = "in_doubt"  #: the answer was lost; the part ended, and the job may exist
    VOID = "void"  #: certainly not taken; the ledger drops the line


#: The store remembers at most this number of jobs of an account that no run owns.
_REMEMBERED_JOBS = 20_000
#: The statuses of purchases whose job may exist although no search found it.
UNRESOLVED = frozenset({PurchaseStatus.NOT_FOUND, PurchaseStatus.IN_DOUBT})


#: Seconds after which a part that waits for a slot checks for itself. A slot that becomes free wakes the part before
#: that; the check serves a limit that was raised while no job ends and none is bought.
SLOT_RECHECK = 3600.0


@dataclass(frozen=True, slots=True)
class Purchase:
    """A `POST` that was taken, or may have been. `at` is by the store's clock. `job_id` is None if no job is known."""

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
        """Parse the line that `write_ledger` of lib/ledger.lua wrote."""
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
    """Return the seconds that are left of a submit's lease.

    If the claim is stale, return `LEASE_LOST`. If the run has a stop request, return `STOP_REQUESTED`.
    """
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
    """Write the intent to buy. Return `("ok", time)`, or the reason why the `POST` must not be sent.

    `durable` tells that a restart of the store loses no write. A queued part of such a store was certainly never sent.
    At most `limit` jobs may run at a time. A part beyond them waits for a job slot, and is due when it has a slot.
    `digests` are the digests of the claim's targets, if the caller has them.
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
    """Purchases of other parts that may have bought an unknown job: by equal targets, and by similar targets."""

    equal: tuple[PartId, ...]
    #: The number of parts with similar targets. Parts with equal targets are among them.
    similar: int
    #: Whether the store may have lost purchases since the part's own.
    may_lack_some: bool


def read_unresolved_purchases(
    keys: Keys, claim: Claim, account: str, digests: PartDigests, sighted: int
) -> Command[UnresolvedPurchases]:
    """Read the unresolved purchases of other parts whose targets are like those of the claimed part.

    Purchases behind the position `sighted` in the order are left out: they began after the job was seen.
    """
    return Command(
        lambda r: UnresolvedPurchases(
            tuple(PartId.parse(one.decode()) for one in r[0].split()), int(r[1]), r[2] == b"1"
        ),
        (str(claim.part_id), keys.prefix, account, " ".join(digests.strict), sighted, *digests.coarse),
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
    """Note jobs that no run owns. Return the position of each job's first sighting in the order of all intents."""
    return Command(
        lambda r: [int(float(place)) for place in r],
        (keys.prefix, int(RETENTION) + 86_400, _REMEMBERED_JOBS, *(job_id.lower() for job_id in job_ids)),
        [keys.unowned(account)],
        "note_unowned",
    )


def digests_of(claim: Claim) -> PartDigests:
    """Return the digests of a claimed part's targets."""
    return PartDigests.from_targets(targets_of(claim.spec().request))


def open_breaker(keys: Keys, account: str) -> Command[bool]:
    """Open the breaker of an account, which holds its runs back. Return whether the breaker was closed before."""
    return Command(bool, (PROBE,), [keys.breaker(account)], "set_breaker")


def close_breaker(keys: Keys, account: str) -> Command[bool]:
    """Close the breaker of an account. Return whether the breaker was open before."""
    return Command(bool, ("",), [keys.breaker(account)], "set_breaker")


def owners(keys: Keys, jobs: Sequence[str]) -> Command[list[str | None]]:
    """Return the id of the part that owns each job, as text; None for a job that no run owns."""
    return Command(lambda r: [None if one is None else one.decode() for one in r], ("MGET", *map(keys.owner, jobs)))


def ledger(keys: Keys, day: int) -> Command[list[Purchase]]:
    """Return the purchases of a day, which is counted from the epoch, in no order."""
    return Command(
        lambda r: [Purchase.parse(field.decode(), line.decode()) for field, line in r.items()],
        ("HGETALL", keys.ledger(day)),
    )


def _part(keys: Keys, claim: Claim) -> str:
    return keys.part(claim.part_id.run_id, claim.part_id.part)
