"""Reports of bulk calls: how many runs were changed, and which were left alone or failed, and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import datetime

    from scrape_do_celery.runs.plans import Estimate

#: Ids that a group names at most.
_NAMED: Final = 3


@dataclass(frozen=True, slots=True)
class RunGroup:
    """Runs that a bulk call left alone, or failed to change, for the same reason."""

    #: the reason, such as `live` or `in_doubt`; for failures, the name of the error's class
    reason: str
    #: the number of runs
    count: int
    #: the ids of up to three of them
    run_ids: tuple[str, ...]
    #: the reason in words, or the text of the first error
    text: str

    def to_json(self) -> dict[str, Any]:
        """Return the group as JSON."""
        return {"reason": self.reason, "count": self.count, "run_ids": list(self.run_ids), "text": self.text}

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.run_ids) else ""
        return f"{self.count:,} {self.reason}: {self.text} ({', '.join(self.run_ids)}{more})"


@dataclass(frozen=True, slots=True)
class BulkReport:
    """What a bulk call did, or with `dry_run` would do."""

    #: the runs that were canceled, retried or forgotten
    runs: int
    #: the tasks that are bought again
    tasks: int
    #: the stored pages that were deleted
    pages: int
    #: what the tasks cost; None without `dry_run`
    estimate: Estimate | None
    #: the runs that were left alone, by reason
    skipped: tuple[RunGroup, ...]
    #: the runs that could not be changed, by error
    failed: tuple[RunGroup, ...]
    #: the call looks at runs that were written before this time only
    until: datetime
    #: the cursor to carry on from with the same `until` and filters; None if no run follows
    cursor: str | None

    @property
    def found(self) -> int:
        """The number of runs that the call has looked at."""
        return self.runs + sum(one.count for one in (*self.skipped, *self.failed))

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON."""
        return {
            "runs": self.runs,
            "tasks": self.tasks,
            "pages": self.pages,
            "estimate": None if self.estimate is None else self.estimate.to_json(),
            "skipped": [one.to_json() for one in self.skipped],
            "failed": [one.to_json() for one in self.failed],
            "until": self.until.isoformat(),
            "cursor": self.cursor,
        }


class GrowingGroups:
    """Groups of runs that grow."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._ids: dict[str, list[str]] = {}
        self._texts: dict[str, str] = {}

    def add(self, run_id: str, reason: str, text: str) -> None:
        """Add a run to the group of its reason."""
        self._counts[reason] += 1
        self._texts.setdefault(reason, text)
        named = self._ids.setdefault(reason, [])
        if len(named) < _NAMED:
            named.append(run_id)

    def freeze(self) -> tuple[RunGroup, ...]:
        """Return the groups, the largest first."""
        return tuple(
            RunGroup(reason, count, tuple(self._ids[reason]), self._texts[reason])
            for reason, count in self._counts.most_common()
        )
