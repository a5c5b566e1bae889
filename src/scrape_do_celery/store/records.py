"""The records of runs and parts as frozen values, parsed from replies of Redis."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import RefusedValueError
from scrape_do_celery.models import MAX_TARGETS_PER_JOB
from scrape_do_celery.redaction import name_hosts
from scrape_do_celery.rules.exports import ExportState
from scrape_do_celery.rules.fetch import Notes, notes_from_json
from scrape_do_celery.rules.lifecycle import JobMemory
from scrape_do_celery.rules.outcomes import RunState, may_have_bought, run_state
from scrape_do_celery.rules.states import PartState
from scrape_do_celery.rules.waits import PartFacts, WaitKind
from scrape_do_celery.store.codec import unpack
from scrape_do_celery.store.encryption import missing_key_error
from scrape_do_celery.store.fields import (
    Record,
    decimal,
    error_message,
    first_number,
    flag,
    json_texts,
    number,
    packed_texts,
    required,
    seconds_unless_zero,
    stored,
    stored_error,
    stored_many,
    text,
    words,
)
from scrape_do_celery.store.keys import Keys, PartId
from scrape_do_celery.store.versions import refuse_newer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.errors import EncryptionKeyError, ScrapeDoError

_PLAIN = Keys()
_NOTHING = JobMemory()
_NO_NOTES: Notes = {}
_NO_SUMMARY: dict[str, Any] = {}
_NO_TEXTS: tuple[str, ...] = ()


def pairs(flat: Sequence[bytes]) -> dict[str, bytes]:
    """Return the fields of a hash, from the flat list that Lua returns."""
    return {flat[i].decode(): flat[i + 1] for i in range(0, len(flat), 2)}


def _part_state(raw: bytes) -> PartState:
    return PartState(raw.decode())


def _export_state(raw: bytes) -> ExportState:
    return ExportState(raw.decode())


def _job_memory(raw: bytes) -> JobMemory:
    return JobMemory.parse(raw.decode())


def _notes(raw: bytes) -> Notes:
    return notes_from_json(unpack(raw))


def _packed_numbers(raw: bytes) -> tuple[int, ...]:
    return tuple(unpack(raw))


def _json_object(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(raw)
    return found


def _packed_object(raw: bytes) -> dict[str, Any]:
    found: dict[str, Any] = unpack(raw)
    return found


@dataclass(frozen=True, slots=True)
class PartRecord(Record):
    """The record of a part. Times are seconds by Redis `TIME`, or by the watched clock if the field says so.

    If `error` cannot be decrypted, the record has the error of the decryption instead. Other texts that cannot be
    decrypted are left out.
    """

    state: PartState = required("state", _part_state, "state of the part")
    fence: int = stored("fence", number, "number that each write of the present claim carries", default=0)
    total: int = stored("total", number, "number of targets", default=0)
    attempts: int = stored("attempts", number, "claims in a row without progress", default=0)
    due_at: float | None = stored("due_at", decimal, "when the part needs its next step")
    intent: float | None = stored("intent", decimal, "when the last intent to buy was written")
    first_intent: float | None = stored("first_intent", decimal, "when the first intent was written")
    first_order: int = stored(
        "first_order", number, "position of the first intent in the order; 0: no job counts as older", default=0
    )
    in_doubt_since: float | None = stored(
        "in_doubt_since", decimal, "when the purchase became in doubt, by the watched clock"
    )
    watched: float | None = stored(
        "watched", decimal, "when the last intent was written, or its job became the part's own, by the watched clock"
    )
    first_watched: float | None = stored(
        "first_watched", decimal, "when the first intent was written, by the watched clock"
    )
    account: str | None = stored("account", text, "account that buys the job, or bought it")
    purchases: int = stored("purchases", number, "number of purchases that were begun", default=0)
    intent_lost: bool = stored("intent_lost", flag, "the store may have lost the intent", default=False)
    refused: bool = stored(
        "refused", flag, "the API rejected the last `POST`; one listing shows whether it bought a job", default=False
    )
    submit_error: str | None = stored(
        "submit_error", error_message, "error that left the last `POST` in doubt", encrypted=True
    )
    marker: str = stored("marker", text, "marker in the request that identifies its job", default="")
    not_found: int = stored("not_found", number, "full listings that did not show the job", default=0)
    not_found_at: float | None = stored(
        "not_found_at", seconds_unless_zero, "when the last such listing had begun, by the watched clock"
    )
    fingerprint: str = stored("fingerprint", text, "digest of the targets", default="")
    job_id: str | None = stored("job", text, "id of the job at the API")
    task_ids: tuple[str, ...] = stored("tasks", packed_texts, "ids of the tasks, by position", default=_NO_TEXTS)
    bought_at: float | None = stored("bought_at", decimal, "when the job became the part's own")
    status: str | None = stored("status", text, "last status word of the job")
    polls: int = stored("polls", number, "polls of the job, or searches for it", default=0)
    not_found_polls: int = stored("not_found_polls", number, "polls in a row that did not find the job", default=0)
    fetch_passes: int = stored("fetch_passes", number, "passes over tasks that are missing", default=0)
    api_failures: int = stored("api_failures", number, "calls in a row that failed", default=0)
    last_api_error: str | None = stored("api_error", text, "error of the last failed call", encrypted=True)
    trouble: str | None = stored("trouble", text, "kind of that error, as a kind of wait")
    trouble_since: float | None = stored("trouble_since", decimal, "when calls began to fail for this kind of reason")
    refused_since: float | None = stored(
        "refused_since", seconds_unless_zero, "when the API first refused the token, by the watched clock"
    )
    lease: float | None = stored(
        "lease", seconds_unless_zero, "until when the claim holds the part, by the watched clock"
    )
    is_polled_by_list: bool = stored("poll_set", flag, "the list poll of its account polls the job", default=False)
    dispatches: int = stored("dispatches", number, "step messages since the last claim", default=0)
    is_locked: bool = stored(
        "same_targets", flag, "another part bought the same targets when the part tried", default=False
    )
    cancel_sent_at: float | None = stored("cancel_sent_at", decimal, "when the job was canceled at the API")
    stop_seen_at: float | None = stored(
        "stop_seen_at", decimal, "when a step first saw the stop request, by the watched clock"
    )
    reported_ok: int = stored("reported_ok", number, "tasks that the API reports as succeeded", default=0)
    reported_failed: int = stored("reported_failed", number, "tasks that the API reports as failed", default=0)
    stored_ok: int = stored("stored_ok", number, "stored tasks that succeeded", default=0)
    stored_failed: int = stored("stored_failed", number, "stored tasks that failed", default=0)
    gone: int = stored("gone", number, "tasks that the API no longer has", default=0)
    credits: float = stored("credits", decimal, "credits that the stored tasks cost", default=0.0)
    budget: str | None = stored("budget", text, "budget that the part waits for: `<mc> <period> <scope>`")
    outcome: str | None = stored("outcome", text, "outcome of the part")
    error: ScrapeDoError | None = stored(
        "error", stored_error, "error of the outcome", encrypted=True, error_instead=True
    )
    is_unlisted: bool = stored(
        "unlisted", flag, "the job list does not show whether the job has ended; polls read the job", default=False
    )
    unknown_job: JobMemory = stored(
        "unknown_job", _job_memory, "facts from earlier answers about a job with an unknown status", default=_NOTHING
    )
    unknown_statuses: tuple[str, ...] = stored(
        "words", json_texts, "unknown status words of the job and of its tasks", default=_NO_TEXTS
    )
    has_webhook: bool = stored("webhook", flag, "the last `POST` carried our webhook", default=False)
    hints: int = stored("hints", number, "deliveries that demanded a step", default=0)
    hints_seen: int = stored(
        "hints_seen", number, "value of `hints` that the last step of deliveries had read", default=0
    )
    job_hint: int = stored(
        "job_hint",
        first_number,
        "value of `hints` when a delivery last demanded a poll of the job; nonce of that command",
        default=0,
    )
    safety_polls: int = stored("safety", number, "safety polls since the last delivery", default=0)
    unended: tuple[int, ...] = stored(
        "unended",
        _packed_numbers,
        "positions of tasks that deliveries name, and that the API showed unended",
        default=(),
    )
    notes: Notes = stored(
        "notes", _notes, "unusable answers for tasks, by position, and for the job itself", default=_NO_NOTES
    )

    @property
    def api_error(self) -> str | None:
        """The error of the last call, while the part waits to make the call again."""
        return self.last_api_error if self.api_failures else None

    @property
    def has_contents(self) -> bool:
        """Whether any task of the part is stored."""
        return self.stored_ok + self.stored_failed > 0

    def facts(self, clock_lead: float, **of_store: Any) -> PartFacts:
        """Return what shows why the part waits, with what the store knows of it beside its record.

        `clock_lead` is by how many seconds the server's clock is ahead of the watched clock.
        """
        in_doubt = None
        if self.state is PartState.RECONCILING:
            in_doubt = self.intent if self.in_doubt_since is None else self.in_doubt_since + clock_lead
        return PartFacts(
            state=self.state,
            trouble=(self.trouble or WaitKind.API_ERROR) if self.api_failures else None,
            error=self.api_error,
            trouble_since=self.trouble_since,
            due_at=self.due_at,
            # The due time of a part that a list poll polls is an earlier one.
            untaken_since=None
            if self.is_polled_by_list or self.due_at is None
            else max(self.due_at, 0.0 if self.lease is None else self.lease + clock_lead),
            in_doubt_since=in_doubt,
            submit_error=self.submit_error,
            is_locked=self.is_locked,
            budget=self.budget,
            dispatches=self.dispatches,
            **of_store,
        )

    @property
    def done(self) -> int:
        """The number of tasks that are known to have succeeded."""
        return self.stored_ok if self.state is PartState.DONE else max(self.reported_ok, self.stored_ok)

    @property
    def failed(self) -> int:
        """The number of tasks that are known to have failed, to be canceled, or to be gone."""
        return self.stored_failed if self.state is PartState.DONE else max(self.reported_failed, self.stored_failed)


@dataclass(frozen=True, slots=True)
class RunRecord(Record):
    """The record of a run with the records of its parts, as one command read them."""

    run_id: str
    parts: tuple[PartRecord, ...]
    #: why this process cannot decrypt the whole record, or refuses a value of it; it must not deliver such a run
    unreadable: EncryptionKeyError | None
    created: float = required("created", decimal, "when the run was written")
    accepted: float | None = stored("accepted", decimal, "when the run was accepted; missing: the run is a draft")
    outcome: str | None = stored("outcome", text, "outcome of the run")
    stop_reason: str | None = stored("stop_reason", text, "reason of the stop request: `cancel` or `deadline`")
    skip_unsent: bool = stored("skip_unsent", flag, "the parts that were not sent stay unsent", default=False)
    ended: float | None = stored("ended", decimal, "when the outcome was written")
    decided_by: int = stored("decided_by", number, "number of the part that decided the outcome", default=0)
    part_count: int = stored("parts", number, "number of parts", default=0)
    result: dict[str, Any] | None = stored("result", _packed_object, "result that Celery gets", encrypted=True)
    error: ScrapeDoError | None = stored(
        "error", stored_error, "error of the outcome", encrypted=True, error_instead=True
    )
    max_wait: float | None = stored("max_wait", decimal, "seconds until the run is stopped")
    expires_in: float | None = stored("expires_in", decimal, "seconds after which a draft is dropped")
    after: str | None = stored("after", text, "run whose end this draft waits for")
    parent: str | None = stored("parent", text, "run whose child this run is")
    child: str | None = stored("child", text, "run that buys what this run lacks")
    waiters: Mapping[str, str] = stored_many(
        "waiter:<id>", text, "signature of the delivery to a Celery id that waits", encrypted=True
    )
    request_summary: Mapping[str, Any] = stored(
        "summary", _json_object, "public summary of the request", default=_NO_SUMMARY
    )
    key_names: tuple[str, ...] = stored("key", words, "names of the keys of its encrypted values", default=_NO_TEXTS)
    tags: tuple[str, ...] = stored("tags", words, "tags of the run, which are never encrypted", default=_NO_TEXTS)
    label: str | None = stored("label", text, "label of the run, which is never encrypted")
    has_webhooks: bool = stored(
        "webhook", flag, "jobs are bought with webhooks that lead to our receiver", default=False
    )
    share: str = stored("fair", text, "priority, weight and fairness key, if the run sets one of them", default="")
    part_size: int = stored(
        "part_size", number, "targets of each part but the last, if not 1,000", default=MAX_TARGETS_PER_JOB
    )
    trace: str = stored("trace", text, "trace context that the run's spans belong to", default="")
    export: ExportState | None = stored("export", _export_state, "state of the export; missing: no export follows")
    export_schedule: str = stored("export_schedule", text, "schedule that the destination may name", default="")
    export_time: float | None = stored("export_time", decimal, "time of the tick that the destination may name")
    export_report: Mapping[str, Any] = stored(
        "export_report", _json_object, "figures or last error of the export", default=_NO_SUMMARY, encrypted=True
    )

    @classmethod
    def from_reply(cls, run_id: str, reply: Sequence[Any], keys: Keys = _PLAIN) -> RunRecord | None:
        """Parse the reply of `read_run.lua`. Return None if the run does not exist.

        Raises:
            NewerRecordError: a newer version of this package wrote the record.
        """
        if not reply:
            return None
        fields = pairs(reply[0])
        refuse_newer(run_id, fields.get("v"))
        values, unreadable = cls.read_values(fields, keys.run(run_id), keys)
        hashes = [(PartId(run_id, n), pairs(part)) for n, part in enumerate(reply[1:]) if part]
        parts = tuple(PartRecord.parse(fields, keys.part(part_id), keys) for part_id, fields in hashes)
        missing = set(values.get("key_names", ())) - set(keys.key_names)
        why = missing_key_error(min(missing), keys.key_names) if missing else next(iter(unreadable.values()), None)
        return cls(run_id=run_id, parts=parts, unreadable=why, **values)

    @property
    def has_fairness_key(self) -> bool:
        """Whether the run has a fairness key of its own."""
        return bool(self.share.rpartition(" ")[2])

    @property
    def lacks_key(self) -> bool:
        """Whether this process lacks a key of the record. Such a process must neither decide nor announce the run."""
        return self.unreadable is not None and not isinstance(self.unreadable, RefusedValueError)

    @property
    def awaits_export(self) -> bool:
        """Whether the run has ended, and its export has not."""
        return self.outcome is not None and self.export is not None and not self.export.has_ended

    @property
    def is_in_doubt(self) -> bool:
        """Whether an ended part may have bought a job that no search found."""
        return any(may_have_bought(one.outcome, purchases=one.purchases, job_id=one.job_id) for one in self.parts)

    @property
    def expires(self) -> float | None:
        """When the draft is dropped; None if it stays."""
        return None if self.expires_in is None else self.created + self.expires_in

    def part_id(self, number: int) -> PartId:
        """Return the id of a part of the run."""
        return PartId(self.run_id, number)

    @property
    def summary(self) -> dict[str, Any]:
        """The summary that monitors show: the number of targets, the host and the options, nothing private."""
        return {"targets": sum(part.total for part in self.parts), **self.request_summary}

    @property
    def hosts(self) -> str:
        """The host of the targets, as `name_hosts` words it."""
        return name_hosts(self.request_summary)

    @property
    def names(self) -> dict[str, str | int | None]:
        """What log records and spans say of the run beside its id."""
        return {"label": self.label, "hosts": self.hosts or None, "targets": self.summary["targets"]}

    @property
    def state(self) -> RunState:
        """The state of the run."""
        return run_state(self.outcome, [p.state for p in self.parts])
