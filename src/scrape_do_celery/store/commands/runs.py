"""Commands for a run as a whole: read it, stop it, decide it, deliver it, free it."""

from __future__ import annotations

import math
import uuid
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.outcomes import outcome_of_stop
from scrape_do_celery.rules.waits import WaitingFor
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.commands.arguments import flatten_fields
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN
from scrape_do_celery.store.encryption import encryption_key_name
from scrape_do_celery.store.inputs import INPUT_COUNT, inputs_field
from scrape_do_celery.store.options import RunSpec
from scrape_do_celery.store.part_ids import PartId
from scrape_do_celery.store.records import RunRecord
from scrape_do_celery.store.stored_specs import decrypt_whole_spec
from scrape_do_celery.store.versions import refuse_newer, refuse_newer_reply
from scrape_do_celery.store.waits import read_wait

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.store.command import Value
    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.retention import Retention


class ForgetResult(StrEnum):
    """The result of a request to free a run."""

    FREED = "freed"  #: everything is freed now, or with the last delivery
    UNKNOWN = "unknown"  #: the run does not exist
    LIVE = "live"  #: the run has not ended, and nothing was freed


@dataclass(frozen=True, slots=True)
class ReadRun(Command[RunRecord | None]):
    """Read a run and its parts; None if the run does not exist."""

    run_id: str
    script = "read_run"

    def encode(self, keys: Keys) -> Encoded:
        return _encode_read(keys, self.run_id, "", "")

    def decode(self, keys: Keys, reply: Any) -> RunRecord | None:
        return RunRecord.from_reply(self.run_id, reply, keys)


@dataclass(frozen=True, slots=True)
class ReadRunWait(Command[tuple[RunRecord, WaitingFor | None] | None]):
    """Read a run, and in the same command why it waits; None if the run does not exist.

    `account` is the account of the caller. It counts for a part that no worker has tried to buy yet. `token_id` is the
    fingerprint of the caller's token: the refusal of another token needs another remedy.
    """

    run_id: str
    account: str
    token_id: str = ""
    script = "read_run"

    def encode(self, keys: Keys) -> Encoded:
        return _encode_read(keys, self.run_id, "1", self.account)

    def decode(self, keys: Keys, reply: Any) -> tuple[RunRecord, WaitingFor | None] | None:
        # The script adds its last element only for a live run, whose record has no outcome.
        is_live = bool(reply) and b"outcome" not in reply[0][::2]
        record = RunRecord.from_reply(self.run_id, reply[:-1] if is_live else reply, keys)
        return None if record is None else (record, read_wait(record, reply[-1], self.token_id) if is_live else None)


def _encode_read(keys: Keys, run_id: str, with_waits: str, account: str) -> Encoded:
    return Encoded((run_id, keys.prefix, with_waits, account), [keys.run(run_id), keys.namespace_owner, keys.pause])


@dataclass(frozen=True, slots=True)
class ReadLineage(Command[list[str]]):
    """Read the ids of the runs of a lineage, from the first run to the newest child; none if the run does not exist."""

    run_id: str
    script = "read_lineage"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.run_id, keys.prefix), [keys.run(self.run_id)])

    def decode(self, keys: Keys, reply: Any) -> list[str]:
        return [run_id.decode() for run_id in reply]


@dataclass(frozen=True, slots=True)
class ReadOutcome(Command[tuple[bool, str | None]]):
    """Read whether a run exists, and its outcome; None if it is live."""

    run_id: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.run(self.run_id), "created", "outcome", "v"))

    def decode(self, keys: Keys, reply: Any) -> tuple[bool, str | None]:
        created, outcome, version = reply
        refuse_newer(self.run_id, version)
        return created is not None, outcome.decode() if outcome else None


@dataclass(frozen=True, slots=True)
class ReadSpec(Command[RunSpec | None]):
    """Read the spec of a run of `parts` parts, with all its targets and inputs; None if the run does not exist."""

    run_id: str
    parts: int

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.run(self.run_id), *self._field_names()))

    def decode(self, keys: Keys, reply: Any) -> RunSpec | None:
        if reply[0] is None:
            return None
        return decrypt_whole_spec(keys, self.run_id, dict(zip(self._field_names(), reply, strict=True)))

    def _field_names(self) -> list[str]:
        parts = range(self.parts)
        return ["spec", *(f"targets:{n}" for n in parts), *map(inputs_field, parts), INPUT_COUNT, "label", "webhook"]


