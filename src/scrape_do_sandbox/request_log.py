"""The log of the requests to the sandbox, and counts of them."""

from __future__ import annotations

import json
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scrape_do_sandbox.timers import format_time

if TYPE_CHECKING:
    from scrape_do_sandbox.calls import ApiCall

_KEEP = 200_000


@dataclass(slots=True)
class LogEntry:
    """A line of the request log: a request to the sandbox, or a call of a webhook.

    `answered` is a status, `reset`, `held`, `cut`, `no_answer`, or None while the request is open.
    """

    index: int
    time: float
    call: ApiCall
    answered: int | str | None = None
    job_id: str = ""
    options: dict[str, Any] | None = None
    #: More fields, by the name under which the log shows them.
    details: dict[str, Any] = field(default_factory=dict)

    def show_fields(self) -> dict[str, Any]:
        """Return the entry for the control endpoint, without token, headers, cookies or body values."""
        call = self.call
        shown = {
            "index": self.index,
            "time": format_time(self.time),
            "at": self.time,
            "method": call.method,
            "kind": call.kind,
            "path": call.path,
            "job_id": self.job_id or call.job_id or None,
            "task_id": call.task_id or None,
            "status": self.answered,
            "token": call.token or None,
            "faults": call.applied,
        }
        if call.kind == "create_job":
            shown |= {"targets": list(call.targets), "options": self.options}
        return shown | self.details


class RequestLog:
    """The log of requests to the sandbox, and counts of them. The newest 200,000 entries are kept."""

    def __init__(self, log_file: str | None = None) -> None:
        self._file = Path(log_file).open("a", encoding="utf-8") if log_file else None  # noqa: SIM115
        self._entries: deque[LogEntry] = deque(maxlen=_KEEP)
        self._index = 0
        self.counts: Counter[str] = Counter()
        self.answers: dict[str, Counter[str]] = {}

    def open_entry(self, call: ApiCall, now: float) -> LogEntry:
        """Add an entry; entries are numbered from 1."""
        self._index += 1
        entry = LogEntry(self._index, now, call)
        self._entries.append(entry)
        return entry

    def close_entry(self, entry: LogEntry, answered: int | str) -> None:
        """Record the answer that the client got."""
        entry.answered = answered
        self.answers.setdefault(entry.call.kind, Counter())[str(answered)] += 1
        if self._file:
            self._file.write(json.dumps(entry.show_fields()) + "\n")
            self._file.flush()

    def list_since(self, index: int) -> list[dict[str, Any]]:
        """Return the entries after the entry with number `index`."""
        missed = max(0, len(self._entries) - (self._index - index))
        return [self._entries[position].show_fields() for position in range(missed, len(self._entries))]

    def count_all(self) -> dict[str, Any]:
        """Return counts by kind and status, and all other counts."""
        answers = {kind: dict(counter) for kind, counter in self.answers.items()}
        requests = sum(sum(found.values()) for kind, found in answers.items() if kind != "webhook")
        return {"requests": requests, "answers": answers, **self.counts}

    def clear(self) -> None:
        """Clear the log and all counts."""
        self._entries.clear()
        self._index = 0
        self.answers.clear()
        self.counts.clear()

    def close_file(self) -> None:
        """Close the log file."""
        if self._file:
            self._file.close()
