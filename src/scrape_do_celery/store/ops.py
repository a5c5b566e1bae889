"""The commands of the store, as values: the script or Redis command, its keys, and the parser of its reply.

Nothing here does I/O. `Store.run` and `AsyncStore.run` carry a command out. A command may be sent twice without harm.
"""

from __future__ import annotations

import json
import math
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from scrape_do_celery.rules.fetch import lacks_page
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.rules.states import outcome_of_stop
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
    NeedsAccount,
    NeedsKey,
    PoisonedPart,
    PoisonPolicy,
    Suspect,
    claim_due,
    claim_part,
    renew_lease,
)
from scrape_do_celery.store.codec import pack, pack_task
from scrape_do_celery.store.command import Command, Value
from scrape_do_celery.store.creating import (
    FORGOTTEN,
    Created,
    CreateResult,
    ScheduleTick,
    accept_run,
    assign_tick,
    create_run,
    flat,
    reserve_key,
)
from scrape_do_celery.store.encryption import encryption_key_name
from scrape_do_celery.store.keys import Keys, PartId
from scrape_do_celery.store.looks import (
    clock,
    contents,
    fetched,
    forgotten,
    job,
    outcome,
    part_spec,
    read_encryption_keys,
    read_run,
    spec,
)
from scrape_do_celery.store.news import ChangedRuns, acknowledge_changed_runs, take_changed_runs
from scrape_do_celery.store.records import PartRecord, RunRecord
from scrape_do_celery.store.watching import (
    BATCH_LIMIT,
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
    from scrape_do_celery.rules.states import PartState
    from scrape_do_celery.store.records import Claim

__all__ = [
    "BATCH_LIMIT",
    "FORBIDDEN",
    "FORGOTTEN",
    "LEASE_LOST",
    "LONGEST_PROBE",
    "PARTS_PER_MESSAGE",
    "PROBE",
    "REDISPATCH_MAX",
    "REDISPATCH_MIN",
    "START",
    "STOP_REQUESTED",
    "UNRESOLVED",
    "ChangedRuns",
    "Command",
    "CreateResult",
    "Created",
    "NeedsAccount",
    "NeedsKey",
    "PoisonPolicy",
    "PoisonedPart",
    "Purchase",
    "PurchaseStatus",
    "RequestQuota",
    "Retention",
    "ScheduleTick",
    "Suspect",
    "UnresolvedPurchases",
    "Value",
    "accept_run",
    "acknowledge_changed_runs",
    "acknowledge_delivery",
    "acquire_list_poll",
    "allocate_requests",
    "assign_tick",
    "check_before_send",
    "claim_due",
    "claim_namespace",
    "claim_once",
    "claim_part",
    "clock",
    "close_breaker",
    "contents",
    "count_decision_attempt",
    "count_done",
    "create_run",
    "digests_of",
    "fetched",
    "find_unattended_accounts",
    "finish_list_poll",
    "finish_part",
    "forget_run",
    "forgotten",
    "hold_content",
    "job",
    "ledger",
    "mark_still_running",
    "move_some_to_due",
    "note_unowned",
    "open_breaker",
    "outcome",
    "owners",
    "part_spec",
    "pause_api",
    "plan_polling",
    "read_encryption_keys",
    "read_run",
    "read_unresolved_purchases",
    "record_outcome",
    "renew_lease",
    "replace_large_content",
    "request_stop",
    "reserve_key",
    "scan_conflicting_parts",
    "size",
    "spec",
    "store_content",
    "take_changed_runs",
    "update_part",
    "was_claimed",
    "write_intent",
]


#: The reply of `update_part` if a part may not go from its state to the new state.
FORBIDDEN = "forbidden"


@dataclass(frozen=True, slots=True)
class Retention:
    """The seconds for which the data of an ended run are kept."""

    contents: int
    record: int
    idempotency: int


def update_part(  # noqa: PLR0913 (one argument a thing that changes)
    keys: Keys,
    claim: Claim,
    fields: Mapping[str, Value],
    *,
    to: PartState | None = None,
    after: float | None = None,
    job: JobDetails | None = None,
    owner: str | None = None,
    redispatch_after: float | None = None,
) -> Command[str]:
    """Change fields of a claimed part. Return `ok`, `stale`, or `owned` if another part owns the job.

    `to` is the state that the part gets. If `TRANSITIONS` lacks the transition, return `FORBIDDEN`, and write nothing.
    With `after`, release the part, and let it be due again after this number of seconds. If `after` is 0, the caller
    publishes a step message. The dispatcher publishes another message only if no step has claimed the part after
    `redispatch_after` seconds. `owner` is the id of the job that becomes the part's own.
    """
    part_id, redispatch_after = (
        claim.part_id,
        0.0 if after else REDISPATCH_MIN if redispatch_after is None else redispatch_after,
    )
    if "state" in fields:
        raise ValueError("the argument `to` changes the state of a part, not a field")
    key_of_job = keys.job(part_id.run_id, part_id.part)
    packed = b"" if job is None else keys.encrypt(key_of_job, "", pack(job.model_dump(mode="json", by_alias=True)))
    return Command(
        bytes.decode,
        [
            *(str(part_id), claim.part.fence, "" if after is None else after, redispatch_after),
            *(packed, "1" if claim.stop_reason else "", keys.prefix, RETENTION, to or ""),
            *flat(PartRecord.encrypt_fields(keys, _part(keys, claim), fields)),
        ],
        [
            *(_part(keys, claim), keys.run(part_id.run_id), keys.due, key_of_job),
            keys.owner(owner) if owner else "",
        ],
        "update_part",
    )


def store_content(keys: Keys, part_id: PartId, position: int, task: TaskDetails) -> Command[int]:
    """Store a task. If the task has no page, store its held page instead.

    Return 1 if the task was stored, 0 if it was stored before, -1 if the run is gone or the part has ended.
    """
    counter = "stored_ok" if task.is_success else "stored_failed"
    key = keys.contents(part_id.run_id, part_id.part)
    frame = keys.encrypt(key, str(position), pack_task(task))
    return Command(
        int,
        (
            *(position, frame, counter, task.cost or 0, int(task.gone), int(lacks_page(task))),
            *(keys.prefix, part_id.run_id),
        ),
        [key, keys.part(part_id.run_id, part_id.part), keys.provisional(part_id.run_id, part_id.part)],
        "store_content",
    )


def hold_content(keys: Keys, part_id: PartId, position: int, task: TaskDetails) -> Command[int]:
    """Hold the page of an answer for a task that has not ended. Return 1, or -1 if the run is gone.

    A held task is a failure with a page. The store uses it if a later answer has no page, or if the part ends first.
    """
    key = keys.contents(part_id.run_id, part_id.part)
    frame = keys.encrypt(key, str(position), pack_task(task))
    return Command(
        int,
        (position, frame, int(RETENTION) + 86_400, task.cost or 0),
        [keys.provisional(part_id.run_id, part_id.part), keys.part(part_id.run_id, part_id.part)],
        "hold_content",
    )


def replace_large_content(keys: Keys, part_id: PartId, position: int, task: TaskDetails) -> Command[int]:
    """Replace the record of a page that was too large by the page. Return 1, or 0 if it was replaced before.

    Use this only for a task that was `too_large` when the caller read it.
    """
    key = keys.contents(part_id.run_id, part_id.part)
    frame = keys.encrypt(key, str(position), pack_task(task))
    args = (position, frame, "1" if task.is_success else "", task.cost or 0, f"replaced:{position}")
    return Command(int, args, [key, keys.part(part_id.run_id, part_id.part)], "replace_large_content")


def count_done(keys: Keys, part_id: PartId) -> Command[int]:
    """Count the stored tasks of a part that succeeded."""
    return Command(lambda r: int(r or 0), ("HGET", keys.part(part_id.run_id, part_id.part), "stored_ok"))


def size(command: Command[int]) -> int:
    """Return the bytes that a `store_content` command stores."""
    return len(cast("bytes", command.args[1]))


def finish_part(  # noqa: PLR0913 (one argument a thing that is written down)
    keys: Keys,
    claim: Claim,
    outcome: str,
    *,
    error: ScrapeDoError | None = None,
    skip_unsent: bool = False,
    purchase_status: str = "",
) -> Command[int | None]:
    """End a part. Return the number of live parts that the run has left; None if the claim is stale.

    `purchase_status` is the new status of the part's purchase in the ledger. A purchase `in_doubt` stays registered as
    long as the API keeps jobs.
    """
    run_id = claim.part_id.run_id
    text = keys.encrypt_text(_part(keys, claim), "error", json.dumps(error.to_json()) if error else "")
    return Command(
        lambda r: int(r[1]) if r[0] == b"ok" else None,
        (
            *(str(claim.part_id), claim.part.fence, outcome, text, "1" if skip_unsent else "", purchase_status),
            *(keys.prefix, REDISPATCH_MIN, RETENTION),
        ),
        [_part(keys, claim), keys.run(run_id), keys.due],
        "finish_part",
    )


def request_stop(keys: Keys, run_id: str, what: str) -> Command[list[PartId] | None]:
    """Write a stop request. Return the running parts that must act now; None if the run is gone or has ended."""
    return Command(
        lambda r: [PartId.parse(m.decode()) for m in r[2:]] if r[0] == b"ok" else None,
        (run_id, keys.prefix, what, outcome_of_stop(what)),
        [keys.run(run_id), keys.due],
        "request_stop",
    )


def count_decision_attempt(keys: Keys, run_id: str) -> Command[int]:
    """Count an attempt to decide the run's outcome. Return the number of attempts, with this one."""
    return Command(int, (), [keys.run(run_id)], "count_decision_attempt")


def record_outcome(keys: Keys, run_id: str, outcome: str, fields: Mapping[str, Value]) -> Command[str]:
    """Write the outcome of a run, unless it has an outcome. Return the outcome that the run has now.

    Return an empty text if the run is gone, or if a part of it is live.
    """
    pairs = flat(RunRecord.encrypt_fields(keys, keys.run(run_id), fields))
    return Command(
        bytes.decode,
        (run_id, REDISPATCH_MIN, keys.prefix, encryption_key_name(keys), outcome, *pairs),
        [keys.run(run_id), keys.due],
        "record_outcome",
    )


def acknowledge_delivery(keys: Keys, run_id: str, waiter: str, retention: Retention) -> Command[int]:
    """Note that a waiter has the outcome. Return the number of Celery ids that still wait; -1 if the run is gone."""
    args = (run_id, keys.prefix, waiter, retention.contents, retention.record, retention.idempotency)
    return Command(int, args, [keys.run(run_id), keys.due], "acknowledge_delivery")


def pause_api(keys: Keys, seconds: float) -> Command[float]:
    """Pause the API for all workers, unless a longer pause stands. Return the end of the pause by the store's clock."""
    return Command(float, (seconds,), [keys.pause], "pause_api")


def claim_once(keys: Keys, run_id: str, name: str, seconds: int) -> Command[bool]:
    """Claim a name of a run. Return whether this call is the first one within `seconds`."""
    token = uuid.uuid4().hex
    return Command(lambda said: said.decode() == token, (token, seconds), [keys.once(run_id, name)], "claim_once")


def was_claimed(keys: Keys, run_id: str, name: str) -> Command[bool]:
    """Tell whether a call of `claim_once` has claimed this name."""
    return Command(bool, ["EXISTS", keys.once(run_id, name)])


def claim_namespace(keys: Keys, name: str, seconds: int) -> Command[str]:
    """Claim the store for the application `name` for `seconds`. Return the application that has the claim now."""
    return Command(bytes.decode, (name, seconds), [keys.namespace_owner], "claim_namespace")


def forget_run(keys: Keys, run_id: str, grace: float = math.inf) -> Command[int]:
    """Free everything that an ended run holds. Return 1; 0 if the run does not exist, -1 if it is live.

    If a run is live `grace` seconds after its stop request and this process cannot decrypt it, it is freed as well.
    """
    return Command(
        int, (run_id, keys.prefix, " ".join(keys.key_names), grace), [keys.run(run_id), keys.due], "forget_run"
    )


def _part(keys: Keys, claim: Claim) -> str:
    return keys.part(claim.part_id.run_id, claim.part_id.part)
