"""Commands that hand out due entries, claim parts, and renew leases; the policy for poisoned parts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import PoisonedRunError
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.store.buying import LONGEST_PROBE, PROBE
from scrape_do_celery.store.command import Command
from scrape_do_celery.store.due import Due
from scrape_do_celery.store.records import Claim

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scrape_do_celery.store.keys import Keys, PartId

#: Seconds until the dispatcher publishes again for a part that no step has claimed. The interval grows from the first
#: number to the second.
REDISPATCH_MIN, REDISPATCH_MAX = 5.0, 300.0
#: Parts of a step message, at most.
PARTS_PER_MESSAGE = 50


@dataclass(frozen=True, slots=True)
class PoisonPolicy:
    """The policy for poisoned parts: a part is taken out of work after `after` claims without progress.

    With `skip_unsent`, the unsent parts of its run are not sent any more.
    """

    after: int
    skip_unsent: bool

    def error(self, part_id: PartId) -> str:
        """Return the error of a poisoned part as JSON."""
        why = f"{self.after} steps on it died in a row; its ledger says what was bought"
        text = f"run {part_id.run_id} was taken out of work: {why}"
        return json.dumps(PoisonedRunError(text, part_id.run_id).to_json())


@dataclass(frozen=True, slots=True)
class PoisonedPart:
    """The reply for a part that was taken out of work instead of being claimed. `left` counts live parts of its run."""

    left: int


@dataclass(frozen=True, slots=True)
class NeedsAccount:
    """The reply for a part that waits for a worker with the token of `account`, which bought its job."""

    account: str


@dataclass(frozen=True, slots=True)
class NeedsKey:
    """The reply for a part that waits for a worker with another encryption key. `key` is the name of that key."""

    key: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """The reply for a part whose last claim died. Only a process that works on nothing else may claim it."""


def claim_due(keys: Keys, *, limit: int, cap: int) -> Command[Due]:
    """Hand out at most `limit` due parts and runs, while at most `cap` step messages are in flight."""
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
    """Claim a part for one step. Return None if the part is gone, not due, paused, held, or in another state.

    A part that was claimed too often without progress is ended instead, by the policy `poison`. `isolated` tells that
    this process works on nothing else. `outlived` is the token of an earlier claim whose step failed while its process
    lived. An open breaker holds runs back for `auth_grace` seconds.
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
    """Renew the lease of a claim for `seconds` from now on. Return whether the claim still holds it."""
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
    return Claim.from_reply(part_id, reply, keys) if reply[0] == b"ok" else None
