"""The record of a part as a frozen value, parsed from a reply of Redis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.fetch import Notes, notes_from_json
from scrape_do_celery.rules.lifecycle import JobMemory
from scrape_do_celery.rules.states import PartState
from scrape_do_celery.rules.waits import PartFacts, WaitKind
from scrape_do_celery.store.codec import unpack
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
    text,
)

if TYPE_CHECKING:
    from scrape_do_celery.errors import ScrapeDoError

_NOTHING = JobMemory()
_NO_NOTES: Notes = {}
_NO_TEXTS: tuple[str, ...] = ()


def _part_state(raw: bytes) -> PartState:
    return PartState(raw.decode())


def _job_memory(raw: bytes) -> JobMemory:
    return JobMemory.parse(raw.decode())


def _notes(raw: bytes) -> Notes:
    return notes_from_json(unpack(raw))


def _packed_numbers(raw: bytes) -> tuple[int, ...]:
    return tuple(unpack(raw))


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
    proven_purchase: int = stored(
        "proven",
        number,
        "purchase that a delivery has proven, while the part has no job; it stops the next `POST`",
        default=0,
    )
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
