"""The status of a run at one moment, small enough to show, send and store."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scrape_do_celery.errors import RefusedValueError, ResultNotReadyError
from scrape_do_celery.models.reasons import FailureReason, join_reasons, reasons_from_json, reasons_to_json
from scrape_do_celery.rules.lifecycle import MAX_WORDS
from scrape_do_celery.rules.waits import WaitingFor, WaitKind
from scrape_do_celery.store.commands.runs import ReadRunWait

if TYPE_CHECKING:
    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.store import RunRecord, RunState, Store


@dataclass(frozen=True, slots=True)
class RunStatus:
    """The state of a run at one moment: figures and times, never a page, a header or a token. Times are in UTC."""

    #: the run, and its Celery result id
    run_id: str
    #: the state; after the end, the outcome
    state: RunState
    #: tasks that succeeded
    done: int
    #: tasks that failed, including gone tasks
    failed: int
    #: tasks that the API no longer knows
    gone: int
    #: all tasks, one for each target
    total: int
    #: credits that the API reported with the fetched pages
    credits: float
    #: ids of the jobs that were bought
    jobs: tuple[str, ...]
    #: the time at which the run was accepted
    created: datetime
    #: the time of the outcome; None for a live run
    ended: datetime | None
    #: the error of a failed run
    error: ScrapeDoError | None
    #: status words of the API that this package does not know, at most five
    unknown_statuses: tuple[str, ...] = ()
    #: the reasons of failed tasks with their numbers, the most frequent first; empty for a live run
    reasons: tuple[FailureReason, ...] = ()
    #: why the live run waits; None if nothing holds it back
    waiting_for: WaitingFor | None = None
    #: the label of the run
    label: str | None = None
    #: the tags of the run
    tags: tuple[str, ...] = ()
    #: the host of the targets, such as `shop.example`, or `shop.example, ...` if there are several; for a plugin, its
    #: key; empty if the store is encrypted
    hosts: str = ""

    @classmethod
    def read(cls, store: Store, run_id: str, account: str, token_id: str = "") -> RunStatus | None:
        """Return the status of a run, read in one round trip; None if the run does not exist."""
        found = store.run(ReadRunWait(run_id, account, token_id))
        return None if found is None else cls.from_record(*found)

    @classmethod
    def from_record(cls, record: RunRecord, waiting_for: WaitingFor | None = None) -> RunStatus:
        """Return the status of a record, with the reason of its wait as read with it."""
        parts = record.parts
        return cls(
            run_id=record.run_id,
            state=record.state,
            done=sum(part.done for part in parts),
            failed=sum(part.failed for part in parts),
            gone=sum(part.gone for part in parts),
            total=sum(part.total for part in parts),
            credits=sum(part.credits for part in parts),
            jobs=tuple(part.job_id for part in parts if part.job_id),
            created=datetime.fromtimestamp(record.created, UTC),
            ended=None if record.ended is None else datetime.fromtimestamp(record.ended, UTC),
            error=record.error,
            unknown_statuses=tuple(dict.fromkeys(word for part in parts for word in part.unknown_statuses))[:MAX_WORDS],
            reasons=reasons_from_json((record.result or {}).get("reasons")),
            waiting_for=waiting_for or _find_refused_value(record),
            label=record.label,
            tags=record.tags,
            hosts=record.hosts,
        )

    @property
    def has_ended(self) -> bool:
        """Whether the outcome is decided."""
        return self.state.is_outcome

    def progress_text(self) -> str:
        """Return the progress as a line of text, with the reasons of failures and of a wait, for monitors."""
        text = f"{self.done:,} of {self.total:,} tasks done"
        text += f", {self.failed:,} failed" if self.failed else ""
        text += f": {join_reasons(self.reasons)}" if self.reasons else ""
        return text if self.waiting_for is None else f"{text}; waits: {self.waiting_for}"

    def not_ready_error(self, text: str) -> ResultNotReadyError:
        """Return the error of a caller that cannot wait longer for the end. `text` is what it says of the run."""
        waits = "" if self.waiting_for is None else f"; it waits: {self.waiting_for}"
        return ResultNotReadyError(
            f"run {self.run_id} {text}{waits}; wait longer, or try again later; if the state does not change, run "
            "`scrape-do doctor`",
            self.run_id,
            None,
            None if self.waiting_for is None else self.waiting_for.to_json(),
        )

    def to_json(self) -> dict[str, Any]:
        """Return the status as JSON values, for a page that shows progress or for an event."""
        return {
            "run_id": self.run_id,
            "label": self.label,
            "tags": list(self.tags),
            "hosts": self.hosts,
            "state": self.state.value,
            "has_ended": self.has_ended,
            **{name: getattr(self, name) for name in ("done", "failed", "gone", "total", "credits")},
            "jobs": list(self.jobs),
            "created": self.created.isoformat(),
            "ended": None if self.ended is None else self.ended.isoformat(),
            "unknown_statuses": list(self.unknown_statuses),
            "reasons": reasons_to_json(self.reasons),
            "waiting_for": None if self.waiting_for is None else self.waiting_for.to_json(),
            "error": None if self.error is None else {"type": type(self.error).__name__, "message": str(self.error)},
        }


def _find_refused_value(record: RunRecord) -> WaitingFor | None:
    """Return the wait of an ended run whose outcome cannot be told, because a value of it is refused."""
    if not isinstance(record.unreadable, RefusedValueError):
        return None
    return WaitingFor(WaitKind.VALUE_REFUSED, str(record.unreadable))
