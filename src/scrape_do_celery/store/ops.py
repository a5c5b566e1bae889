"""Every operation on the store, as a value: which script or command, on which keys, and what the reply means.

Nothing here does I/O. `Store.run` and `AsyncStore.run` carry an operation out; each may be sent twice without harm.
"""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from scrape_do_celery.polling import RETENTION
from scrape_do_celery.rules.fetch import lacks_page
from scrape_do_celery.store.buying import (
    LEASE_LOST,
    LONGEST_PROBE,
    PROBE,
    START,
    STOP_REQUESTED,
    UNRESOLVED,
    Purchase,
    PurchaseStatus,
    UnresolvedPurchases,
    check_before_send,
    close_breaker,
    digests_of,
    ledger,
    note_unowned,
    open_breaker,
    owners,
    read_unresolved_purchases,
    scan_conflicting_parts,
    write_intent,
)
from scrape_do_celery.store.claiming import (
    PARTS_PER_MESSAGE,
    REDISPATCH_MAX,
    REDISPATCH_MIN,
    Foreign,
    Locked,
    Poison,
    Poisoned,
    Suspect,
    claim,
    claim_due,
    renew,
)
from scrape_do_celery.store.codec import pack, pack_task
from scrape_do_celery.store.creating import FORGOTTEN, Created, ScheduleTick, accept, create, flat, promise, stamp
from scrape_do_celery.store.keys import Keys, PartId
from scrape_do_celery.store.looks import clock, contents, fetched, forgotten, job, outcome, part_spec, spec, view
from scrape_do_celery.store.news import ChangedRuns, acknowledge_changed_runs, take_changed_runs
from scrape_do_celery.store.op import Op, Value
from scrape_do_celery.store.sealing import keyring, sealed, sealing_key
from scrape_do_celery.store.states import outcome_of_stop
from scrape_do_celery.store.watching import (
    MOST,
    RequestQuota,
    acquire_list_poll,
    allocate_requests,
    find_unattended_accounts,
    finish_list_poll,
    mark_still_running,
    move_some_to_due,
    plan_polling,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.models import JobDetails, TaskDetails
    from scrape_do_celery.store.records import Claim

__all__ = [
    "FORGOTTEN",
    "LEASE_LOST",
    "LONGEST_PROBE",
    "MOST",
    "PARTS_PER_MESSAGE",
    "PROBE",
    "REDISPATCH_MAX",
    "REDISPATCH_MIN",
    "START",
    "STOP_REQUESTED",
    "UNRESOLVED",
    "ChangedRuns",
    "Created",
    "Foreign",
    "Lives",
    "Locked",
    "Op",
    "Poison",
    "Poisoned",
    "Purchase",
    "PurchaseStatus",
    "RequestQuota",
    "ScheduleTick",
    "Suspect",
    "UnresolvedPurchases",
    "Value",
    "accept",
    "acknowledge_changed_runs",
    "acquire_list_poll",
    "allocate_requests",
    "attempt",
    "check_before_send",
    "claim",
    "claim_due",
    "claim_namespace",
    "clock",
    "close_breaker",
    "contents",
    "count_done",
    "create",
    "decide",
    "delivered",
    "digests_of",
    "fetched",
    "find_unattended_accounts",
    "finish_list_poll",
    "first",
    "forget",
    "forgotten",
    "hold",
    "job",
    "keyring",
    "ledger",
    "mark_still_running",
    "move_some_to_due",
    "note_unowned",
    "open_breaker",
    "outcome",
    "owners",
    "part_spec",
    "pause",
    "plan_polling",
    "promise",
    "put",
    "read_unresolved_purchases",
    "renew",
    "replace_large",
    "request_stop",
    "scan_conflicting_parts",
    "settle",
    "size",
    "spec",
    "stamp",
    "take_changed_runs",
    "update",
    "view",
    "was_first",
    "write_intent",
]


@dataclass(frozen=True, slots=True)
class Lives:
    """How long an ended run is kept, in seconds."""

    contents: int
    record: int
    idempotency: int


def update(  # noqa: PLR0913 (one argument a thing that changes)
    keys: Keys,
    claim: Claim,
    fields: Mapping[str, Value],
    *,
    after: float | None = None,
    job: JobDetails | None = None,
    owner: str | None = None,
    redispatch_after: float | None = None,
) -> Op[str]:
    """`ok`, `stale` or `owned`. With `after` the part is let go, to be looked at that many seconds later.

    If that is at once, the caller publishes a step message. The dispatcher publishes another one only if no step has
    taken the part after `redispatch_after` seconds.
    """
    part_id, redispatch_after = (
        claim.part_id,
        0.0 if after else REDISPATCH_MIN if redispatch_after is None else redispatch_after,
    )
    key_of_job = keys.job(part_id.run_id, part_id.part)
    packed = b"" if job is None else keys.seal(key_of_job, "", pack(job.model_dump(mode="json", by_alias=True)))
    return Op(
        bytes.decode,
        [
            *(str(part_id), claim.part.fence, "" if after is None else after, redispatch_after),
            *(packed, "1" if claim.stop_reason else "", keys.prefix, RETENTION),
            *flat(sealed(keys, _part(keys, claim), fields)),
        ],
        [
            *(_part(keys, claim), keys.run(part_id.run_id), keys.due, key_of_job),
            keys.owner(owner) if owner else "",
        ],
        "update",
    )


def put(keys: Keys, part_id: PartId, position: int, task: TaskDetails) -> Op[int]:
    """1 where the task was stored, 0 where it had been, -1 where its run is gone.

    If the task has no page, what is held of it is stored in its place.
    """
    counter = "stored_ok" if task.is_success else "stored_failed"
    key = keys.contents(part_id.run_id, part_id.part)
    frame = keys.seal(key, str(position), pack_task(task))
    return Op(
        int,
        (
            *(position, frame, counter, task.cost or 0, int(task.gone), int(lacks_page(task))),
            *(keys.prefix, part_id.run_id),
        ),
        [key, keys.part(part_id.run_id, part_id.part), keys.provisional(part_id.run_id, part_id.part)],
        "put",
    )


def hold(keys: Keys, part_id: PartId, position: int, task: TaskDetails) -> Op[int]:
    """Hold what an answer contained of a task that has not ended: 1, or -1 where its run is gone.

    A held task is a failure with a page. It is stored if a later answer has no page, or if the part ends first.
    """
    key = keys.contents(part_id.run_id, part_id.part)
    frame = keys.seal(key, str(position), pack_task(task))
    return Op(
        int,
        (position, frame, int(RETENTION) + 86_400, task.cost or 0),
        [keys.provisional(part_id.run_id, part_id.part), keys.part(part_id.run_id, part_id.part)],
        "hold",
    )


def replace_large(keys: Keys, part_id: PartId, position: int, task: TaskDetails) -> Op[int]:
    """1 where the page took the place of the record that it was too large, 0 where that had been done before.

    Only for a task that was `too_large` when the caller read it.
    """
    key = keys.contents(part_id.run_id, part_id.part)
    frame = keys.seal(key, str(position), pack_task(task))
    args = (position, frame, "1" if task.is_success else "", task.cost or 0, f"replaced:{position}")
    return Op(int, args, [key, keys.part(part_id.run_id, part_id.part)], "replace")


def count_done(keys: Keys, part_id: PartId) -> Op[int]:
    """How many tasks of a part are stored that succeeded."""
    return Op(lambda r: int(r or 0), ("HGET", keys.part(part_id.run_id, part_id.part), "stored_ok"))


def size(put_op: Op[int]) -> int:
    """Bytes that a `put` stores."""
    return len(cast("bytes", put_op.args[1]))


def settle(  # noqa: PLR0913 (one argument a thing that is written down)
    keys: Keys,
    claim: Claim,
    outcome: str,
    *,
    error: ScrapeDoError | None = None,
    skip_unsent: bool = False,
    purchase_status: str = "",
) -> Op[int | None]:
    """Ends a part: how many parts of the run are left, None where the claim is stale.

    `booked` is what the ledger says of its purchase; one `in_doubt` is remembered for as long as the API keeps jobs.
    """
    run_id = claim.part_id.run_id
    text = keys.seal_text(_part(keys, claim), "error", json.dumps(error.to_json()) if error else "")
    return Op(
        lambda r: int(r[1]) if r[0] == b"ok" else None,
        (
            *(str(claim.part_id), claim.part.fence, outcome, text, "1" if skip_unsent else "", purchase_status),
            *(keys.prefix, REDISPATCH_MIN, RETENTION),
        ),
        [_part(keys, claim), keys.run(run_id), keys.due],
        "settle",
    )


def request_stop(keys: Keys, run_id: str, what: str) -> Op[list[PartId] | None]:
    """Write a stop request. Return the running parts that must act now; None if the run is gone or has ended."""
    return Op(
        lambda r: [PartId.parse(m.decode()) for m in r[2:]] if r[0] == b"ok" else None,
        (run_id, keys.prefix, what, outcome_of_stop(what)),
        [keys.run(run_id), keys.due],
        "request_stop",
    )


def attempt(keys: Keys, run_id: str) -> Op[int]:
    """How often the run's outcome was tried to be decided, this time counted."""
    return Op(int, (), [keys.run(run_id)], "attempt")


def decide(keys: Keys, run_id: str, outcome: str, fields: Mapping[str, Value]) -> Op[str]:
    """The outcome that stands: the first one that was written; empty where the run is gone, or a part of it goes on."""
    pairs = ("outcome", outcome, *flat(sealed(keys, keys.run(run_id), fields)))
    return Op(
        bytes.decode,
        (run_id, REDISPATCH_MIN, keys.prefix, sealing_key(keys), *pairs),
        [keys.run(run_id), keys.due],
        "decide",
    )


def delivered(keys: Keys, run_id: str, waiter: str, lives: Lives) -> Op[int]:
    """How many Celery ids still wait for the outcome."""
    args = (run_id, keys.prefix, waiter, lives.contents, lives.record, lives.idempotency)
    return Op(int, args, [keys.run(run_id), keys.due], "delivered")


def pause(keys: Keys, seconds: float) -> Op[float]:
    """Leaves the API alone, for all workers: until when, by the store's clock. A longer pause stands."""
    return Op(float, (seconds,), [keys.pause], "pause")


def first(keys: Keys, run_id: str, name: str, seconds: int) -> Op[bool]:
    """Whether this is the first time that somebody asks for this name of a run, within its life."""
    token = uuid.uuid4().hex
    return Op(lambda said: said.decode() == token, (token, seconds), [keys.once(run_id, name)], "once")


def was_first(keys: Keys, run_id: str, name: str) -> Op[bool]:
    """Whether somebody has asked `first` for this name."""
    return Op(bool, ["EXISTS", keys.once(run_id, name)])


def claim_namespace(keys: Keys, name: str, seconds: int) -> Op[str]:
    """The application that the store belongs to: this one, unless another has said so within so many seconds."""
    return Op(bytes.decode, (name, seconds), [keys.namespace_owner], "claim_namespace")


def forget(keys: Keys, run_id: str, grace: float = math.inf) -> Op[int]:
    """1 once freed, 0 where there was nothing, -1 where the run still lives.

    One that lives for `grace` seconds after a stop request, and cannot be read here, is freed as well.
    """
    return Op(int, (run_id, keys.prefix, " ".join(keys.held), grace), [keys.run(run_id), keys.due], "forget")


def _part(keys: Keys, claim: Claim) -> str:
    return keys.part(claim.part_id.run_id, claim.part_id.part)