@dataclass(frozen=True, slots=True)
class IsRunForgotten(Command[bool]):
    """Tell whether the run has ended and was freed by `forget`."""

    run_id: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HEXISTS", keys.run(self.run_id), "forgotten"))

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class RequestStop(Command[list[PartId] | None]):
    """Write a stop request. The result: the running parts that must act now; None if the run is gone or has ended."""

    run_id: str
    what: str
    script = "request_stop"

    def encode(self, keys: Keys) -> Encoded:
        run_id, what = self.run_id, self.what
        return Encoded((run_id, keys.prefix, what, outcome_of_stop(what)), [keys.run(run_id), keys.due])

    def decode(self, keys: Keys, reply: Any) -> list[PartId] | None:
        refuse_newer_reply(self.run_id, reply)
        return [PartId.parse(name.decode()) for name in reply[2:]] if reply[0] == b"ok" else None


@dataclass(frozen=True, slots=True)
class CountDecisionAttempt(Command[int]):
    """Count an attempt to decide the run's outcome, or take it back. The result is the number of attempts."""

    run_id: str
    number: int = 1
    script = "count_decision_attempt"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.number,), [keys.run(self.run_id)])

    def decode(self, keys: Keys, reply: Any) -> int:
        return int(reply)


@dataclass(frozen=True, slots=True)
class RecordOutcome(Command[str]):
    """Write the outcome of a run, unless it has an outcome. The result is the outcome that the run has now.

    The result is an empty text if the run is gone, or if a part of it is live.
    """

    run_id: str
    outcome: str
    fields: Mapping[str, Value]
    script = "record_outcome"

    def encode(self, keys: Keys) -> Encoded:
        run_id, run_key = self.run_id, keys.run(self.run_id)
        pairs = flatten_fields(RunRecord.encrypt_fields(keys, run_key, self.fields))
        return Encoded(
            (run_id, REDISPATCH_MIN, keys.prefix, encryption_key_name(keys), self.outcome, *pairs), [run_key, keys.due]
        )

    def decode(self, keys: Keys, reply: Any) -> str:
        return str(reply.decode())


@dataclass(frozen=True, slots=True)
class AcknowledgeDelivery(Command[int | None]):
    """Note that a waiter has the outcome. The result: the number of ids that still wait; None if the run is gone."""

    run_id: str
    waiter: str
    retention: Retention
    script = "acknowledge_delivery"

    def encode(self, keys: Keys) -> Encoded:
        run_id, retention = self.run_id, self.retention
        return Encoded(
            (run_id, keys.prefix, self.waiter, retention.contents, retention.record, retention.idempotency),
            [keys.run(run_id), keys.due],
        )

    def decode(self, keys: Keys, reply: Any) -> int | None:
        return None if reply is None else int(reply)


@dataclass(frozen=True, slots=True)
class ForgetRun(Command[ForgetResult]):
    """Free everything that an ended run holds.

    If a run is live `grace` seconds after its stop request and this process cannot decrypt it, it is freed as well.
    `is_refused` tells that a value of the run is refused by each process.
    """

    run_id: str
    grace: float = math.inf
    is_refused: bool = False
    script = "forget_run"

    def encode(self, keys: Keys) -> Encoded:
        run_id, names = self.run_id, "" if self.is_refused else " ".join(keys.key_names)
        return Encoded((run_id, keys.prefix, names, self.grace), [keys.run(run_id), keys.due])

    def decode(self, keys: Keys, reply: Any) -> ForgetResult:
        refuse_newer_reply(self.run_id, reply)
        return ForgetResult(reply.decode())


@dataclass(frozen=True, slots=True)
class ClaimOnce(Command[bool]):
    """Claim a name of a run. The result is whether this command is the first one within `seconds`."""

    run_id: str
    name: str
    seconds: int
    #: a command that is sent twice, because its first answer was lost, must recognize its own claim
    token: str = field(init=False, default_factory=lambda: uuid.uuid4().hex)
    script = "claim_once"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.token, self.seconds), [keys.once(self.run_id, self.name)])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply.decode() == self.token)


@dataclass(frozen=True, slots=True)
class WasClaimed(Command[bool]):
    """Tell whether a `ClaimOnce` has claimed this name."""

    run_id: str
    name: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("EXISTS", keys.once(self.run_id, self.name)))

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)
