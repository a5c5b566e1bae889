"""Commands that create a run, reserve its idempotency key, and accept a draft."""

from __future__ import annotations

import hashlib
import json
from dataclasses import KW_ONLY, dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from scrape_do_celery.models import MAX_TARGETS_PER_JOB
from scrape_do_celery.models.urls import strict_digest
from scrape_do_celery.rules.exports import ExportState
from scrape_do_celery.rules.outcomes import outcome_of_stop
from scrape_do_celery.rules.schedules import any_tick_time
from scrape_do_celery.rules.states import CANCEL
from scrape_do_celery.store.command import Command, Encoded
from scrape_do_celery.store.commands.arguments import flatten_fields
from scrape_do_celery.store.commands.dispatch import REDISPATCH_MIN
from scrape_do_celery.store.encryption import encryption_key_name
from scrape_do_celery.store.inputs import INPUT_COUNT, inputs_field
from scrape_do_celery.store.options import RunSpec
from scrape_do_celery.store.request_inputs import targets_of
from scrape_do_celery.store.retention import MARK_TTL
from scrape_do_celery.store.versions import refuse_newer_reply, version_fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.command import Value
    from scrape_do_celery.store.keys import Keys
    from scrape_do_celery.store.options import RunSpec


class CreateResult(StrEnum):
    """The result of a request to create a run."""

    CREATED = "created"
    EXISTS = "exists"
    RESERVED = "reserved"  #: nothing was written: the run of the key must have the id that was reserved
    FORGOTTEN = "forgotten"  #: nothing was written: the run of this id has ended and was freed
    WAITING = "waiting"  #: a draft was written, which waits for the end of the run of an earlier tick
    NO_PARENT = "no_parent"  #: nothing was written: the parent is live, or its lineage has lost a run or contents
    UNCHECKED = "unchecked"  #: nothing was written: the price must be compared with budgets first
    TICK_SKIPPED = "tick_skipped"  #: nothing was written: the run of an earlier tick is still live
    TICK_PAUSED = "tick_paused"  #: nothing was written: the schedule is paused


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

    @classmethod
    def parse(cls, reply: Sequence[bytes], digest: str) -> Created:
        """Parse the reply to a request with this digest. The run of a key has the digest of its own request."""
        text, run_id = (one.decode() for one in reply)
        result = CreateResult(text)
        if result is CreateResult.EXISTS:
            run_id, _, digest = run_id.rpartition(" ")
        return cls(run_id, digest, result)


class AcceptResult(StrEnum):
    """The result of a request to accept a run."""

    ACCEPTED = "accepted"  #: the run is accepted, or stays a draft as the request asked, and has the waiter
    GONE = "gone"  #: nothing was written: the run does not exist
    FORGOTTEN = "forgotten"  #: nothing was written: the run has ended and was freed


@dataclass(frozen=True, slots=True)
class Accepted:
    """The reply to a request to accept a run. `parts` is 0 with a result but `ACCEPTED`."""

    result: AcceptResult
    parts: int = 0


@dataclass(frozen=True, slots=True)
class ScheduleTick:
    """A tick of a schedule. `if_running` tells what to do if the run of an earlier tick is live.

    `rule` is the rule of the schedule as JSON. With a `command_id`, a command starts a run beside the ticks: the id is
    decided once, as a tick is, and `tick` is the tick of that moment.
    """

    name: str
    tick: str
    if_running: str
    _: KW_ONLY
    rule: str = ""
    command_id: str = ""

    @property
    def id(self) -> str:
        """The name under which the decision is kept. No rule makes a tick with the name of a command."""
        return f"command-{self.command_id}" if self.command_id else self.tick


class BudgetQuestion(StrEnum):
    """Whether a new run is written before its price was compared with budgets."""

    NEVER = ""  #: the run is written: its price was compared, or nobody waits for an answer
    IF_BUDGETS = "1"  #: the run is written, if the store has no budget
    ALWAYS = "always"  #: the run is not written


