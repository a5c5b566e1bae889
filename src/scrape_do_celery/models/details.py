"""The API's models of a job and of a task."""

from __future__ import annotations

import base64
import binascii
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Self

from pydantic import AfterValidator, Field, ValidationInfo

from .base import AnswerModel, WireModel, aware, read_tolerantly
from .enums import JobStatus, is_known_status, is_terminal
from .errors import JobCanceledError, JobFailedError, TaskCanceledError, TaskFailedError
from .fields import (
    Content,
    Flag,
    Headers,
    Id,
    Ids,
    Number,
    Repair,
    Status,
    Telemetry,
    Text,
    Time,
    Word,
    dropping,
)
from .ids import check_ids, read_id, unique_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

_FAILURES = frozenset({JobStatus.ERROR, JobStatus.CANCELED})
_COST_KEYS = frozenset({"request-cost", "scrape.do-request-cost"})
#: Credits that a task can cost at most; a higher amount is ignored. The price list ends at some hundreds.
_MAX_COST: Final = 1e6
_COST: Final = re.compile(r"\s*\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_DATA_URL: Final = re.compile(r"data:[^,]{0,500};\s*base64\s*,", re.IGNORECASE)
_URL_SAFE: Final = str.maketrans("-_", "+/")
#: Fields of a task that this package sets, never an answer.
_OURS: Final = ("gone", "too_large", "unreadable", "given_up")


class _Lifecycle(AnswerModel):
    #: a `JobStatus`, or a word that this package does not know
    status: Status
    #: the start of the work; None before the start
    start_time: Time = None
    #: the end of the work; None before the end
    end_time: Time = None

    @property
    def is_terminal(self) -> bool:
        """Whether the status never changes again."""
        return is_terminal(self.status)

    @property
    def is_success(self) -> bool:
        """Whether the status is `success`; the target itself may still have answered 404."""
        return self.status == JobStatus.SUCCESS

    @property
    def is_terminal_failure(self) -> bool:
        """Whether the status is `error` or `canceled`."""
        return self.status in _FAILURES

    @property
    def duration(self) -> timedelta | None:
        """The time from start to end; None until both are known."""
        if self.start_time is None or self.end_time is None:
            return None
        return aware(self.end_time) - aware(self.start_time)


class UndetailedTaskResponse(WireModel):
    """A task inside `JobDetails.tasks`."""

    # No `AnswerModel`, for speed: a job has up to 1,000 tasks, and reads them all again if it refuses one.

    #: the id of the task
    task_id: Annotated[str, Repair(read_id)]
    #: the target as the API writes it
    url: Word = ""
    #: a `JobStatus`, or a word that this package does not know
    status: Status


def _read_task(value: Any) -> UndetailedTaskResponse:
    task = read_tolerantly(UndetailedTaskResponse, value, UndetailedTaskResponse.model_validate)
    read_id(task.task_id)
    return task


def _each_task_once(tasks: list[UndetailedTaskResponse], info: ValidationInfo) -> list[UndetailedTaskResponse]:
    """Return one entry for each task, with its id spelt as in the job's `task_ids`.

    If entries have the same id, keep the first terminal entry, else the first entry. An entry from before the end of
    the task says less.
    """
    ids = info.data.get("task_ids", [])
    named = [task.task_id for task in tasks]
    if named == ids:
        return tasks
    check_ids(named)
    spelt = {task_id.lower(): task_id for task_id in ids}
    found: dict[str, UndetailedTaskResponse] = {}
    for task in tasks:
        key = task.task_id.lower()
        if key not in found or (is_terminal(task.status) and not is_terminal(found[key].status)):
            found[key] = task
    return [
        task if spelt.get(key, task.task_id) == task.task_id else task.model_copy(update={"task_id": spelt[key]})
        for key, task in found.items()
    ]


class JobDetails(_Lifecycle):
    """A job: the answer to `GET` and `DELETE /jobs/{job_id}`, and an entry of the list of jobs."""

    #: the id of the job
    job_id: Id
    #: each id once; letters are compared without case
    task_ids: Ids = Field(default_factory=list)
    #: concurrency slots that the job holds now
    acquired_concurrency: Number = 0
    #: concurrency slots that the job may hold; 0 means no limit of its own
    limit_concurrency: Number = 0
    #: whether a cancellation was requested; the status may not show it yet
    canceled: Flag = False
    #: the tasks; empty in the list of jobs
    tasks: Annotated[list[UndetailedTaskResponse], AfterValidator(_each_task_once), dropping(_read_task)] = Field(
        default_factory=list
    )

    @classmethod
    def from_answer(cls, raw: str | bytes | Mapping[str, Any], *, job_id: str = "") -> Self:
        """Return the job of an answer's body.

        Args:
            raw: the body, or its JSON object.
            job_id: the requested job. An answer without an id is about this job; the model has the id in this spelling.

        Raises:
            ValueError: the body is no JSON object, is about another job, or lacks an id or a state.
        """
        return cls._of_answer(raw, job_id=job_id)

    @property
    def named_task_ids(self) -> list[str]:
        """All task ids of the job: the ids in `task_ids`, then the ids that only `tasks` has."""
        return unique_ids([*self.task_ids, *(task.task_id for task in self.tasks)])

    def raise_for_status(self) -> None:
        """Raise if the job failed or was canceled. Do nothing if it is still running or succeeded.

        Raises:
            JobFailedError: the status is `error`.
            JobCanceledError: the status is `canceled`.
        """
        if self.status == JobStatus.ERROR:
            raise JobFailedError(self)
        if self.status == JobStatus.CANCELED:
            raise JobCanceledError(self)

    def cut(self, limit: int = 20) -> Self:
        """Return the same job with at most `limit` tasks, failed and canceled tasks first, and only their ids.

        Args:
            limit: the number of tasks. A job with no more tasks is returned unchanged.
        """
        if max(len(self.tasks), len(self.task_ids)) <= limit:
            return self
        # `False` sorts first. The sort is stable, so each group keeps the API's order.
        tasks = sorted(self.tasks, key=lambda task: task.status not in _FAILURES)[:limit]
        ids = [task.task_id for task in tasks] if tasks else self.task_ids[:limit]
        return self.model_copy(update={"tasks": tasks, "task_ids": ids})


class TaskDetails(_Lifecycle):
    """A task with its page: the answer to `GET /jobs/{job_id}/{task_id}`, and the body of a webhook."""

    #: the id of the task
    task_id: Id
    #: the id of its job
    job_id: Id
    #: the target as the API writes it
    url: Word = ""
    #: the time of the last change
    update_time: Time = None
    #: the time at which the API deletes the content
    expires_at: Time = None
    #: whether `content` is base64; `decoded_content()` handles both
    base64_encoded_content: Flag = False
    #: the target's HTTP status; 0 if the target gave none
    status_code: Number = 0
    #: headers of the target's answer
    response_headers: Headers = Field(default_factory=dict)
    #: headers of Scrape.do about this task, such as its cost in credits
    scrape_do_metadata: Telemetry = Field(default_factory=dict, alias="Scrape.do")
    #: the page as text, or as base64
    content: Content = Field(default=None, repr=False)
    #: the reason of the failure
    error_message: Text = None
    #: the webhook of the job
    webhook_url: Text = Field(default=None, repr=False)
    #: the state of the call to the webhook
    webhook_status: Text = None
    #: the time of the call to the webhook
    webhook_request_time: Time = None
    #: the API's trace id of this task
    trace_id: Text = None
    #: set by this package, never by the API: the API answered 404 or 410 for this task
    gone: Flag = False
    #: set by this package, never by the API: the answer was longer than `max_page_bytes`, and was not read to its end
    too_large: Flag = False
    #: set by this package, never by the API: the answer was unreadable, and `content` is the unchanged answer
    unreadable: Flag = False
    #: set by this package, never by the API: the task did not end in time, and `content` is that of its last answer
    given_up: Flag = False

    @classmethod
    def from_answer(cls, raw: str | bytes | Mapping[str, Any], *, job_id: str = "", task_id: str = "") -> Self:
        """Return the task of an answer's body.

        An answer without ids is about the requested task. The model has the ids in the requested spelling. `Gone`,
        `TooLarge`, `Unreadable` and `GivenUp` of an answer are ignored, because only this package sets these fields.

        Args:
            raw: the body, or its JSON object.
            job_id: the requested job.
            task_id: the requested task.

        Raises:
            ValueError: the body is no JSON object, is about another task, or lacks an id or a state.
        """
        task = cls._of_answer(raw, job_id=job_id, task_id=task_id)
        if any(getattr(task, name) for name in _OURS):
            return task.model_copy(update=dict.fromkeys(_OURS, False))
        return task

    @property
    def has_page(self) -> bool:
        """Whether the task has content that was paid for and must not be bought again.

        The content may be a page, also a page that was too large to fetch, or the raw answer of an unreadable task.
        Content under an unknown status, or of a task that was given up, counts as well.
        """
        if self.is_success or self.too_large:
            return True
        return bool(self.content) and (self.unreadable or self.given_up or not is_known_status(self.status))

    @property
    def is_expired(self) -> bool | None:
        """Whether the API has deleted the content, by this machine's clock; None if the API gave no time."""
        return None if self.expires_at is None else aware(self.expires_at) < datetime.now(UTC)

    @property
    def cost(self) -> float | None:
        """Credits that the task cost; None if the API stated no amount, or an implausible amount."""
        costs = (_amount(value) for key, value in self.scrape_do_metadata.items() if key.lower() in _COST_KEYS)
        return next((cost for cost in costs if cost is not None), None)

    def decoded_content(self) -> bytes | None:
        """Return the page as bytes; None if the task has no content.

        Raises:
            ValueError: the content should be base64, but is not.
        """
        if self.content is None:
            return None
        if self.base64_encoded_content:
            return _from_base64(self.content)
        try:
            return self.content.encode()
        except UnicodeEncodeError:
            return self.content.encode(errors="surrogatepass")

    def raise_for_status(self) -> None:
        """Raise if the task failed or was canceled. Do nothing if it is still running or succeeded.

        Raises:
            TaskFailedError: the status is `error`.
            TaskCanceledError: the status is `canceled`.
        """
        if self.status == JobStatus.ERROR:
            raise TaskFailedError(self)
        if self.status == JobStatus.CANCELED:
            raise TaskCanceledError(self)


def _amount(text: str) -> float | None:
    """Return the credits that `text` states; None if it states no amount, or more than `_MAX_COST`."""
    if not _COST.fullmatch(text):
        return None
    amount = float(text)
    return amount if math.isfinite(amount) and amount <= _MAX_COST else None


def _from_base64(text: str) -> bytes:
    """Return the bytes of base64 in either alphabet, with or without padding, line breaks and a `data:` prefix."""
    compact = "".join(text.split())
    if prefix := _DATA_URL.match(compact):
        compact = compact[prefix.end() :]
    if not compact.endswith("="):
        compact += "=" * (-len(compact) % 4)
    try:
        return base64.b64decode(compact.translate(_URL_SAFE).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        # Build a new error, because a UnicodeEncodeError would carry the whole page.
        reason = "it holds characters outside ASCII" if isinstance(error, UnicodeEncodeError) else str(error)
        raise ValueError(f"the content is not valid base64: {reason}") from None
