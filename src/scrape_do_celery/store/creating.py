"""Commands that create a run, reserve its idempotency key, and accept a draft."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from scrape_do_celery.models.urls import strict_digest
from scrape_do_celery.rules.states import CANCEL, outcome_of_stop
from scrape_do_celery.store.claiming import REDISPATCH_MIN
from scrape_do_celery.store.command import Command, Value
from scrape_do_celery.store.encryption import encryption_key_name
from scrape_do_celery.store.options import RunSpec, targets_of
from scrape_do_celery.store.records import VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.store.keys import Keys

#: Returned instead of the number of parts, if the run was freed by `forget`.
FORGOTTEN = -1
#: Seconds for which an id is reserved for a key; seconds within which a message may be redelivered.
_RESERVED_FOR, _AGAIN = 86400, 7 * 86400


class CreateResult(StrEnum):
    """The result of a request to create a run."""

    CREATED = "created"
    EXISTS = "exists"
    RESERVED = "reserved"  #: nothing was written: the run of the key must have the id that was reserved
    FORGOTTEN = "forgotten"  #: nothing was written: the run of this id has ended and was freed
    WAITING = "waiting"  #: a draft was written, which waits for the end of the run of an earlier tick
    TICK_SKIPPED = "tick_skipped"  #: nothing was written: the run of an earlier tick is still live


@dataclass(frozen=True, slots=True)
class Created:
    """The reply to a request to create a run.

    `run_id` is the run that has the key, the id or the tick. If the tick was skipped, it is the live run, or empty if
    the tick was skipped before.
    """

    run_id: str
    digest: str
    result: CreateResult

    @property
    def new(self) -> bool:
        """Whether this request created the run."""
        return self.result in {CreateResult.CREATED, CreateResult.WAITING}


@dataclass(frozen=True, slots=True)
class ScheduleTick:
    """A tick of a schedule. `if_running` tells what to do if the run of an earlier tick is live."""

    name: str
    tick: str
    if_running: str


def create_run(  # noqa: PLR0913 (one argument a field)
    keys: Keys,
    run_id: str,
    spec: RunSpec,
    *,
    key: str | None = None,
    waiter: str | None = None,
    signature: str = "",
    start_delay: float | None = None,
    expires: float | None = None,
    trace: str = "",
    tick: ScheduleTick | None = None,
) -> Command[Created]:
    """Create a run with its parts, or find the run that has this id, this idempotency key or this tick.

    With `start_delay`, create a draft, which a message accepts. If no message has accepted it after `start_delay`
    seconds, the dispatcher does, unless `expires` seconds have passed by then. The run of a `tick` is a draft only if
    it waits for another run. `waiter` is the first Celery id that waits for the outcome; by default it is `run_id`.
    `trace` is the context that the run's spans belong to.
    """
    parts = spec.parts()
    options, targets = spec.packed()
    sizes: list[Value] = []
    for part in parts:
        sizes += [part.size, strict_digest(targets_of(part))]
    key_of_run, waiter = keys.run(run_id), waiter or run_id
    private = {"spec": options, **{f"targets:{n}": field for n, field in enumerate(targets)}}
    fields: dict[str, Value] = {"v": VERSION}
    fields |= {name: keys.encrypt(key_of_run, name, value) for name, value in private.items()}
    if keys.key_names:
        # The same options look different each time they are encrypted. Their digest shows that they are equal.
        fields |= {"key": keys.key_names[0], "options_digest": hashlib.sha256(options).hexdigest()[:32]}
    if spec.early:
        fields["early"] = 1
    if expires is not None:
        fields["expires_in"] = expires
    if trace:
        fields["trace"] = trace
    if shown := spec.request_summary(hosts=not keys.key_names):
        fields["summary"] = json.dumps(shown, separators=(",", ":"))
    return Command(
        lambda reply: _created(reply, spec.digest),
        [
            *(run_id, keys.prefix, spec.digest, REDISPATCH_MIN, "" if spec.max_wait is None else spec.max_wait),
            *(f"{run_id} {spec.digest}", waiter, keys.encrypt_text(key_of_run, f"waiter:{waiter}", signature)),
            *(
                "" if start_delay is None else start_delay + REDISPATCH_MIN,
                tick.if_running if tick else "",
                outcome_of_stop(CANCEL),
            ),
            tick.tick if tick else "",
            *(len(parts), *sizes, *flat(fields)),
        ],
        [
            *(key_of_run, keys.due),
            *((keys.idempotency(key), keys.reservation(key)) if key else ("", "")),
            *((keys.tick(tick.name, tick.tick), keys.schedule(tick.name)) if tick else ()),
        ],
        "create_run",
    )


def reserve_key(keys: Keys, key: str, run_id: str, digest: str) -> Command[Created]:
    """Find the run of an idempotency key, or reserve an id for it.

    If the key has no run, the result has the id that a run of the request `digest` must have. The id is `run_id`,
    unless another id was reserved for the same request before.
    """
    args, redis_keys = (run_id, digest, _RESERVED_FOR), [keys.idempotency(key), keys.reservation(key)]
    return Command(lambda reply: _created(reply, digest), args, redis_keys, "reserve_key")


def assign_tick(keys: Keys, message_id: str, tick: str) -> Command[str]:
    """Assign a tick to a message that names none. Return the tick that was first assigned to it."""
    return Command(bytes.decode, (tick, _AGAIN), [keys.message_tick(message_id)], "claim_once")


def accept_run(
    keys: Keys, run_id: str, waiter: str = "", signature: str = "", *, keep_draft: bool = False
) -> Command[int]:
    """Accept a draft, unless `keep_draft` is set, and add a waiter.

    Return the number of parts; 0 if the run does not exist, `FORGOTTEN` if it has ended and was freed.
    """
    kept = keys.encrypt_text(keys.run(run_id), f"waiter:{waiter}", signature)
    args = (run_id, keys.prefix, REDISPATCH_MIN, waiter, kept, "1" if keep_draft else "", encryption_key_name(keys))
    return Command(_accepted, args, [keys.run(run_id), keys.due], "accept_run")


def flat(fields: Mapping[str, Value]) -> list[Value]:
    """Return names and values in turn, as scripts take them."""
    return [one for pair in fields.items() for one in pair]


def _accepted(reply: Sequence[bytes]) -> int:
    return int(reply[1]) if reply[0] == b"ok" else FORGOTTEN if reply[0] == b"forgotten" else 0


def _created(reply: Sequence[bytes], digest: str) -> Created:
    text, run_id = (one.decode() for one in reply)
    result = CreateResult(text)
    if result is CreateResult.EXISTS:
        run_id, _, digest = run_id.rpartition(" ")
    return Created(run_id, digest, result)
