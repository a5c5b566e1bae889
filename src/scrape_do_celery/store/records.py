"""The records of runs and parts as frozen values, and the claim of a part, parsed from replies of Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import SubmitInDoubtError
from scrape_do_celery.rules.fetch import Notes, notes_from_json
from scrape_do_celery.rules.lifecycle import JobMemory
from scrape_do_celery.rules.polling import RETENTION
from scrape_do_celery.rules.states import PartState, RunState, run_state
from scrape_do_celery.store.codec import unpack
from scrape_do_celery.store.encryption import missing_key_error
from scrape_do_celery.store.keys import Keys, PartId
from scrape_do_celery.store.sealing import (
    decrypted_error,
    decrypted_field,
    decrypted_message,
    decrypted_spec,
    decrypted_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError
    from scrape_do_celery.store.options import RunSpec

_HOUR = 3600.0
_PLAIN = Keys()
_NOTHING = JobMemory()
#: The version of the records that this code writes.
VERSION = 1


def pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Return the fields of a hash, from the flat list that Lua returns."""
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


@dataclass(frozen=True, slots=True)
class PartRecord:
    """The record of a part. Times are seconds by Redis `TIME`."""

    state: PartState
    fence: int
    total: int
    attempts: int = 0
    intent: float | None = None
    first_intent: float | None = None
    #: position of the first intent in the order of all intents and first sightings of jobs; 0: no job counts as older
    first_order: int = 0
    in_doubt_since: float | None = None
    purchases: int = 0
    intent_lost: bool = False
    #: whether the API answered the last `POST` with 429, 401 or 403; one listing shows whether it still bought a job
    refused: bool = False
    #: why the answer to the last `POST` does not show whether a job was bought
    submit_error: str | None = None
    marker: str = ""
    not_found: int = 0
    not_found_at: float | None = None
    fingerprint: str = ""
    job_id: str | None = None
    task_ids: tuple[str, ...] = ()
    bought_at: float | None = None
    status: str | None = None
    polls: int = 0
    not_found_polls: int = 0
    fetch_passes: int = 0
    api_failures: int = 0
    #: the error of the last call, while the part waits to make the call again
    api_error: str | None = None
    refused_since: float | None = None
    cancel_sent_at: float | None = None
    stop_seen_at: float | None = None
    reported_ok: int = 0
    reported_failed: int = 0
    stored_ok: int = 0
    stored_failed: int = 0
    gone: int = 0
    credits: float = 0.0
    outcome: str | None = None
    error: ScrapeDoError | None = None
    #: whether the job is polled by itself, because the job list does not show enough to tell whether it has ended
    is_unlisted: bool = False
    #: facts from earlier answers for a job whose status word does not tell whether it has ended
    unknown_job: JobMemory = _NOTHING
    #: the unknown status words of the job and of its tasks
    unknown_statuses: tuple[str, ...] = ()
    #: the notes on unusable answers for tasks, by position, and for the job itself
    notes: Notes = field(default_factory=dict)

    @classmethod
    def parse(cls, fields: Mapping[str, bytes], part_id: PartId | None = None, keys: Keys = _PLAIN) -> PartRecord:
        """Parse the fields of a part's record.

        If `error` cannot be decrypted, the record has the error of the decryption instead. Other texts that cannot be
        decrypted are left out.
        """
        key = "" if part_id is None else keys.part(part_id.run_id, part_id.part)

        def number(name: str) -> int:
            return int(fields.get(name, 0))

        def moment(name: str) -> float | None:
            return float(fields[name]) if name in fields else None

        def text(name: str) -> str | None:
            return fields[name].decode() if name in fields else None

        return cls(
            state=PartState(fields["state"].decode()),
            fence=number("fence"),
            total=number("total"),
            attempts=number("attempts"),
            intent=moment("intent"),
            first_intent=moment("first_intent"),
            first_order=number("first_order"),
            in_doubt_since=moment("in_doubt_since"),
            purchases=number("purchases"),
            intent_lost="intent_lost" in fields,
            refused="refused" in fields,
            submit_error=decrypted_message(fields, "submit_error", key, keys),
            marker=text("marker") or "",
            not_found=number("not_found"),
            not_found_at=moment("not_found_at") or None,
            fingerprint=text("fingerprint") or "",
            job_id=text("job"),
            task_ids=tuple(unpack(fields["tasks"])) if "tasks" in fields else (),
            bought_at=moment("bought_at"),
            status=text("status"),
            polls=number("polls"),
            not_found_polls=number("not_found_polls"),
            fetch_passes=number("fetch_passes"),
            api_failures=number("api_failures"),
            api_error=decrypted_text(fields, "api_error", key, keys) if number("api_failures") else None,
            refused_since=moment("refused_since") or None,
            cancel_sent_at=moment("cancel_sent_at"),
            stop_seen_at=moment("stop_seen_at"),
            reported_ok=number("reported_ok"),
            reported_failed=number("reported_failed"),
            stored_ok=number("stored_ok"),
            stored_failed=number("stored_failed"),
            gone=number("gone"),
            credits=float(fields.get("credits", 0)),
            outcome=text("outcome"),
            error=decrypted_error(fields, key, keys),
            is_unlisted="unlisted" in fields,
            unknown_job=JobMemory.parse(text("unknown_job") or ""),
            unknown_statuses=tuple(json.loads(fields.get("words", b"[]"))),
            notes=notes_from_json(unpack(fields["notes"])) if "notes" in fields else {},
        )

    @property
    def has_contents(self) -> bool:
        """Whether any task of the part is stored."""
        return self.stored_ok + self.stored_failed > 0

    @property
    def waiting_for(self) -> str | None:
        """The reason why the part waits: the error of its last call, or a purchase in doubt; None if there is none."""
        if self.state is PartState.DONE:
            return None
        if self.api_error or self.state is not PartState.RECONCILING:
            return self.api_error or None
        return f"it is not known yet whether a job was bought: {self.submit_error or 'its step died'}"

    @property
    def done(self) -> int:
        """The number of tasks that are known to have succeeded."""
        return self.stored_ok if self.state is PartState.DONE else max(self.reported_ok, self.stored_ok)

    @property
    def failed(self) -> int:
        """The number of tasks that are known to have failed, to be canceled, or to be gone."""
        return self.stored_failed if self.state is PartState.DONE else max(self.reported_failed, self.stored_failed)


