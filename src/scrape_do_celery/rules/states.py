"""The states of parts, and every rule that moves between them. No I/O, no clock."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from scrape_do_celery import routing

if TYPE_CHECKING:
    from collections.abc import Mapping


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
        PartState.RECONCILING: "a job may have been bought",
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
