"""Taking parts: what is due, the lease, and the end of a part that nobody survives."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import PoisonedRunError
from scrape_do_celery.polling import RETENTION
from scrape_do_celery.store.buying import LONGEST_PROBE, PROBE
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.due import Due
from scrape_do_celery.store.records import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrape_do_celery.store.keys import Keys, PartId

#: How long a step message may stay unheard before the dispatcher publishes again; it grows to the second figure.
REDISPATCH_MIN, REDISPATCH_MAX = 5.0, 300.0
#: Parts a message, at most.
PARTS_PER_MESSAGE = 50


@dataclass(frozen=True, slots=True)
class PoisonPolicy:
    """When a part is taken out of work: after so many claims without progress. `stop`: unsent parts stay unsent."""

    after: int
    skip_unsent: bool

    def error(self, part_id: PartId) -> str:
        """What such a part ends with."""
        why = f"{self.after} steps on it died in a row; its ledger says what was bought"
        text = f"run {part_id.run_id} was taken out of work: {why}"
        return json.dumps(PoisonedRunError(text, part_id.run_id).to_json())


@dataclass(frozen=True, slots=True)
class PoisonedPart:
    """A part that was taken out of work instead of being claimed; how many parts of its run are left."""

    left: int


@dataclass(frozen=True, slots=True)
class NeedsAccount:
    """A part that waits for a worker with another token: the one that it was bought with."""

    account: str


@dataclass(frozen=True, slots=True)
class NeedsKey:
    """A part that waits for a worker with another encryption key, by its name."""

    key: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A part whose last claim died. Only a process that works on nothing else may claim it."""


def claim_due(keys: Keys, *, limit: int, cap: int) -> Command[Due]:
    """What is to be dispatched now, at most `limit`, while at most `cap` step messages are under way."""
    args = (keys.prefix, limit, cap, REDISPATCH_MIN, REDISPATCH_MAX, PARTS_PER_MESSAGE)
    return Command(Due.parse, args, [keys.due, keys.dispatched, keys.content_expiry, keys.queue_delay], "claim_due")


def claim_part(  # noqa: PLR0913 (one argument a condition)
    keys: Keys,
    part_id: PartId,
    token: str,
    *,
    seconds: float,
    states: Iterable[str],
    account: str = "",
    auth_grace: float = 900.0,
    poison: PoisonPolicy | None = None,
    isolated: bool = False,
    outlived: str = "",
) -> Command[Claim | PoisonedPart | NeedsAccount | NeedsKey | Suspect | None]:
    """The part, leased; None where it is not this step's turn.

    A part that was claimed too often without progress is ended instead. `isolated`: the process works on nothing else.
    `outlived` is the token of an earlier claim: its step failed, and its process lives.
    """
    part_keys = [
        keys.part(part_id.run_id, part_id.part),
        keys.run(part_id.run_id),
        keys.due,
        keys.dispatched,
        keys.pause,
    ]
    args = (
        *(str(part_id), part_id.part, token, seconds, f" {' '.join(states)} "),
        *(account, auth_grace, PROBE, LONGEST_PROBE),
        *(("", "", "") if poison is None else (poison.after, poison.error(part_id), "1" if poison.skip_unsent else "")),
        *(keys.prefix, REDISPATCH_MIN, RETENTION, " ".join(keys.key_names)),
        *("1" if isolated else "", outlived),
    )
    return Command(partial(_claimed, keys, part_id), args, [*part_keys, keys.breaker(account)], "claim_part")


def renew_lease(keys: Keys, claim: Claim, seconds: float) -> Command[bool]:
    """Whether the lease is still held, and now for `seconds` more."""
    return Command(
        bool, (claim.part.fence, seconds), [keys.part(claim.part_id.run_id, claim.part_id.part)], "renew_lease"
    )


def _claimed(
    keys: Keys, part_id: PartId, reply: Sequence[Any]
) -> Claim | PoisonedPart | NeedsAccount | NeedsKey | Suspect | None:
    if reply[0] == b"poisoned":
        return PoisonedPart(int(reply[1]))
    if reply[0] == b"needs_account":
        return NeedsAccount(reply[1].decode())
    if reply[0] == b"needs_key":
        return NeedsKey(reply[1].decode())
    if reply[0] == b"suspect":
        return Suspect()
    return Claim.parse(part_id, reply, keys) if reply[0] == b"ok" else None
