"""The states of parts and runs, and every rule that moves between them. No I/O, no clock."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from scrape_do_celery import routing

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class PartState(StrEnum):
    """The state of a part."""

    QUEUED = "queued"  #: the part waits for its `POST`; each earlier `POST` bought nothing, by all evidence
    SUBMITTING = "submitting"  #: the intent is written; the `POST` may be in progress
    RECONCILING = "reconciling"  #: the `POST` may have bought a job, which is searched for
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
        PartState.RECONCILING: "the answer was lost, or was 429, 401 or 403",
        PartState.DONE: "rejected",
    },
    PartState.RECONCILING: {
        PartState.RUNNING: "the job was adopted",
        PartState.QUEUED: "no job was found",
        PartState.DONE: "no search was conclusive",
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

    QUEUED = "queued"  #: each live part waits for its purchase
    SUBMITTING = "submitting"  #: a job is being bought
    RECONCILING = "reconciling"  #: a purchase may have bought a job, which is searched for
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
        return self.value not in set(PartState)


#: States of live parts. A run has the state of its part that comes last in this order.
_SHOWN = (PartState.QUEUED, PartState.FETCHING, PartState.RUNNING, PartState.SUBMITTING, PartState.RECONCILING)

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
