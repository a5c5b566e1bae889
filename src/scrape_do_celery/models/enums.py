"""The states of jobs and tasks."""

from __future__ import annotations

from enum import StrEnum


class JobStatus(StrEnum):
    """State of a job, and of a task."""

    #: being prepared
    QUEUING = "queuing"
    #: waiting in the queue
    QUEUED = "queued"
    #: being processed now
    PENDING = "pending"
    #: being tried again through other proxies
    ROTATING = "rotating"
    #: done; says nothing about the target's own HTTP status
    SUCCESS = "success"
    #: failed for good
    ERROR = "error"
    #: stopped by the user
    CANCELED = "canceled"


#: States of a job that is at work, in the order in which it goes through them: one that moves on while the list is read
#: by status is met again.
RUNNING = (JobStatus.QUEUING, JobStatus.QUEUED, JobStatus.PENDING, JobStatus.ROTATING)
#: States that never change again.
TERMINAL: frozenset[str] = frozenset({JobStatus.SUCCESS, JobStatus.ERROR, JobStatus.CANCELED})


def is_terminal(status: str) -> bool:
    """Whether `status` never changes again; a status that nobody knows may still change."""
    return status in TERMINAL
