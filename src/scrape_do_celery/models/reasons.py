"""The reasons of failed tasks, grouped with their numbers."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.outside_text import one_line, redact_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from .tasks import TaskDetails

__all__ = ["FailureReason"]

#: The text of the last group: reasons that are rarer, or that were not read.
OTHER: Final = "other reasons"
#: Groups with a text of their own; characters of a text.
_MOST, _LONGEST = 5, 150
#: The sign of multiplication, between the number and the reason.
_TIMES: Final = " \u00d7 "
#: A URL and an id are of one task, so that each task would be a group. The query of a URL may hold a secret.
_URL: Final = re.compile(r"\bhttps?://[^\s\"'<>]+")
_ID: Final = re.compile(r"(?i)\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b")


@dataclass(frozen=True, slots=True)
class FailureReason:
    """A reason for which tasks failed, and the number of these tasks."""

    #: the reason that the API gave, without URLs and secrets; else the answer of the target
    reason: str
    #: the number of tasks that failed for this reason
    count: int

    def __str__(self) -> str:
        return f"{self.count:,}{_TIMES}{self.reason}"


def describe_failure(task: TaskDetails) -> str:
    """Return the reason of a failed task, in a form that equal failures share."""
    if task.gone:
        return "the API no longer has the task"
    text = _ID.sub("<id>", _URL.sub("<URL>", redact_text(one_line(task.error_message or "")))).strip()
    if text:
        return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
    return f"the target answered {task.status_code}" if task.status_code else f"ended as {one_line(str(task.status))}"


def group_reasons(reasons: Iterable[str], unread: int = 0) -> list[FailureReason]:
    """Return the groups, the largest first. `unread` tasks have a reason that was not read."""
    counted = Counter(reasons).most_common()
    rest = unread + sum(count for _, count in counted[_MOST:])
    groups = [FailureReason(*one) for one in counted[:_MOST]]
    return [*groups, FailureReason(OTHER, rest)] if rest else groups


def join_reasons(reasons: Iterable[FailureReason]) -> str:
    """Return the groups as one text, separated by semicolons."""
    return "; ".join(map(str, reasons))


def reasons_to_json(reasons: Iterable[FailureReason]) -> list[dict[str, Any]]:
    """Return the groups as JSON values."""
    return [asdict(reason) for reason in reasons]


def reasons_from_json(data: Sequence[Mapping[str, Any]] | None) -> tuple[FailureReason, ...]:
    """Return the groups of JSON values."""
    return tuple(FailureReason(str(one["reason"]), int(one["count"])) for one in data or ())
