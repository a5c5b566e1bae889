"""Commands of a step for its part: claim it, renew the lease, change it, end it."""

from __future__ import annotations

import json
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from scrape_do_celery.errors import PoisonedRunError
from scrape_do_celery.models import JobDetails
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.store.claims import Claim
from scrape_do_celery.store.codec import pack, unpack
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.commands.arguments import flatten_fields
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN
from scrape_do_celery.store.commands.limits import LONGEST_PROBE, PROBE
from scrape_do_celery.store.inputs import INPUT_COUNT, inputs_field
from scrape_do_celery.store.options import RunSpec
from scrape_do_celery.store.part_records import PartRecord
from scrape_do_celery.store.stored_specs import decrypt_spec, decrypt_whole_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.rules.states import PartState
    from scrape_do_celery.store.command import Value
    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.part_ids import PartId


class UpdateResult(StrEnum):
    """The result of a request to change a part."""

    OK = "ok"
    HINTED = "hinted"  #: as `OK`, and the part is due at once: the caller publishes the next step of its state
    STALE = "stale"  #: nothing was written: another step holds the part
    OWNED = "owned"  #: nothing was written: another part owns the job
    FORBIDDEN = "forbidden"  #: nothing was written: `TRANSITIONS` lacks the transition to the new state


@dataclass(frozen=True, slots=True)
class PoisonPolicy:
    """The policy for poisoned parts: a part is taken out of work after `after` claims without progress.

    With `skip_unsent`, the unsent parts of its run are not sent any more.
    """

    after: int
    skip_unsent: bool

    def error(self, part_id: PartId) -> str:
        """Return the error of a poisoned part as JSON."""
        why = f"{self.after} steps on it died in a row; `scrape-do ledger` shows what was bought"
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
class NewerRecord:
    """The reply for a part that waits for a worker of a newer version. `version` is that of the run's record."""

    version: int


@dataclass(frozen=True, slots=True)
class Suspect:
    """The reply for a part whose last claim died. Only a process that works on nothing else may claim it."""


#: The readers of replies that give no claim, with a reason. Any other reply gives none, because no step is due.
_REFUSALS: Final[Mapping[bytes, Callable[[Sequence[Any]], ClaimAnswer]]] = {
    b"poisoned": lambda reply: PoisonedPart(int(reply[1])),
    b"needs_account": lambda reply: NeedsAccount(reply[1].decode()),
    b"needs_key": lambda reply: NeedsKey(reply[1].decode()),
    b"newer": lambda reply: NewerRecord(int(reply[1])),
    b"suspect": lambda _: Suspect(),
}
#: The answers to a claim.
ClaimAnswer: TypeAlias = Claim | PoisonedPart | NeedsAccount | NeedsKey | NewerRecord | Suspect | None


@dataclass(frozen=True, slots=True)
class ClaimPart(Command[ClaimAnswer]):
    """Claim a part for one step. The result is None if the part is gone, not due, paused, held, or in another state.

    A part that was claimed too often without progress is ended instead, by the policy `poison`. `isolated` tells that
    this process works on nothing else. `outlived` is the token of an earlier claim whose step failed while its process
    lived. An open breaker holds runs back for `auth_grace` seconds. A part that needs another worker gets its next step
    message after `redispatch_after` seconds.
    """

    part_id: PartId
    token: str
    _: KW_ONLY
    seconds: float
    states: Iterable[str]
    account: str = ""
    auth_grace: float = 900.0
    poison: PoisonPolicy | None = None
    isolated: bool = False
    outlived: str = ""
    redispatch_after: float = REDISPATCH_MIN
    script = "claim_part"

    def encode(self, keys: Keys) -> Encoded:
        part_id, poison = self.part_id, self.poison
        return Encoded(
            (
                *(str(part_id), part_id.part, self.token, self.seconds, f" {' '.join(self.states)} "),
                *(self.account, self.auth_grace, PROBE, LONGEST_PROBE),
                *(("", "", "") if poison is None else _encode_policy(poison, part_id, keys)),
                *(keys.prefix, self.redispatch_after, RETENTION, " ".join(keys.key_names)),
                *("1" if self.isolated else "", self.outlived),
            ),
            [
                *(keys.part(part_id), keys.run(part_id.run_id), keys.due),
                *(keys.dispatched, keys.pause, keys.breaker(self.account)),
            ],
        )

    def decode(self, keys: Keys, reply: Any) -> ClaimAnswer:
        if reply[0] == b"ok":
            return Claim.from_reply(self.part_id, reply, keys)
        read = _REFUSALS.get(reply[0])
        return None if read is None else read(reply)


