"""Every operation on the store, as a value: which script or command, on which keys, and what the reply means.

Nothing here does I/O. `Store.run` and `AsyncStore.run` carry an operation out; each may be sent twice without harm.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from scrape_do_celery.models.urls import fingerprint
from scrape_do_celery.polling import RETENTION
from scrape_do_celery.store.buying import (
    LEASE_LOST,
    LONGEST_PROBE,
    PROBE,
    START,
    UNRESOLVED,
    UNWANTED,
    Booked,
    Purchase,
    close_breaker,
    doubts,
    guard,
    intent,
    ledger,
    open_breaker,
    owners,
    rivals,
)
from scrape_do_celery.store.claiming import LONGEST_RING, RING, Foreign, Poison, Poisoned, claim, claim_due, renew
from scrape_do_celery.store.codec import pack, pack_task
from scrape_do_celery.store.keys import Keys, Member
from scrape_do_celery.store.looks import clock, contents, fetched, forgotten, job, outcome, part_spec, spec, view
from scrape_do_celery.store.news import Moved, moved, told
from scrape_do_celery.store.op import Op, Value
from scrape_do_celery.store.records import VERSION, Claim
from scrape_do_celery.store.spec import RunSpec, targets_of
from scrape_do_celery.store.states import ended_by
from scrape_do_celery.store.watching import MOST, Share, look, seen, share, some, strangers, sweep, unseen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.models import JobDetails, TaskDetails

__all__ = [
    "FORGOTTEN",
    "LEASE_LOST",
    "LONGEST_PROBE",
    "LONGEST_RING",
    "MOST",
    "PROBE",
    "RING",
    "START",
    "UNRESOLVED",
    "UNWANTED",
    "Booked",
    "Created",
    "Foreign",
    "Lives",
    "Moved",
    "Op",
    "Poison",
    "Poisoned",
    "Purchase",
    "Share",
    "Value",
    "accept",
    "attempt",
    "claim",
    "claim_due",
    "clock",
    "close_breaker",
    "contents",
    "create",
    "decide",
    "delivered",
    "doubts",
    "fetched",
    "first",
    "follow",
    "forget",
    "forgotten",
    "guard",
    "held",
    "home",
    "intent",
    "job",
    "last_of",
    "ledger",
    "look",
    "moved",
    "open_breaker",
    "outcome",
    "owners",
    "part_spec",
    "pause",
    "put",
    "renew",
    "rivals",
    "seen",
    "set_last",
    "settle",
    "share",
    "size",
    "some",
    "spec",
    "strangers",
    "sweep",
    "told",
    "unseen",
    "update",
    "view",
    "wish",
]

#: Stands for the number of parts of a run that was freed by `forget`.
FORGOTTEN = -1


@dataclass(frozen=True, slots=True)
class Created:
    """What became of a request to write a run down."""

    run_id: str
    digest: str
    new: bool
    forgotten: bool = False


@dataclass(frozen=True, slots=True)
class Lives:
    """How long an ended run is kept, in seconds."""

    contents: int
    record: int
    idempotency: int


def create(  # noqa: PLR0913 (one argument a field)
    keys: Keys,
    run_id: str,
    spec: RunSpec,
    *,
    key: str | None = None,
    waiter: str | None = None,
    signature: str = "",
    hold: float | None = None,
    expires: float | None = None,
    trace: str = "",
) -> Op[Created]:
    """Writes a run and its parts; or finds the run that has this id or this idempotency key.

    With `hold` it is a draft, which a message is to bring to life; after so many seconds the ticker does, unless
    `expires` seconds have passed by then. `trace` is the context that the run's spans belong to.
    """
    parts = spec.parts()
    options, targets = spec.packed()
    flat: list[Value] = []
    for part in parts:
        flat += [part.size, fingerprint(targets_of(part))]
    fields: dict[str, Value] = {"v": VERSION, "spec": options, **{f"t:{n}": field for n, field in enumerate(targets)}}
    if spec.early:
        fields["early"] = 1
    if expires is not None:
        fields["expires_in"] = expires
    if trace:
        fields["trace"] = trace
    return Op(
        lambda reply: _created(reply, spec.digest),
        [
            *(run_id, keys.prefix, spec.digest, RING, "" if spec.max_wait is None else spec.max_wait),
            *(f"{run_id} {spec.digest}", waiter or run_id, signature, "" if hold is None else hold + RING),
            *(len(parts), *flat, *_flat(fields)),
        ],
        [keys.run(run_id), keys.due, keys.idempotency(key) if key else ""],
        "create",
    )


def held(keys: Keys, key: str) -> Op[Created | None]:
    """The run that an idempotency key has."""
    return Op(lambda reply: _created([b"exists", reply], "") if reply else None, ["GET", keys.idempotency(key)])


def follow(keys: Keys, run_id: str, before: str) -> Op[bool]:
    """Whether a draft waits for the end of another run from now on; not where that has ended."""
    return Op(bool, (before, run_id), [keys.run(before), keys.run(run_id)], "follow")


def last_of(keys: Keys, name: str) -> Op[str | None]:
    """The last run of a schedule."""
    return Op(lambda reply: reply.decode() if reply else None, ["GET", keys.schedule(name)])


def set_last(keys: Keys, name: str, run_id: str, life: int) -> Op[bool]:
    """Notes the last run of a schedule."""
    return Op(bool, ["SET", keys.schedule(name), run_id, "EX", life])


def accept(keys: Keys, run_id: str, waiter: str = "", signature: str = "", *, keep_draft: bool = False) -> Op[int]:
    """Makes a draft live, unless it is to be kept one, and adds a waiting Celery id.

    The number of parts; 0 where there is no such run, `FORGOTTEN` where it has ended and was freed.
    """
    args = (run_id, keys.prefix, RING, waiter, signature, "1" if keep_draft else "")
    return Op(_accepted, args, [keys.run(run_id), keys.due], "accept")


def update(  # noqa: PLR0913 (one argument a thing that changes)
    keys: Keys,
    claim: Claim,
    fields: Mapping[str, Value],
    *,
    after: float | None = None,
    job: JobDetails | None = None,
    owner: str | None = None,
    ring: float | None = None,
) -> Op[str]:
    """`ok`, `stale` or `owned`. With `after` the part is let go, to be looked at that many seconds later.

    Where that is at once, the caller rings for it; the ticker does so only when that bell stays unheard for `ring`
    seconds.
    """
    member, ring = claim.member, 0.0 if after else RING if ring is None else ring
    return Op(
        bytes.decode,
        [
            *(str(member), claim.part.fence, "" if after is None else after, ring),
            *(b"" if job is None else pack(job.model_dump(mode="json", by_alias=True)), "1" if claim.wish else ""),
            *(keys.prefix, RETENTION),
            *_flat(fields),
        ],
        [
            *(_part(keys, claim), keys.run(member.run_id), keys.due, keys.job(member.run_id, member.part)),
            keys.owner(owner) if owner else "",
        ],
        "update",
    )


def put(keys: Keys, member: Member, position: int, task: TaskDetails) -> Op[int]:
    """1 where the task was stored, 0 where it had been, -1 where its run is gone."""
    counter = "got_done" if task.is_success else "got_failed"
    return Op(
        int,
        (position, pack_task(task), counter, task.cost or 0, 1 if task.gone else 0, keys.prefix, member.run_id),
        [keys.contents(member.run_id, member.part), keys.part(member.run_id, member.part)],
        "put",
    )


def size(put_op: Op[int]) -> int:
    """Bytes that a `put` stores."""
    return len(cast("bytes", put_op.args[1]))


def settle(  # noqa: PLR0913 (one argument a thing that is written down)
    keys: Keys,
    claim: Claim,
    outcome: str,
    *,
    error: ScrapeDoError | None = None,
    stop: bool = False,
    booked: str = "",
) -> Op[int | None]:
    """Ends a part: how many parts of the run are left, None where the claim is stale.

    `booked` is what the ledger says of its purchase; one `in_doubt` is remembered for as long as the API keeps jobs.
    """
    run_id = claim.member.run_id
    text = json.dumps(error.to_json()) if error else ""
    return Op(
        lambda r: int(r[1]) if r[0] == b"ok" else None,
        (
            *(str(claim.member), claim.part.fence, outcome, text, "1" if stop else "", booked),
            *(keys.prefix, RING, RETENTION),
        ),
        [_part(keys, claim), keys.run(run_id), keys.due],
        "settle",
    )


def wish(keys: Keys, run_id: str, what: str) -> Op[list[Member] | None]:
    """Writes a wish to end; the running parts that are to act on it now, None where the run is gone or has ended."""
    return Op(
        lambda r: [Member.parse(m.decode()) for m in r[2:]] if r[0] == b"ok" else None,
        (run_id, keys.prefix, what, ended_by(what)),
        [keys.run(run_id), keys.due],
        "wish",
    )


def attempt(keys: Keys, run_id: str) -> Op[int]:
    """How often the run's outcome was tried to be decided, this time counted."""
    return Op(int, (), [keys.run(run_id)], "attempt")


