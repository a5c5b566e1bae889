"""Commands that tell which part owns a job of the API, or may own it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.commands.arguments import START
from scrape_do_celery.store.part_ids import PartId

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.rules.targets import PartDigests
    from scrape_do_celery.store.claims import Claim
    from scrape_do_celery.store.keys import Keys

#: The store remembers at most this number of jobs of an account that no run owns.
_REMEMBERED_JOBS = 20_000


@dataclass(frozen=True, slots=True)
class UnresolvedPart:
    """A part that may have bought a job that no run owns yet."""

    part_id: PartId
    fingerprint: str
    targets: int


@dataclass(frozen=True, slots=True)
class JobOwnership:
    """The ownership of a job.

    Attributes:
        owner: The live part that owns the job.
        previous_owner: The part that owned the job, and has ended.
        claimant: The part with an unresolved purchase that may have bought the job.
        searched_by: The parts that searched for a job with the same targets, and did not find it in time.
    """

    owner: PartId | None = None
    previous_owner: PartId | None = None
    claimant: PartId | None = None
    searched_by: tuple[PartId, ...] = ()


@dataclass(frozen=True, slots=True)
class UnresolvedPurchases:
    """Purchases of other parts that may have bought an unknown job: by equal targets, and by similar targets."""

    equal: tuple[PartId, ...]
    #: The number of parts with similar targets. Parts with equal targets are among them.
    similar: int
    #: Whether the store may have lost purchases since the part's own.
    may_lack_some: bool


@dataclass(frozen=True, slots=True)
class ReadJobOwners(Command[list[str | None]]):
    """Read the id of the part that owns each job, as text; None for a job that no run owns."""

    job_ids: Sequence[str]

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("MGET", *map(keys.owner, self.job_ids)))

    def decode(self, keys: Keys, reply: Any) -> list[str | None]:
        return [None if one is None else one.decode() for one in reply]


@dataclass(frozen=True, slots=True)
class ReadJobOwnership(Command[JobOwnership]):
    """Read the ownership of a job. The purchases of claimants have targets with the same `coarse` digest."""

    account: str
    job_id: str
    coarse: str = ""
    script = "read_job_ownership"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((keys.prefix, self.account, self.coarse), [keys.owner(self.job_id)])

    def decode(self, keys: Keys, reply: Any) -> JobOwnership:
        owner, claimant = _parse_optional(reply[0]), _parse_optional(reply[2])
        searched_by = tuple(PartId.parse(text.decode()) for text in reply[3].split())
        return JobOwnership(None if reply[1] else owner, owner if reply[1] else None, claimant, searched_by)


@dataclass(frozen=True, slots=True)
class ScanUnresolvedParts(Command[tuple[str, list[UnresolvedPart]]]):
    """Scan one page of the parts of all accounts whose purchase is unresolved. The result: next cursor and page.

    A part that stays unresolved during the whole scan is never left out.
    """

    cursor: str = START
    script = "scan_unresolved_parts"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((keys.prefix, self.cursor), [keys.due])

    def decode(self, keys: Keys, reply: Any) -> tuple[str, list[UnresolvedPart]]:
        cursor, *rows = reply
        found = [
            UnresolvedPart(PartId.parse(part_id.decode()), fingerprint.decode(), int(total))
            for part_id, fingerprint, total in rows
        ]
        return cursor.decode(), found


@dataclass(frozen=True, slots=True)
class NoteUnowned(Command[list[int]]):
    """Note jobs that no run owns. The result: the position of each job's first sighting in the order of all intents."""

    account: str
    job_ids: Sequence[str]
    script = "note_unowned"

    def encode(self, keys: Keys) -> Encoded:
        names = (job_id.lower() for job_id in self.job_ids)
        return Encoded((keys.prefix, _REMEMBERED_JOBS, *names), [keys.unowned(self.account)])

    def decode(self, keys: Keys, reply: Any) -> list[int]:
        return [int(float(position)) for position in reply]


@dataclass(frozen=True, slots=True)
class ReadUnresolvedPurchases(Command[UnresolvedPurchases]):
    """Read the unresolved purchases of other parts whose targets are like those of the claimed part.

    Purchases behind the position `sighted` in the order are left out: they began after the job was seen.
    """

    claim: Claim
    account: str
    digests: PartDigests
    sighted: int
    script = "read_unresolved_purchases"

    def encode(self, keys: Keys) -> Encoded:
        part_id, digests = self.claim.part_id, self.digests
        return Encoded(
            (str(part_id), keys.prefix, self.account, " ".join(digests.strict), self.sighted, *digests.coarse),
            [keys.part(part_id)],
        )

    def decode(self, keys: Keys, reply: Any) -> UnresolvedPurchases:
        equal = tuple(PartId.parse(one.decode()) for one in reply[0].split())
        return UnresolvedPurchases(equal, int(reply[1]), reply[2] == b"1")


@dataclass(frozen=True, slots=True)
class ScanConflictingParts(Command[tuple[str, str]]):
    """Scan one page of the live parts. The result is the next cursor and a conflicting part, or an empty text.

    A conflicting part has the same targets, other options and no job. If the store lost writes, it may have bought
    the job that this part finds. A part that stays in the store during the whole scan is never left out.
    """

    claim: Claim
    digests: PartDigests
    cursor: str = START
    script = "scan_conflicting_parts"

    def encode(self, keys: Keys) -> Encoded:
        part_id = self.claim.part_id
        return Encoded(
            (str(part_id), keys.prefix, self.cursor, " ".join(self.digests.strict)),
            [keys.run(part_id.run_id), keys.due],
        )

    def decode(self, keys: Keys, reply: Any) -> tuple[str, str]:
        return reply[0].decode(), reply[1].decode()


def _parse_optional(text: bytes) -> PartId | None:
    return PartId.parse(text.decode()) if text else None
