"""The states of a part and of a run, and every rule that moves between them. No I/O, no clock."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from scrape_do_celery import routing
from scrape_do_celery.rules.lifecycle import is_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.models import JobDetails


class PartState(StrEnum):
    """Where a part stands."""

    QUEUED = "queued"  #: written down; no `POST` was made
    SUBMITTING = "submitting"  #: the intent is written; the `POST` may be under way
    RECONCILING = "reconciling"  #: the `POST` may have bought a job; nobody knows yet
    RUNNING = "running"  #: the job is known and not yet terminal
    FETCHING = "fetching"  #: the job is terminal; its tasks are being fetched
    DONE = "done"  #: it has an outcome


class RunState(StrEnum):
    """Where a run stands, as `RunHandle.state` gives it."""

    QUEUED = "queued"  #: no part has begun
    SUBMITTING = "submitting"  #: a job is being bought
    RECONCILING = "reconciling"  #: it is not known whether a job was bought
    RUNNING = "running"  #: Scrape.do is at work
    FETCHING = "fetching"  #: contents are being fetched
    SUCCEEDED = "succeeded"  #: outcome: every job ended in success
    FAILED = "failed"  #: outcome: a job was refused or ended in error
    CANCELED = "canceled"  #: outcome: canceled by a stop request, or at Scrape.do
    TIMED_OUT = "timed_out"  #: outcome: `max_wait` passed
    IN_DOUBT = "in_doubt"  #: outcome: a job may have been bought and was not found
    LOST = "lost"  #: outcome: the API no longer knows the job
    POISONED = "poisoned"  #: outcome: its steps died again and again

    @property
    def is_outcome(self) -> bool:
        """Whether the run has ended."""
        return self in OUTCOMES


#: From best to worst: the worst outcome of its parts is the run's.
OUTCOMES = (
    RunState.SUCCEEDED,
    RunState.CANCELED,
    RunState.TIMED_OUT,
    RunState.FAILED,
    RunState.POISONED,
    RunState.LOST,
    RunState.IN_DOUBT,
)

#: From the least to the most telling for somebody who looks at a run with several parts.
_SHOWN = (PartState.QUEUED, PartState.FETCHING, PartState.RUNNING, PartState.SUBMITTING, PartState.RECONCILING)

#: A part that was not sent, because another part had failed before; it never decides a run.
SKIPPED = "skipped"

CANCEL = "cancel"
DEADLINE = "deadline"

_STEPS = {
    PartState.QUEUED: routing.SUBMIT_JOBS,
    PartState.SUBMITTING: routing.RECONCILE_SUBMIT,
    PartState.RECONCILING: routing.RECONCILE_SUBMIT,
    PartState.RUNNING: routing.POLL_JOBS,
    PartState.FETCHING: routing.FETCH_TASKS,
}


def next_step(state: str, *, stop_requested: bool = False, cancel_sent: bool = False) -> str | None:
    """The step that a part in this state waits for; None once it is done.

    A stop request turns the next poll of a running part into a cancel, once.
    """
    if state == PartState.DONE:
        return None
    part = PartState(state)
    return routing.CANCEL_RUN if part is PartState.RUNNING and stop_requested and not cancel_sent else _STEPS[part]


def run_state(outcome: str | None, parts: Iterable[str]) -> RunState:
    """The state of a run, from its outcome and the states of its parts."""
    if outcome:
        return RunState(outcome)
    live = [PartState(p) for p in parts if p != PartState.DONE]
    return RunState(max(live, key=_SHOWN.index).value) if live else RunState.FETCHING


def worst(outcomes: Iterable[str]) -> tuple[int, RunState]:
    """Which part decides a run, by position, and the run's outcome; the first among equals."""
    ranked = [(OUTCOMES.index(RunState(o)), -i) for i, o in enumerate(outcomes) if o != SKIPPED]
    rank, position = max(ranked)
    return -position, OUTCOMES[rank]


def part_outcome(job: JobDetails, stop_reason: str | None, *, done: int = 0) -> RunState:
    """The outcome of a part whose job has ended, or was given up after a cancel.

    The API's terminal status decides: a job that succeeded before a cancel reached it has succeeded. An unknown status
    word decides nothing: the job's flag does, and then the number of tasks that succeeded (`done`).
    """
    if is_unknown(job.status) and not job.canceled and not (stop_reason and done < max(1, len(job.task_ids))):
        return RunState.SUCCEEDED if done else RunState.FAILED
    if job.is_success:
        return RunState.SUCCEEDED
    if job.status == "error":
        return RunState.FAILED
    return outcome_of_stop(stop_reason)


def outcome_of_stop(stop_reason: str | None) -> RunState:
    """The outcome of a part that ended on a stop request, or was canceled at Scrape.do by somebody else."""
    return RunState.TIMED_OUT if stop_reason == DEADLINE else RunState.CANCELED
