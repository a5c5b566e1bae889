"""A job, and a task of it, as the API shows them."""

from __future__ import annotations

import base64
import binascii
import math
from datetime import UTC, datetime, timedelta
from typing import Annotated, Self

from pydantic import Field

from .base import Flag, Headers, Number, Status, Telemetry, Text, Time, WireModel, Word, aware, null_is_empty
from .enums import JobStatus, is_terminal
from .errors import JobCanceledError, JobFailedError, TaskCanceledError, TaskFailedError

_FAILURES = frozenset({JobStatus.ERROR, JobStatus.CANCELED})
_COST_KEYS = frozenset({"request-cost", "scrape.do-request-cost"})


class _Lifecycle(WireModel):
    status: Status
    start_time: Time = None
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

    task_id: str
    url: Word = ""
    status: Status


class JobDetails(_Lifecycle):
    """A job: the answer to `GET` and `DELETE /jobs/{job_id}`, and an entry of the list of jobs."""

    job_id: str
    task_ids: Annotated[list[str], null_is_empty] = Field(default_factory=list)
    #: slots that the job holds now
    acquired_concurrency: Number = 0
    #: slots that it may hold; 0 is no limit of its own
    limit_concurrency: Number = 0
    #: someone asked to cancel it; the status may not say so yet
    canceled: Flag = False
    #: empty in the list of jobs
    tasks: Annotated[list[UndetailedTaskResponse], null_is_empty] = Field(default_factory=list)

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

    task_id: str
    job_id: str
    url: Word = ""
    update_time: Time = None
    #: when the API forgets the content
    expires_at: Time = None
    base64_encoded_content: Flag = False
    #: the target's HTTP status; 0 where it gave none
    status_code: Number = 0
    response_headers: Headers = Field(default_factory=dict)
    scrape_do_metadata: Telemetry = Field(default_factory=dict, alias="Scrape.do")
    content: Text = Field(default=None, repr=False)
    error_message: Text = None
    webhook_url: Text = Field(default=None, repr=False)
    webhook_status: Text = None
    webhook_request_time: Time = None
    trace_id: Text = None
    #: ours, never the API's: it answered 404 or 410 for this task
    gone: Flag = False
    #: ours: the page is larger than `SCRAPE_DO_MAX_PAGE_BYTES`, and was not fetched
    too_large: Flag = False
    #: ours: the answer could not be read; `content` is the raw answer, as it came
    unreadable: Flag = False
    #: ours: the task did not end while we waited for it; `content` is that of its last answer
    given_up: Flag = False

    @property
    def is_expired(self) -> bool | None:
        """Whether the API has forgotten the content, by this machine's clock; None where it did not say when."""
        return None if self.expires_at is None else aware(self.expires_at) < datetime.now(UTC)

    @property
    def cost(self) -> float | None:
        """Credits that the task cost; None where the API did not say."""
        for key, value in self.scrape_do_metadata.items():
            if key.lower() in _COST_KEYS:
                return _amount(value)
        return None

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
    try:
        amount = float(text)
    except ValueError:
        return None
    return amount if math.isfinite(amount) else None


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        # Built anew: a UnicodeEncodeError would carry the whole page.
        reason = "it holds characters outside ASCII" if isinstance(error, UnicodeEncodeError) else str(error)
        raise ValueError(f"the content is not valid base64: {reason}") from None
