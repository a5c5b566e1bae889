"""The states of jobs and tasks, and the spellings of them that answers may use."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final


class JobStatus(StrEnum):
    """The state of a job or of a task."""

    #: being prepared
    QUEUING = "queuing"
    #: waiting in the queue
    QUEUED = "queued"
    #: being processed now
    PENDING = "pending"
    #: being retried by Scrape.do through other proxies
    ROTATING = "rotating"
    #: done; the target itself may have answered with any HTTP status
    SUCCESS = "success"
    #: failed, and not retried any more
    ERROR = "error"
    #: stopped by the user
    CANCELED = "canceled"


#: States of a running job, in the order in which a job passes through them. The list of jobs is read by status in this
#: order. If a job moves on meanwhile, the list of a later status has it again, so that no job is missed.
RUNNING = (JobStatus.QUEUING, JobStatus.QUEUED, JobStatus.PENDING, JobStatus.ROTATING)
#: States that are final.
TERMINAL: frozenset[str] = frozenset({JobStatus.SUCCESS, JobStatus.ERROR, JobStatus.CANCELED})
#: Final states without success.
FAILURES: Final = frozenset({JobStatus.ERROR, JobStatus.CANCELED})

#: Other spellings with a certain meaning, in lower case and without spaces, hyphens and underscores.
#: Left out are `done`, `finished`, `ended` and `closed`: these words say that the work ended, but not how.
#: `aborted`, `stopped` and `expired` do not say who stopped the work, and `canceling` is not final yet.
#: `active`, `started`, `created` and `accepted` may outlive the work; as known words they would keep a run open.
#: An unknown word only delays the answer. A wrongly mapped word loses the page.
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
#: Characters of an unknown word that are kept, because the word enters records, logs and metrics.
_MAX_WORD: Final = 100


def read_status(word: str) -> JobStatus | str:
    """Return the state that `word` names. Return an unknown word stripped and cut to 100 characters."""
    stripped = word.strip()
    return _WORDS.get(_JOINTS.sub("", stripped[:_MAX_WORD].casefold())) or stripped[:_MAX_WORD].rstrip()


def is_known_status(word: str) -> bool:
    """Return whether `word` is a known spelling of a state."""
    return isinstance(read_status(word), JobStatus)


def is_terminal(status: str) -> bool:
    """Return whether `status` is final; an unknown status may still change."""
    return status in TERMINAL