@dataclass(frozen=True, slots=True)
class Claim:
    """The claim of a step on a part: the part's record at that time, and the fence that each write must carry."""

    part_id: PartId
    now: float
    part: PartRecord
    stop_reason: str | None
    skip_unsent: bool
    max_wait: float | None
    #: whether tasks are fetched as they end, before their job does
    early: bool
    #: seconds since the part was due
    late: float
    #: the trace context that the run's spans belong to; empty if the run has none
    trace: str
    spec_field: bytes
    targets_field: bytes
    #: the verdict on the account; empty: the breaker is closed, or a stop request lets the part through;
    #: `probe`, `over`: the breaker is open, and the step tries the token first;
    #: `other_account`: the part belongs to another account, and must end
    breaker: str = ""
    keys: Keys = _PLAIN

    @classmethod
    def parse(cls, part_id: PartId, reply: Sequence[Any], keys: Keys = _PLAIN) -> Claim:
        """Parse the claim in the reply of `claim_part.lua`."""
        _, now, part, (spec, targets, stop_reason, skip_unsent, max_wait, early, trace), breaker = reply
        fields = pairs(part)
        return cls(
            part_id=part_id,
            now=float(now),
            part=PartRecord.parse(fields, part_id, keys),
            stop_reason=stop_reason.decode() if stop_reason else None,
            skip_unsent=bool(skip_unsent),
            max_wait=float(max_wait) if max_wait else None,
            early=bool(early),
            late=max(0.0, float(now) - float(fields.get("due_at", now))),
            trace=trace.decode() if trace else "",
            spec_field=spec,
            targets_field=targets,
            breaker=breaker.decode(),
            keys=keys,
        )

    @property
    def is_unresolved(self) -> bool:
        """Whether the part may have bought a job whose id is unknown."""
        return self.part.state in {PartState.SUBMITTING, PartState.RECONCILING} and not self.part.refused

    def in_doubt_error(self, why: str, candidates: Sequence[str] = ()) -> SubmitInDoubtError:
        """Return the error of a purchase that stays in doubt."""
        run_id, part = self.part_id.run_id, self.part
        text = f"run {run_id}: a job of {part.total} target(s) may have been bought, its answer was lost: {why}"
        if part.submit_error:
            text += f"; the last cause: {part.submit_error}"
        return SubmitInDoubtError(text, part.total, part.intent, list(candidates), run_id)

    def is_forgotten(self) -> bool:
        """Tell whether the API has certainly deleted the part's job."""
        return self._is_past_life(self.part.bought_at)

    def is_past_finding(self) -> bool:
        """Tell whether the API has certainly deleted any job that the part's last purchase bought."""
        return self._is_past_life(self.part.intent)

    def _is_past_life(self, bought: float | None) -> bool:
        return bought is not None and self.now - bought > RETENTION + _HOUR

    def stop_grace_passed(self, grace: float) -> bool:
        """Tell whether a step saw the stop request more than `grace` seconds ago.

        The time before that does not count, because there may have been no worker.
        """
        return self.part.stop_seen_at is not None and self.now - self.part.stop_seen_at > grace

    def spec(self) -> RunSpec:
        """Return the run's options with the targets of this part.

        Raises:
            EncryptionKeyError: If this process cannot decrypt them.
            ValueError: If they are not a request that can be sent.
        """
        fields = {"spec": self.spec_field, f"targets:{self.part_id.part}": self.targets_field}
        return decrypted_spec(self.keys, self.part_id.run_id, fields)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """The record of a run with the records of its parts, as one command read them."""

    run_id: str
    created: float
    accepted: float | None
    parts: tuple[PartRecord, ...]
    outcome: str | None
    stop_reason: str | None
    ended: float | None
    decided_by: int
    result: dict[str, Any] | None
    error: ScrapeDoError | None
    max_wait: float | None
    expires: float | None
    #: the run whose end this draft waits for
    after: str | None
    waiters: Mapping[str, str]
    #: the public summary of the request
    request_summary: Mapping[str, Any] = field(default_factory=dict)
    #: why this process cannot decrypt the whole record; such a process must neither decide nor deliver the run
    unreadable: EncryptionKeyError | None = None
    #: the trace context that the run's spans belong to; empty if the run has none
    trace: str = ""

    @classmethod
    def parse(cls, run_id: str, reply: Sequence[Any], keys: Keys = _PLAIN) -> RunRecord | None:
        """Parse the reply of `read_run.lua`. Return None if the run does not exist."""
        if not reply:
            return None
        fields, key = pairs(reply[0]), keys.run(run_id)
        result, unreadable = decrypted_field(fields, "result", key, keys, unpack)
        missing = set(fields.get("key", b"").decode().split()) - set(keys.key_names)
        return cls(
            run_id=run_id,
            created=float(fields["created"]),
            accepted=float(fields["accepted"]) if "accepted" in fields else None,
            parts=tuple(
                PartRecord.parse(pairs(part), PartId(run_id, n), keys) for n, part in enumerate(reply[1:]) if part
            ),
            outcome=fields["outcome"].decode() if "outcome" in fields else None,
            stop_reason=fields["stop_reason"].decode() if "stop_reason" in fields else None,
            ended=float(fields["ended"]) if "ended" in fields else None,
            decided_by=int(fields.get("decided_by", 0)),
            result=result,
            error=decrypted_error(fields, key, keys),
            max_wait=float(fields["max_wait"]) if "max_wait" in fields else None,
            expires=float(fields["created"]) + float(fields["expires_in"]) if "expires_in" in fields else None,
            after=fields["after"].decode() if "after" in fields else None,
            waiters={
                name.removeprefix("waiter:"): decrypted_text(fields, name, key, keys) or ""
                for name in fields
                if name.startswith("waiter:")
            },
            request_summary=json.loads(fields.get("summary", b"{}")),
            unreadable=missing_key_error(min(missing), keys.key_names) if missing else unreadable,
            trace=fields.get("trace", b"").decode(),
        )

    def part_id(self, number: int) -> PartId:
        """Return the id of a part of the run."""
        return PartId(self.run_id, number)

    @property
    def summary(self) -> dict[str, Any]:
        """The summary that monitors show: the number of targets, the host and the options, nothing private."""
        return {"targets": sum(part.total for part in self.parts), **self.request_summary}

    @property
    def state(self) -> RunState:
        """The state of the run."""
        return run_state(self.outcome, [p.state for p in self.parts])