@dataclass(frozen=True, slots=True)
class CreateRun(Command[Created]):
    """Create a run with its parts, or find the run that has this id, this idempotency key or this tick.

    With `start_delay`, create a draft, which a message accepts. If no message has accepted it after `start_delay`
    seconds, the dispatcher does, unless `expires` seconds have passed by then. The run of a `tick` is a draft only if
    it waits for another run. `waiter` is the first Celery id that waits for the outcome; by default it is `run_id`.
    `trace` is the context that the run's spans belong to. `asks_budget` tells whether the price must be compared first.
    If `parent` has a child already, that run is found, whatever its request.
    """

    run_id: str
    spec: RunSpec
    _: KW_ONLY
    key: str | None = field(default=None, repr=False)
    waiter: str | None = None
    signature: str = field(default="", repr=False)
    start_delay: float | None = None
    expires: float | None = None
    trace: str = ""
    tick: ScheduleTick | None = None
    asks_budget: BudgetQuestion = BudgetQuestion.NEVER
    parent: str | None = None
    script = "create_run"

    def encode(self, keys: Keys) -> Encoded:
        run_id, spec, tick, run_key = self.run_id, self.spec, self.tick, keys.run(self.run_id)
        waiter, parts = self.waiter or run_id, spec.parts()
        max_wait: Value = "" if spec.max_wait is None else spec.max_wait
        draft_until: Value = "" if self.start_delay is None else self.start_delay + REDISPATCH_MIN
        return Encoded(
            [
                *(run_id, keys.prefix, spec.digest, REDISPATCH_MIN, max_wait, f"{run_id} {spec.digest}", waiter),
                *(keys.encrypt_text(run_key, f"waiter:{waiter}", self.signature), draft_until),
                *(tick.if_running if tick else "", outcome_of_stop(CANCEL)),
                *((tick.tick, tick.name, tick.rule) if tick else ("", "", "")),
                *("1" if tick and tick.command_id else "", self.asks_budget.value, self.parent or "", len(parts)),
                *(one for part in parts for one in (part.size, strict_digest(targets_of(part)))),
                *flatten_fields(self._make_fields(keys, run_key)),
            ],
            [
                *(run_key, keys.due),
                *((keys.idempotency(self.key), keys.reservation(self.key)) if self.key else (run_key, run_key)),
                *((keys.tick(tick.name, tick.id), keys.schedule(tick.name)) if tick else ()),
                *((keys.schedules, keys.schedule_record(tick.name), keys.schedule_pauses) if tick else ()),
            ],
        )

    def decode(self, keys: Keys, reply: Any) -> Created:
        refuse_newer_reply(self.run_id, reply)
        return Created.parse(reply, self.spec.digest)

    def _make_fields(self, keys: Keys, run_key: str) -> dict[str, Value]:
        """Return the fields of the record that the script writes as they are."""
        spec = self.spec
        options, targets = spec.packed()
        private = {"spec": options, **{f"targets:{n}": field for n, field in enumerate(targets)}}
        private |= {inputs_field(n): field for n, field in enumerate(spec.packed_inputs())}
        fields: dict[str, Value] = {**version_fields()}
        fields |= {name: keys.encrypt(run_key, name, value) for name, value in private.items()}
        if keys.key_names:
            # The same options look different each time they are encrypted. Their digest shows that they are equal.
            fields |= {"key": keys.key_names[0], "options_digest": hashlib.sha256(options).hexdigest()[:32]}
        is_split = len(targets) > 1 and spec.targets_per_part != MAX_TARGETS_PER_JOB
        shown = spec.request_summary(hosts=not keys.key_names)
        optional: dict[str, Value | None] = {
            INPUT_COUNT: spec.input_count,
            "early": 1 if spec.early else None,
            "expires_in": self.expires,
            "trace": self.trace or None,
            "label": spec.label,
            "webhook": 1 if spec.webhook else None,
            "tags": " ".join(spec.tags) or None,
            "fair": spec.share or None,
            "part_size": spec.targets_per_part if is_split else None,
            "max_mc": spec.max_mc,
            "summary": json.dumps(shown, separators=(",", ":")) if shown else None,
        }
        fields |= self._export_fields()
        return fields | {name: value for name, value in optional.items() if value is not None}

    def _export_fields(self) -> dict[str, Value]:
        """Return the fields of an export. A run that a command starts beside the ticks has no tick of its own."""
        tick = self.tick
        if self.spec.export is None:
            return {}
        if tick is None:
            return {"export": ExportState.WAITING}
        at = None if tick.command_id else any_tick_time(tick.tick)
        return {
            "export": ExportState.WAITING,
            "export_schedule": tick.name,
            **({} if at is None else {"export_time": at.timestamp()}),
        }


@dataclass(frozen=True, slots=True)
class ReserveKey(Command[Created]):
    """Find the run of an idempotency key, or reserve an id for it.

    If the key has no run, the result has the id that a run of the request `digest` must have. The id is `run_id`,
    unless another id was reserved for the same request before.
    """

    key: str = field(repr=False)
    run_id: str
    digest: str
    script = "reserve_key"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.run_id, self.digest), [keys.idempotency(self.key), keys.reservation(self.key)])

    def decode(self, keys: Keys, reply: Any) -> Created:
        return Created.parse(reply, self.digest)


@dataclass(frozen=True, slots=True)
class FindRun(Command[Created | None]):
    """Find the run that a request to create this id would meet; None if the id is free."""

    run_id: str
    digest: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.run(self.run_id), "forgotten", "digest"))

    def decode(self, keys: Keys, reply: Any) -> Created | None:
        forgotten, digest = reply
        if forgotten is None and digest is None:
            return None
        result = CreateResult.EXISTS if forgotten is None else CreateResult.FORGOTTEN
        return Created(self.run_id, self.digest if digest is None else digest.decode(), result)


@dataclass(frozen=True, slots=True)
class AssignTick(Command[str]):
    """Assign a tick to a message that names none. The result is the tick that was first assigned to it."""

    message_id: str
    tick: str
    script = "claim_once"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((self.tick, MARK_TTL), [keys.message_tick(self.message_id)])

    def decode(self, keys: Keys, reply: Any) -> str:
        return str(reply.decode())


@dataclass(frozen=True, slots=True)
class AcceptRun(Command[Accepted]):
    """Accept a draft, unless `keep_draft` is set, and add a waiter."""

    run_id: str
    waiter: str = ""
    signature: str = field(default="", repr=False)
    _: KW_ONLY
    keep_draft: bool = False
    script = "accept_run"

    def encode(self, keys: Keys) -> Encoded:
        run_id, waiter, run_key = self.run_id, self.waiter, keys.run(self.run_id)
        signature = keys.encrypt_text(run_key, f"waiter:{waiter}", self.signature)
        return Encoded(
            (
                *(run_id, keys.prefix, REDISPATCH_MIN, waiter, signature),
                *("1" if self.keep_draft else "", encryption_key_name(keys)),
            ),
            [run_key, keys.due],
        )

    def decode(self, keys: Keys, reply: Any) -> Accepted:
        refuse_newer_reply(self.run_id, reply)
        return Accepted(AcceptResult(reply[0].decode()), *map(int, reply[1:]))


@dataclass(frozen=True, slots=True)
class DisownMessage(Command[bool]):
    """Mark the id that a message names as its run, because the run of its call has another id.

    A step ignores a message with a marked id. The result is whether no run has the id.
    """

    message_id: str
    script = "disown_message"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((keys.prefix,), [keys.run(self.message_id)])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)