@dataclass(frozen=True, slots=True)
class RenewLease(Command[bool]):
    """Renew the lease of a claim for `seconds` from now on. The result is whether the claim still holds it."""

    claim: Claim
    seconds: float
    script = "renew_lease"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.claim.part.fence, self.seconds, keys.prefix), [keys.part(self.claim.part_id)])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class UpdatePart(Command[UpdateResult]):
    """Change fields of a claimed part.

    `to` is the state that the part gets. If `TRANSITIONS` lacks the transition, nothing is written.
    With `after`, release the part, and let it be due again after this number of seconds. If `after` is 0, the caller
    publishes a step message. The dispatcher publishes another message only if no step has claimed the part after
    `redispatch_after` seconds. `owner` is the id of the job that becomes the part's own. `nonce` is that of the intent
    whose own answer names the job: such an answer counts although another step has claimed the part meanwhile.
    A step that reads deliveries releases with `hints_seen`, the value of `hints` in its claim. If deliveries have
    demanded a step since, the result is `HINTED`. So it is if deliveries came before the part knew its job.
    """

    claim: Claim
    fields: Mapping[str, Value]
    _: KW_ONLY
    to: PartState | None = None
    after: float | None = None
    job: JobDetails | None = None
    owner: str | None = None
    nonce: str = ""
    redispatch_after: float | None = None
    hints_seen: int | None = None
    script = "update_part"

    def __post_init__(self) -> None:
        if "state" in self.fields:
            raise ValueError("the argument `to` changes the state of a part, not a field")

    def encode(self, keys: Keys) -> Encoded:
        claim, part_id = self.claim, self.claim.part_id
        part_key, job_key = keys.part(part_id), keys.job(part_id)
        return Encoded(
            [
                *(str(part_id), claim.part.fence, "" if self.after is None else self.after, self._redispatch_after()),
                *(_pack_job(keys, job_key, self.job), "1" if claim.stop_reason else "", keys.prefix, RETENTION),
                *(self.to or "", self.nonce, "" if self.hints_seen is None else self.hints_seen),
                *flatten_fields(PartRecord.encrypt_fields(keys, part_key, self.fields)),
            ],
            [
                *(part_key, keys.run(part_id.run_id), keys.due, job_key),
                *((keys.owner(self.owner),) if self.owner else ()),
            ],
        )

    def decode(self, keys: Keys, reply: Any) -> UpdateResult:
        return UpdateResult(reply.decode())

    def _redispatch_after(self) -> float:
        if self.after:
            return 0.0
        return REDISPATCH_MIN if self.redispatch_after is None else self.redispatch_after


@dataclass(frozen=True, slots=True)
class FinishPart(Command[int | None]):
    """End a part. The result is the number of live parts that the run has left; None if the part does not end.

    A part does not end if the claim is stale. If a delivery has proven a purchase that the caller takes for none, the
    part becomes due for a search.

    `kept` has the positions whose tasks the caller has stored or holds, or has found so; None if the part ends without
    a fetch. If the store has lost one of them, as in a failover, the part becomes due: its next turn fetches the task.

    `purchase_status` is the new status of the part's purchase in the ledger. A purchase `in_doubt` stays registered as
    long as the API keeps jobs.
    """

    claim: Claim
    outcome: str
    _: KW_ONLY
    error: ScrapeDoError | None = None
    skip_unsent: bool = False
    purchase_status: str = ""
    kept: Collection[int] | None = None
    script = "finish_part"

    def encode(self, keys: Keys) -> Encoded:
        claim, part_key = self.claim, keys.part(self.claim.part_id)
        error = keys.encrypt_text(part_key, "error", json.dumps(self.error.to_json()) if self.error else "")
        return Encoded(
            (
                *(str(claim.part_id), claim.part.fence, self.outcome, error, "1" if self.skip_unsent else ""),
                *(self.purchase_status, keys.prefix, REDISPATCH_MIN, RETENTION),
                *("" if self.kept is None else "1", " ".join(map(str, self.kept or ()))),
            ),
            [part_key, keys.run(claim.part_id.run_id), keys.due],
        )

    def decode(self, keys: Keys, reply: Any) -> int | None:
        return int(reply[1]) if reply[0] == b"ok" else None


@dataclass(frozen=True, slots=True)
class ReadPartSpec(Command[RunSpec | None]):
    """Read the spec of a run with the targets of one part; None if the part does not exist."""

    part_id: PartId

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.run(self.part_id.run_id), *self._field_names()))

    def decode(self, keys: Keys, reply: Any) -> RunSpec | None:
        if None in reply:
            return None
        return decrypt_spec(keys, self.part_id.run_id, dict(zip(self._field_names(), reply, strict=True)))

    def _field_names(self) -> tuple[str, str]:
        return "spec", f"targets:{self.part_id.part}"


@dataclass(frozen=True, slots=True)
class ReadPartInputs(Command[RunSpec | None]):
    """Read the spec of a run with the targets and the inputs of one part; None if the part does not exist."""

    part_id: PartId

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.run(self.part_id.run_id), *self._field_names()))

    def decode(self, keys: Keys, reply: Any) -> RunSpec | None:
        spec, targets, _, count = reply
        if spec is None or (targets is None and count is None):
            return None
        fields = dict(zip(self._field_names(), reply, strict=True))
        return decrypt_whole_spec(keys, self.part_id.run_id, fields, of_one_part=True)

    def _field_names(self) -> tuple[str, str, str, str]:
        part = self.part_id.part
        return "spec", f"targets:{part}", inputs_field(part), INPUT_COUNT


@dataclass(frozen=True, slots=True)
class ReadJob(Command[JobDetails | None]):
    """Read the last `JobDetails` of a part; None if the part has none."""

    part_id: PartId

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("GET", keys.job(self.part_id)))

    def decode(self, keys: Keys, reply: Any) -> JobDetails | None:
        if reply is None:
            return None
        return JobDetails.model_validate(unpack(keys.decrypt(keys.job(self.part_id), "", reply)))


def _encode_policy(poison: PoisonPolicy, part_id: PartId, keys: Keys) -> tuple[Value, ...]:
    error = keys.encrypt_text(keys.part(part_id), "error", poison.error(part_id))
    return poison.after, error, "1" if poison.skip_unsent else ""


def _pack_job(keys: Keys, key: str, job: JobDetails | None) -> bytes:
    return b"" if job is None else keys.encrypt(key, "", pack(job.model_dump(mode="json", by_alias=True)))
