"""The states of parts and runs, and every rule that moves between them. No I/O, no clock."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from scrape_do_celery import routing
from scrape_do_celery.rules.lifecycle import is_unknown

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from scrape_do_celery.models import JobDetails


class PartState(StrEnum):
    """The state of a part."""

    QUEUED = "queued"  #: the record is written; no `POST` was made
    SUBMITTING = "submitting"  #: the intent is written; the `POST` may be in progress
    RECONCILING = "reconciling"  #: the purchase is in doubt: the `POST` may have bought a job
    RUNNING = "running"  #: the job is known, and its status is not terminal
    FETCHING = "fetching"  #: the job's status is terminal; its tasks are being fetched
    DONE = "done"  #: the part has an outcome


#: The transitions between states: for each state the states that may follow, each with its usual reason.
TRANSITIONS: Final[Mapping[PartState, Mapping[PartState, str]]] = {
    PartState.QUEUED: {
        PartState.SUBMITTING: "the intent is written",
        PartState.RECONCILING: "the store lost writes",
        PartState.DONE: "stopped before it was sent",
    },
    PartState.SUBMITTING: {
        PartState.RUNNING: "the answer names the job",
        PartState.QUEUED: "nothing was sent",
        PartState.RECONCILING: "the answer was lost",
        PartState.DONE: "rejected",
    },
    PartState.RECONCILING: {
        PartState.RUNNING: "the job was adopted",
        PartState.QUEUED: "no job was found",
        PartState.DONE: "nobody can know",
    },
    PartState.RUNNING: {
        PartState.FETCHING: "the job is terminal",
        PartState.DONE: "the job is lost or was given up",
    },
    PartState.FETCHING: {PartState.DONE: "all contents are stored"},
    PartState.DONE: {},
}


class RunState(StrEnum):
    """The state of a run, as `RunHandle.state` returns it. A run that has ended has its outcome as its state."""

    QUEUED = "queued"  #: no purchase has begun
    SUBMITTING = "submitting"  #: a job is being bought
    RECONCILING = "reconciling"  #: a purchase is in doubt: the answer to it was lost
    RUNNING = "running"  #: Scrape.do works on the jobs
    FETCHING = "fetching"  #: contents are being fetched
    SUCCEEDED = "succeeded"  #: outcome: every job ended in success
    FAILED = "failed"  #: outcome: a job was refused or ended in error
    CANCELED = "canceled"  #: outcome: canceled by a stop request, or at Scrape.do
    TIMED_OUT = "timed_out"  #: outcome: `max_wait` passed
    IN_DOUBT = "in_doubt"  #: outcome: a job may have been bought, and was not found
    LOST = "lost"  #: outcome: the API no longer knows the job
    POISONED = "poisoned"  #: outcome: its steps died again and again

    @property
    def is_outcome(self) -> bool:
        """Whether the run has ended."""
        return self in OUTCOMES


#: The outcomes from best to worst. The worst outcome of its parts is the outcome of a run.
OUTCOMES = (
    RunState.SUCCEEDED,
    RunState.CANCELED,
    RunState.TIMED_OUT,
    RunState.FAILED,
    RunState.POISONED,
    RunState.LOST,
    RunState.IN_DOUBT,
)

#: States of live parts. A run has the state of its part that comes last in this order.
_SHOWN = (PartState.QUEUED, PartState.FETCHING, PartState.RUNNING, PartState.SUBMITTING, PartState.RECONCILING)

#: The outcome of a part that was not sent because another part had failed before. Such a part never decides a run.
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
    """Return the step that a part in this state waits for; None if the part is done.

    If the run has a stop request, the next step of a running part is one cancel instead of a poll.
    """
    if state == PartState.DONE:
        return None
    part = PartState(state)
    return routing.CANCEL_RUN if part is PartState.RUNNING and stop_requested and not cancel_sent else _STEPS[part]


def run_state(outcome: str | None, parts: Iterable[str]) -> RunState:
    """Return the state of a run, from its outcome and the states of its parts."""
    if outcome:
        return RunState(outcome)
    live = [PartState(p) for p in parts if p != PartState.DONE]
    return RunState(max(live, key=_SHOWN.index).value) if live else RunState.FETCHING


def worst(outcomes: Iterable[str]) -> tuple[int, RunState]:
    """Return the number of the part that decides a run, and the run's outcome. Among equals the first part decides."""
    ranked = [(OUTCOMES.index(RunState(o)), -i) for i, o in enumerate(outcomes) if o != SKIPPED]
    rank, position = max(ranked)
    return -position, OUTCOMES[rank]


def part_outcome(job: JobDetails, stop_reason: str | None, *, done: int = 0) -> RunState:
    """Return the outcome of a part whose job has ended, or was given up after a cancel.

    The API's terminal status decides: a job that succeeded before a cancel reached it has succeeded. If the status word
    is unknown, the job's `canceled` flag decides, and then the number of tasks that succeeded (`done`).
    """
    if is_unknown(job.status) and not job.canceled and not (stop_reason and done < max(1, len(job.task_ids))):
        return RunState.SUCCEEDED if done else RunState.FAILED
    if job.is_success:
        return RunState.SUCCEEDED
    if job.status == "error":
        return RunState.FAILED
    return outcome_of_stop(stop_reason)


def outcome_of_stop(stop_reason: str | None) -> RunState:
    """Return the outcome of a part that ended on a stop request, or whose job another client canceled."""
    return RunState.TIMED_OUT if stop_reason == DEADLINE else RunState.CANCELED
