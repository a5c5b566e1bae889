"""Commands that read which part owns a job of the API, or may own it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.store.buying import START
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.keys import PartId

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scrape_do_celery.store.keys import Keys


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


def read_job_ownership(keys: Keys, account: str, job_id: str, coarse: str = "") -> Command[JobOwnership]:
    """Read the ownership of a job. The purchases of claimants have targets with the same `coarse` digest."""
    return Command(_job_ownership, (keys.prefix, account, coarse), [keys.owner(job_id)], "read_job_ownership")


def _job_ownership(reply: Sequence[bytes]) -> JobOwnership:
    owner, claimant = _member(reply[0]), _member(reply[2])
    searched_by = tuple(PartId.parse(text.decode()) for text in reply[3].split())
    return JobOwnership(None if reply[1] else owner, owner if reply[1] else None, claimant, searched_by)


def scan_unresolved_parts(keys: Keys, cursor: str = START) -> Command[tuple[str, list[UnresolvedPart]]]:
    """Scan one page of the parts of all accounts whose purchase is unresolved. Return the next cursor and the page.

    A part that stays unresolved during the whole scan is never left out.
    """
    return Command(_unresolved_parts, (keys.prefix, cursor), [keys.due], "scan_unresolved_parts")


def _unresolved_parts(reply: Sequence[Any]) -> tuple[str, list[UnresolvedPart]]:
    found = [
        UnresolvedPart(PartId.parse(part_id.decode()), fingerprint.decode(), int(total))
        for part_id, fingerprint, total in reply[1:]
    ]
    return reply[0].decode(), found


def _member(text: bytes) -> PartId | None:
    return PartId.parse(text.decode()) if text else None
