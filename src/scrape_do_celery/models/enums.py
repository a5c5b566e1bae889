"""The states of jobs and tasks, and how servers may spell them."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


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

#: Other spellings whose meaning is certain, in lower case and without spaces, hyphens and underscores.
#: `done`, `finished`, `ended` and `closed` are not among them: these words say that the work ended, not how.
#: `aborted`, `stopped` and `expired` do not say who stopped the work, and `canceling` is no end yet.
#: `active`, `started`, `created` and `accepted` may outlive the work; as known words they would keep a run open.
#: An unknown word costs a later answer. A word that is mapped wrongly costs the page.
STATUS_SPELLINGS: Final[dict[str, JobStatus]] = {
    "queueing": JobStatus.QUEUING,
    "enqueued": JobStatus.QUEUED,
    "inqueue": JobStatus.QUEUED,
    "waiting": JobStatus.QUEUED,
    "executing": JobStatus.PENDING,
    "inprogress": JobStatus.PENDING,
    "processing": JobStatus.PENDING,
    "running": JobStatus.PENDING,
    "retrying": JobStatus.ROTATING,
    "complete": JobStatus.SUCCESS,
    "completed": JobStatus.SUCCESS,
    "succeeded": JobStatus.SUCCESS,
    "successful": JobStatus.SUCCESS,
    "errored": JobStatus.ERROR,
    "failed": JobStatus.ERROR,
    "failure": JobStatus.ERROR,
    "cancelled": JobStatus.CANCELED,
}
_WORDS: Final[dict[str, JobStatus]] = {**{str(status): status for status in JobStatus}, **STATUS_SPELLINGS}
_JOINTS: Final = re.compile(r"[\s_-]+")
#: Characters of an unknown word that are kept: the word goes into records, logs and metrics.
_MAX_WORD: Final = 100


def read_status(word: str) -> JobStatus | str:
    """Return the state that `word` names; a word that nobody knows comes back stripped, and cut to 100 characters."""
    stripped = word.strip()
    return _WORDS.get(_JOINTS.sub("", stripped[:_MAX_WORD].casefold())) or stripped[:_MAX_WORD].rstrip()


def is_known_status(word: str) -> bool:
    """Return whether `word` names a state of the API, in any known spelling."""
    return isinstance(read_status(word), JobStatus)


def is_terminal(status: str) -> bool:
    """Whether `status` never changes again; a status that nobody knows may still change."""
    return status in TERMINAL
