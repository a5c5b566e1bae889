"""Decide when a job or a task has ended, even if its status word is unknown to us."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from scrape_do_celery.models.fields import assume_utc
from scrape_do_celery.models.statuses import JobStatus, is_known_status, is_terminal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from scrape_do_celery.models import JobDetails, TaskDetails

#: Seconds without any change after which the pages of a job with an unknown status word are fetched. The part stays
#: open.
UNKNOWN_STATUS_TIMEOUT: Final = 600.0
#: Unknown words that a part remembers at most, and characters of each word.
MAX_WORDS: Final = 5
MAX_WORD: Final = 40
#: Fetch passes over tasks that were under way when their job was stopped.
STOPPED_PASSES: Final = 2

_STOPPED: Final = frozenset({JobStatus.ERROR, JobStatus.CANCELED})


class JobFate(StrEnum):
    """The meaning of an answer about a job whose status word does not show whether the job has ended."""

    RUNS = "runs"  #: the job may go on
    COLLECT = "collect"  #: nothing changed for `UNKNOWN_STATUS_TIMEOUT`: pages are fetched while the part stays open
    ENDED = "ended"  #: the job has ended


@dataclass(frozen=True, slots=True)
class JobMemory:
    """The memory of earlier answers about a job whose status word does not show whether the job has ended."""

    digest: str = ""
    unchanged_since: float = 0.0
    #: whether the last answer named an end time that had passed
    has_end: bool = False

    @classmethod
    def parse(cls, text: str) -> JobMemory:
        """Read the value of a part field. An empty text is an empty memory."""
        if not text:
            return cls()
        digest, since, has_end = text.split(" ")
        return cls(digest, float(since), has_end == "1")

    def __str__(self) -> str:
        """Return the value of a part field."""
        return f"{self.digest} {self.unchanged_since:.4f} {self.has_end:d}"


def is_unknown(status: str) -> bool:
    """Return whether a status word is no known state of a job or task."""
    return not is_known_status(status)


def judge_unknown_job(job: JobDetails, memory: JobMemory, now: float, *, least: int = 0) -> tuple[JobFate, JobMemory]:
    """Judge a job with an unknown status word by this answer and the memory of earlier answers.

    An end time in a single answer is not believed: a server may fill the field before the job ends. If the job names
    fewer than `least` tasks, it may name further ones, so the ends of its tasks do not end it. `now` is the store's
    time.
    """
    after = _remember_answer(job, memory, now)
    if (after.has_end and memory.has_end) or _has_ended_tasks(job, least):
        return JobFate.ENDED, after
    return (JobFate.COLLECT if _is_stalled(after, now) else JobFate.RUNS), after


def judge_open_job(job: JobDetails, memory: JobMemory, now: float, *, least: int) -> tuple[JobFate, JobMemory]:
    """Judge a job whose known status word is not terminal, although the rest of the answer says that it has ended.

    At least `least` tasks must be named, all of them terminal, and the end time must have passed. Nothing may have
    changed for `UNKNOWN_STATUS_TIMEOUT`, because another attempt at a task changes the answer. Content never ends such
    a job.
    """
    if not (has_passed(job.end_time, now) and _has_ended_tasks(job, least)):
        return JobFate.RUNS, JobMemory()
    after = _remember_answer(job, memory, now)
    return (JobFate.ENDED if _is_stalled(after, now) else JobFate.RUNS), after


def _remember_answer(job: JobDetails, memory: JobMemory, now: float) -> JobMemory:
    digest = digest_job(job, now)
    since = memory.unchanged_since if digest == memory.digest else now
    return JobMemory(digest, since, has_passed(job.end_time, now))


def _has_ended_tasks(job: JobDetails, least: int) -> bool:
    return len(job.task_ids) >= least and has_only_ended_tasks(job)


def _is_stalled(memory: JobMemory, now: float) -> bool:
    return now - memory.unchanged_since >= UNKNOWN_STATUS_TIMEOUT


def digest_job(job: JobDetails, now: float) -> str:
    """Return a digest of everything in an answer that changes while a job goes on.

    The order of tasks and the case of ids do not count. A future end time does not count either: each answer may have
    a new estimate. Two servers may write one start time differently, so only its presence counts. Of a past end time,
    whole seconds count.
    """
    end_time = int(assume_utc(job.end_time).timestamp()) if job.end_time and has_passed(job.end_time, now) else None
    has_start = job.start_time is not None
    seen = [
        str(job.status),
        has_start,
        end_time,
        sorted([task.task_id.lower(), str(task.status)] for task in job.tasks),
    ]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()[:16]


def has_passed(moment: datetime | None, now: float) -> bool:
    """Return whether a time of the API is neither missing nor in the future."""
    return moment is not None and assume_utc(moment).timestamp() <= now


def has_only_ended_tasks(job: JobDetails) -> bool:
    """Return whether the summary names each task of the job with a terminal status."""
    ended = {task.task_id.lower() for task in job.tasks if is_terminal(task.status)}
    going_on = {task.task_id.lower() for task in job.tasks if not is_terminal(task.status)}
    return bool(ended) and not going_on and {task_id.lower() for task_id in job.task_ids} <= ended


def settle_task(task: TaskDetails, *, now: float, had_end: bool) -> TaskDetails | None:
    """Return the task in the form that is stored, or None while the task goes on.

    Content ends a task only if its status word is unknown. A `rotating` task may carry the page of a blocked attempt.
    `had_end`: an earlier answer named an end time that had passed.
    """
    if task.is_terminal:
        return task
    if not is_unknown(task.status):
        return None
    if task.content:
        return task.model_copy(update={"status": JobStatus.SUCCESS})
    if had_end and has_passed(task.end_time, now):
        reason = f"the task ended without content, with the unknown status {shorten_word(task.status)!r}"
        return task.model_copy(update={"status": JobStatus.ERROR, "error_message": reason})
    return None


def give_up_task(task: TaskDetails, polls: int) -> TaskDetails:
    """Make a failed task of a task that does not end. Content of the answer is kept: then the task is not `gone`."""
    kept = bool(task.content)
    reason = f"still {shorten_word(task.status)} after {polls} polls, although its job has ended"
    update = {"status": JobStatus.ERROR, "gone": not kept, "given_up": kept, "error_message": reason}
    return task.model_copy(update=update)


def hold_task(task: TaskDetails) -> TaskDetails:
    """Return a task of a non-final answer in the form that is stored if no later answer has content."""
    reason = f"an answer had this content while the task was {shorten_word(task.status)}; later answers had no content"
    return task.model_copy(update={"status": JobStatus.ERROR, "given_up": True, "error_message": reason})


def was_stopped(job: JobDetails) -> bool:
    """Return whether a job ended before its tasks did. An unknown status word does not prove it."""
    return job.status not in (JobStatus.SUCCESS, JobStatus.ERROR) and not is_unknown(job.status)


def wanted_positions(job: JobDetails, passes: int = 0) -> set[int]:
    """Return the positions of the tasks to fetch: all tasks, or the tasks of a stopped job that were not stopped.

    Tasks that were under way when their job was stopped may be paid. The summary is only a snapshot, so they are
    fetched in the first `STOPPED_PASSES` passes.
    """
    everything = set(range(len(job.task_ids)))
    if not was_stopped(job) or not job.tasks:
        return everything
    status = {task.task_id: task.status for task in job.tasks}
    if passes >= STOPPED_PASSES:
        return {position for position in everything if status.get(job.task_ids[position]) == JobStatus.SUCCESS}
    return {position for position in everything if status.get(job.task_ids[position]) not in _STOPPED}


def unknown_words(job: JobDetails) -> list[str]:
    """Return the unknown status words of a job's tasks, each once."""
    return list(dict.fromkeys(str(task.status) for task in job.tasks if is_unknown(task.status)))


def add_words(known: tuple[str, ...], words: Iterable[str]) -> tuple[str, ...]:
    """Return the unknown words that a part remembers, bounded in number and length."""
    return tuple(dict.fromkeys([*known, *map(shorten_word, words)]))[:MAX_WORDS]


def shorten_word(word: str) -> str:
    """Cut a status word to a length for records and logs."""
    return word[:MAX_WORD]
