"""Whose a job of the API is: the operations that only look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from scrape_do_celery.store.buying import START
from scrape_do_celery.store.keys import Member
from scrape_do_celery.store.op import Op

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from scrape_do_celery.store.keys import Keys


@dataclass(frozen=True, slots=True)
class Suspect:
    """A part that may have bought a job which no run owns yet."""

    member: Member
    fingerprint: str
    targets: int


@dataclass(frozen=True, slots=True)
class Standing:
    """Who has to do with a job: the part that owns it, or owned it until its end; and the one that may yet own it.

    `seekers` looked for a job with its targets, and did not find it in their time.
    """

    owner: Member | None = None
    former: Member | None = None
    suitor: Member | None = None
    seekers: tuple[Member, ...] = ()


def whose(keys: Keys, account: str, job_id: str, coarse: str = "") -> Op[Standing]:
    """Whose a job is. A suitor's purchase of similar targets, by their coarse digest, is not resolved."""
    return Op(_standing, (keys.prefix, account, coarse), [keys.owner(job_id)], "whose")


def _standing(reply: Sequence[bytes]) -> Standing:
    owner, suitor = _member(reply[0]), _member(reply[2])
    seekers = tuple(Member.parse(text.decode()) for text in reply[3].split())
    return Standing(None if reply[1] else owner, owner if reply[1] else None, suitor, seekers)


def suspects(keys: Keys, cursor: str = START) -> Op[tuple[str, list[Suspect]]]:
    """Some suspects, of any account, and the cursor for the next. None that is suspect all the while is left out."""
    return Op(_suspects, (keys.prefix, cursor), [keys.due], "suspects")


def _suspects(reply: Sequence[Any]) -> tuple[str, list[Suspect]]:
    found = [
        Suspect(Member.parse(member.decode()), fingerprint.decode(), int(total))
        for member, fingerprint, total in reply[1:]
    ]
    return reply[0].decode(), found


def _member(text: bytes) -> Member | None:
    return Member.parse(text.decode()) if text else None
