"""A job, and a task of it, as the API shows them."""

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
#: Credits of one task that are believed; the dearest request of the price list costs some hundreds.
_MAX_COST: Final = 1e6
_COST: Final = re.compile(r"\s*\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_DATA_URL: Final = re.compile(r"data:[^,]{0,500};\s*base64\s*,", re.IGNORECASE)
_URL_SAFE: Final = str.maketrans("-_", "+/")
#: What only we know of a task; an answer never sets these fields.
_OURS: Final = ("gone", "too_large", "unreadable", "given_up")


class _Lifecycle(AnswerModel):
    #: a `JobStatus`, or a word that this package does not know
    status: Status
    #: the start of the work; None before
    start_time: Time = None
    #: the end of the work; None before
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
        """From start to end; None until both are known."""
        if self.start_time is None or self.end_time is None:
            return None
        return aware(self.end_time) - aware(self.start_time)


class UndetailedTaskResponse(WireModel):
    """A task inside `JobDetails.tasks`."""

    # No `AnswerModel`: a job has a thousand, and the job reads them again where one is refused.

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
    """Return one entry for each task, under the spelling that the job's `task_ids` has of its id.

    Of entries with the same id the first one stays, unless a later one is the first that is terminal: an entry that
    was left over from before the end says less.
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
    #: slots that the job holds now
    acquired_concurrency: Number = 0
    #: slots that it may hold; 0 is no limit of its own
    limit_concurrency: Number = 0
    #: someone asked to cancel it; the status may not say so yet
    canceled: Flag = False
    #: empty in the list of jobs
    tasks: Annotated[list[UndetailedTaskResponse], AfterValidator(_each_task_once), dropping(_read_task)] = Field(
        default_factory=list
    )

    @classmethod
    def from_answer(cls, raw: str | bytes | Mapping[str, Any], *, job_id: str = "") -> Self:
        """Return the job of an answer's body; `job_id` is the job that was asked for.

        An answer without an id is about that job. The model has the id as it was asked for.

        Raises:
            ValueError: the body is no JSON object, is about another job, or lacks an id or a state.
        """
        return cls._of_answer(raw, job_id=job_id)

    @property
    def named_task_ids(self) -> list[str]:
        """Return all task ids that the job names: those of `task_ids`, then those that only `tasks` has."""
        return unique_ids([*self.task_ids, *(task.task_id for task in self.tasks)])

    def raise_for_status(self) -> None:
        """Raise where the job ended badly; nothing while it runs or when it succeeded.

        Raises:
            JobFailedError: its status is `error`.
            JobCanceledError: its status is `canceled`.
        """
        if self.status == JobStatus.ERROR:
            raise JobFailedError(self)
        if self.status == JobStatus.CANCELED:
            raise JobCanceledError(self)

    def cut(self, limit: int = 20) -> Self:
        """The same job with at most `limit` tasks, failed ones first, and only their ids.

        A job that is short enough comes back as it is, in its own order.
        """
        if max(len(self.tasks), len(self.task_ids)) <= limit:
            return self
        # Stable: `False` sorts first, and within each kind the API's order stays.
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
    #: when the API forgets the content
    expires_at: Time = None
    #: whether `content` is base64; `decoded_content()` handles both
    base64_encoded_content: Flag = False
    #: the target's HTTP status; 0 where it gave none
    status_code: Number = 0
    #: headers of the target's answer
    response_headers: Headers = Field(default_factory=dict)
    #: headers of Scrape.do about this task, such as its cost
    scrape_do_metadata: Telemetry = Field(default_factory=dict, alias="Scrape.do")
    #: the page as text, or as base64
    content: Content = Field(default=None, repr=False)
    #: the reason of a failed task
    error_message: Text = None
    #: the webhook of the job
    webhook_url: Text = Field(default=None, repr=False)
    #: the state of the webhook's call
    webhook_status: Text = None
    #: the time at which the webhook was called
    webhook_request_time: Time = None
    #: an id of the API for this task
    trace_id: Text = None
    #: ours, never the API's: it answered 404 or 410 for this task
    gone: Flag = False
    #: ours, never the API's: the answer was longer than `max_page_bytes`, and was not read to its end
    too_large: Flag = False
    #: ours, never the API's: the content is the raw answer, as it came
    unreadable: Flag = False
    #: ours, never the API's: the task did not end while we waited for it, and the content is that of its last answer
    given_up: Flag = False

    @classmethod
    def from_answer(cls, raw: str | bytes | Mapping[str, Any], *, job_id: str = "", task_id: str = "") -> Self:
        """Return the task of an answer's body; `job_id` and `task_id` are the task that was asked for.

        An answer without ids is about that task. The model has the ids as they were asked for. What an answer says
        in `Gone`, `TooLarge`, `Unreadable` and `GivenUp` is ignored: these fields are ours.

        Raises:
            ValueError: the body is no JSON object, is about another task, or lacks an id or a state.
        """
        task = cls._of_answer(raw, job_id=job_id, task_id=task_id)
        if any(getattr(task, name) for name in _OURS):
            return task.model_copy(update=dict.fromkeys(_OURS, False))
        return task

    @property
    def has_page(self) -> bool:
        """Return whether the task holds something that was paid for and must not be bought again.

        That is a page, also one that was too large to be fetched, the raw answer of an unreadable task, or content
        under a state that we do not know or did not wait for.
        """
        if self.is_success or self.too_large:
            return True
        return bool(self.content) and (self.unreadable or self.given_up or not is_known_status(self.status))

    @property
    def is_expired(self) -> bool | None:
        """Whether the API has forgotten the content, by this machine's clock; None where it did not say when."""
        return None if self.expires_at is None else aware(self.expires_at) < datetime.now(UTC)

    @property
    def cost(self) -> float | None:
        """Credits that the task cost; None where the API did not say, or said what no task costs."""
        costs = (_amount(value) for key, value in self.scrape_do_metadata.items() if key.lower() in _COST_KEYS)
        return next((cost for cost in costs if cost is not None), None)

    def decoded_content(self) -> bytes | None:
        """The page as bytes; None where there is none.

        Raises:
            ValueError: the content should be base64 and is not.
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
        """Raise where the task ended badly; nothing while it runs or when it succeeded.

        Raises:
            TaskFailedError: its status is `error`.
            TaskCanceledError: its status is `canceled`.
        """
        if self.status == JobStatus.ERROR:
            raise TaskFailedError(self)
        if self.status == JobStatus.CANCELED:
            raise TaskCanceledError(self)


def _amount(text: str) -> float | None:
    """Return the credits that `text` states; None for text that states none, or an amount that no task costs."""
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
        # Built anew: a UnicodeEncodeError would carry the whole page.
        reason = "it holds characters outside ASCII" if isinstance(error, UnicodeEncodeError) else str(error)
        raise ValueError(f"the content is not valid base64: {reason}") from None