def decide(keys: Keys, run_id: str, outcome: str, fields: Mapping[str, Value]) -> Op[str]:
    """The outcome that stands: the first one that was written; empty where the run is gone, or a part of it goes on."""
    flat = ("outcome", outcome, *_flat(fields))
    return Op(bytes.decode, (run_id, RING, keys.prefix, *flat), [keys.run(run_id), keys.due], "decide")


def delivered(keys: Keys, run_id: str, waiter: str, lives: Lives) -> Op[int]:
    """How many Celery ids still wait for the outcome."""
    args = (run_id, keys.prefix, waiter, lives.contents, lives.record, lives.idempotency)
    return Op(int, args, [keys.run(run_id), keys.due], "delivered")


def pause(keys: Keys, seconds: float) -> Op[float]:
    """Leaves the API alone, for all workers: until when, by the store's clock. A longer pause stands."""
    return Op(float, (seconds,), [keys.pause], "pause")


def first(keys: Keys, run_id: str, name: str, seconds: int) -> Op[bool]:
    """Whether this is the first time that somebody asks for this name of a run, within its life."""
    return Op(bool, (uuid.uuid4().hex, seconds), [keys.once(run_id, name)], "once")


def home(keys: Keys, name: str, seconds: int) -> Op[str]:
    """The application that the store belongs to: this one, unless another has said so within so many seconds."""
    return Op(bytes.decode, (name, seconds), [keys.home], "home")


def forget(keys: Keys, run_id: str) -> Op[int]:
    """1 once freed, 0 where there was nothing, -1 where the run still lives."""
    return Op(int, (run_id, keys.prefix), [keys.run(run_id), keys.due], "forget")


def _part(keys: Keys, claim: Claim) -> str:
    return keys.part(claim.member.run_id, claim.member.part)


def _flat(fields: Mapping[str, Value]) -> list[Value]:
    return [one for pair in fields.items() for one in pair]


def _accepted(reply: Sequence[bytes]) -> int:
    return int(reply[1]) if reply[0] == b"ok" else FORGOTTEN if reply[0] == b"forgotten" else 0


def _created(reply: Sequence[bytes], digest: str) -> Created:
    if reply[0] != b"exists":
        return Created(reply[1].decode(), digest, new=reply[0] == b"created", forgotten=reply[0] == b"forgotten")
    run_id, _, theirs = reply[1].decode().rpartition(" ")
    return Created(run_id, theirs, new=False)
