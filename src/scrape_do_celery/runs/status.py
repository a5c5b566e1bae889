"""`RunStatus`: a run at one moment, small enough to be shown, sent and kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.lifecycle import MAX_WORDS

if TYPE_CHECKING:
    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.store import RunRecord, RunState


@dataclass(frozen=True, slots=True)
class RunStatus:
    """Where a run stands: figures and times, never a page, a header or a token. Times are aware, in UTC."""

    run_id: str
    state: RunState
    #: Tasks that succeeded, that failed (those that are gone among them), and that there are.
    done: int
    failed: int
    gone: int
    total: int
    #: As the API reported them with the pages that were fetched.
    credits: float
    jobs: tuple[str, ...]
    created: datetime
    ended: datetime | None
    error: ScrapeDoError | None
    #: Status words of the API that we do not know, as far as the parts remember them.
    unknown_statuses: tuple[str, ...] = ()
    #: What a live part waits for, after a call that failed: the text of the last error. None while nothing is wrong.
    waiting_for: str | None = None

    @classmethod
    def from_record(cls, record: RunRecord) -> RunStatus:
        """The status of a record."""
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
            waiting_for=next((part.waiting_for for part in parts if part.waiting_for), None),
        )

    @property
    def has_ended(self) -> bool:
        """Whether its outcome is decided."""
        return self.state.is_outcome

    def to_json(self) -> dict[str, Any]:
        """As JSON carries it: for a page that shows progress, or an event."""
        return {
            "run_id": self.run_id,
            "state": self.state.value,
            "has_ended": self.has_ended,
            **{name: getattr(self, name) for name in ("done", "failed", "gone", "total", "credits")},
            "jobs": list(self.jobs),
            "created": self.created.isoformat(),
            "ended": None if self.ended is None else self.ended.isoformat(),
            "unknown_statuses": list(self.unknown_statuses),
            "waiting_for": self.waiting_for,
            "error": None if self.error is None else {"type": type(self.error).__name__, "message": str(self.error)},
        }
