"""Detect that many jobs are not found at once: then the fault is more likely on the way to the API."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

#: Seconds for which an answer counts.
WINDOW: Final = 60.0
#: Jobs whose last answer must be "not found", at least.
AT_LEAST: Final = 3
#: Jobs that are remembered: more than a process requests within the window.
_REMEMBERED: Final = 10_000


class AbsenceTracker:
    """A memory of whether each job's last answer was "not found". The caller supplies the times."""

    def __init__(self) -> None:
        self._answers: OrderedDict[str, tuple[float, bool]] = OrderedDict()

    def note(self, job_id: str, now: float, *, absent: bool) -> None:
        """Remember the last answer for a job, at the time `now` in seconds."""
        self._answers[job_id] = (now, absent)
        self._answers.move_to_end(job_id)
        if len(self._answers) > _REMEMBERED:
            self._answers.popitem(last=False)

    def is_widespread(self, now: float) -> bool:
        """Return whether at least 3 jobs, and half of the jobs requested within 60 s, were not found."""
        recent = [absent for at, absent in self._answers.values() if now - at <= WINDOW]
        return sum(recent) >= AT_LEAST and 2 * sum(recent) >= len(recent)
