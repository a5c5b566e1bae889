"""The API's model of a task, and the errors that carry a task.

`args` of an error hold the JSON object of its task, and `.task` rebuilds the model on access. So the errors survive
Celery's JSON as well as pickle.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeAlias

from pydantic import Field, ValidationError

from scrape_do_celery.errors import AsyncAPIError
from scrape_do_celery.errors.base import drop_trailing_nones
from scrape_do_celery.outside_text import REDACTED, redact_answer

from .fields import Content, Flag, Headers, Id, Number, Telemetry, Text, Time, Word, assume_utc
from .parsing import plain_object
from .statuses import JobStatus, is_known_status
from .wire import LifecycleModel

__all__ = [
    "TaskCanceledError",
    "TaskDetails",
    "TaskFailedError",
    "TaskLifecycleError",
    "WebhookPayload",
]

_COST_KEYS = frozenset({"request-cost", "scrape.do-request-cost"})
#: Credits that a task can cost at most; a higher amount is ignored. The price list ends at some hundreds.
_MAX_COST: Final = 1e6
_COST: Final = re.compile(r"\s*\+?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", re.ASCII)
_DATA_URL: Final = re.compile(r"data:[^,]{0,500};\s*base64\s*,", re.IGNORECASE)
_URL_SAFE: Final = str.maketrans("-_", "+/")
#: Fields of a task that this package sets, never an answer.
_OURS: Final = ("gone", "too_large", "unreadable", "given_up")
#: Keys of a task's JSON object that no error keeps.
_PRIVATE: Final = frozenset({"Content", "content", "Meta", "meta"})


class TaskDetails(LifecycleModel):
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
    #: set by this package, never by the API: the `meta` of the task's `Target`, as a copy of its own; None without a
    #: `meta`, and if the URLs of the answers do not prove that the task belongs to that target
    meta: Any = Field(default=None, repr=False)

    @classmethod
    def from_answer(cls, raw: str | bytes | Mapping[str, Any], *, job_id: str = "", task_id: str = "") -> Self:
        """Return the task of an answer's body.

        An answer without ids is about the requested task. The model has the ids in the requested spelling. `Gone`,
        `TooLarge`, `Unreadable`, `GivenUp` and `Meta` of an answer are ignored: only this package sets these fields.

        Args:
            raw: the body, or its JSON object.
            job_id: the requested job.
            task_id: the requested task.

        Raises:
            ValueError: the body is no JSON object, is about another task, or lacks an id or a state.
        """
        task = cls._of_answer(raw, job_id=job_id, task_id=task_id)
        if task.meta is not None or any(getattr(task, name) for name in _OURS):
            return task.model_copy(update={**dict.fromkeys(_OURS, False), "meta": None})
        return task

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        if self.meta is not None:
            yield "meta", REDACTED

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
        return None if self.expires_at is None else assume_utc(self.expires_at) < datetime.now(UTC)

    @property
    def cost(self) -> float | None:
        """Credits that the task cost; None if the API stated no amount, or an implausible amount."""
        costs = (_parse_credits(value) for key, value in self.scrape_do_metadata.items() if key.lower() in _COST_KEYS)
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


#: The API sends the task as the body of a webhook.
WebhookPayload: TypeAlias = TaskDetails


class TaskLifecycleError(AsyncAPIError):
    """A task did not end in success. The error is built from the task, or its JSON object, without page and `meta`.

    The error travels through Celery and logs. So secrets in URLs, headers and texts of its task are replaced by `***`.
    """

    def __init__(self, task: TaskDetails | Mapping[str, Any], run_id: str | None = None) -> None:
        super().__init__(*drop_trailing_nones(_dump_task(task), run_id))

    @property
    def task(self) -> TaskDetails:
        """The task, without its content."""
        return TaskDetails.model_validate(self.args[0])

    @property
    def run_id(self) -> str | None:
        """The id of the run; None for a task of the bare client."""
        run_id: str | None = self._get_argument(1)
        return run_id

    def _describe(self) -> str:
        task = self.args[0]
        text = f"task {task.get('TaskID')} of {task.get('URL') or 'no URL'} ended as {task.get('Status')}"
        if task.get("StatusCode"):
            text += f", target answered {task['StatusCode']}"
        return f"{text}: {' '.join(str(task['ErrorMessage']).split())}" if task.get("ErrorMessage") else text


class TaskFailedError(TaskLifecycleError):
    """The task ended in `error`."""


class TaskCanceledError(TaskLifecycleError):
    """The task was canceled."""


def _parse_credits(text: str) -> float | None:
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
        reason = "the text holds characters outside ASCII" if isinstance(error, UnicodeEncodeError) else str(error)
        raise ValueError(f"the content is not valid base64: {reason}") from None


def _dump_task(task: TaskDetails | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(task, Mapping):
        kept = {key: value for key, value in task.items() if key not in _PRIVATE}
        try:
            task = TaskDetails.model_validate(kept)
        except ValidationError:
            return redact_answer(plain_object(kept))  # type: ignore[no-any-return]
    return redact_answer(task.model_dump(mode="json", by_alias=True, exclude={"content", "meta"}))  # type: ignore[no-any-return]
