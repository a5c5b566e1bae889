"""The API's model of a task, and the errors that carry a task.

`args` of an error hold the JSON object of its task, and `.task` rebuilds the model on access. So the errors survive
Celery's JSON as well as pickle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, Self, TypeAlias

from pydantic import Field, ValidationError

from scrape_do_celery.errors import AsyncAPIError, UnreadableContentError
from scrape_do_celery.errors.base import drop_trailing_nones
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.outside_text import REDACTED, redact_answer

from .content_faults import explain_absence, explain_no_json
from .contents import (
    MAX_COST,
    MAX_CREDITS,
    decode_base64,
    decode_page,
    encode_text,
    find_amount,
    find_header,
    find_telemetry,
    parse_json,
)
from .copied_fields import give_copies
from .fields import Content, Flag, Headers, Id, Number, OptionalFlag, Telemetry, Text, Time, Word, assume_utc
from .parsing import plain_object
from .render_parts import EXPECTED
from .rendered import NOT_REQUESTED, RenderedPage, RenderedParts
from .statuses import JobStatus, is_known_status
from .wire import LifecycleModel

__all__ = [
    "TaskCanceledError",
    "TaskDetails",
    "TaskFailedError",
    "TaskLifecycleError",
    "WebhookPayload",
]

_MAX_STATUS: Final = 999
#: Fields of a task that this package sets, never an answer; and their defaults.
_FLAGS: Final = ("gone", "too_large", "unreadable", "given_up")
_OURS: Final = {**dict.fromkeys(_FLAGS, False), "meta": None, "return_json": None}
#: Keys of a task's JSON object that no error keeps.
_PRIVATE: Final = frozenset({"Content", "content", "Meta", "meta"})


class TaskDetails(RenderedParts, LifecycleModel):
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
    #: whether `content` is base64; `text` and `decoded_content()` handle both
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
    #: set by this package, never by the API: whether the request had `return_json=True`; None if the request is not
    #: known, as for a task that a client read by its id
    return_json: OptionalFlag = None
    #: set by this package, never by the API: the `meta` of the task's `Target`, a copy at each read; None without a
    #: `meta`, and if the URLs of the answers do not prove that the task belongs to that target
    meta: Any = Field(default=None, repr=False)

    @classmethod
    def from_answer(cls, raw: str | bytes | Mapping[str, Any], *, job_id: str = "", task_id: str = "") -> Self:
        """Return the task of an answer's body.

        An answer without ids is about the requested task. The model has the ids in the requested spelling. `Gone`,
        `TooLarge`, `Unreadable`, `GivenUp`, `ReturnJSON` and `Meta` of an answer are ignored: only this package sets
        them.

        Args:
            raw: the body, or its JSON object.
            job_id: the requested job.
            task_id: the requested task.

        Raises:
            ValueError: the body is no JSON object, is about another task, or lacks an id or a state.
        """
        task = cls._of_answer(raw, job_id=job_id, task_id=task_id)
        if any(task.__dict__[name] is not default for name, default in _OURS.items()):
            return task.model_copy(update=_OURS)
        return task

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        yield from super().__repr_args__()
        if self.__dict__["meta"] is not None:
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
        return find_amount(self.scrape_do_metadata, "request-cost", MAX_COST)

    @property
    def remaining_credits(self) -> float | None:
        """Credits that the account had left after this task; None if the API stated no amount."""
        return find_amount(self.scrape_do_metadata, "remaining-credits", MAX_CREDITS)

    @property
    def initial_status_code(self) -> int | None:
        """The HTTP status of the target's first answer, before redirects; None if the API stated none."""
        status = find_amount(self.scrape_do_metadata, "initial-status-code", _MAX_STATUS)
        return None if status is None else int(status)

    @property
    def resolved_url(self) -> str | None:
        """The URL of the page after all redirects; None if the API does not state it.

        The telemetry states it, or the answer to a render with `return_json=True`. If `return_json` is None, only the
        telemetry counts, because a page could imitate such an answer.
        """
        for url in find_telemetry(self.scrape_do_metadata, "resolved-url"):
            if url:
                return url
        if not (self.return_json and self.is_success):
            return None
        try:
            rendered = self.rendered
        except UnreadableContentError:
            return None
        return rendered.resolved_url if rendered else None

    def decoded_content(self) -> bytes | None:
        """Return the page as bytes; None if the task has no content.

        Raises:
            UnreadableContentError: the content should be base64, but is not. The error is a `ValueError`.
        """
        if self.content is None:
            return None
        if not self.base64_encoded_content:
            return encode_text(self.content)
        try:
            return decode_base64(self.content)
        except ValueError as error:
            reason = str(error)
        raise self._unreadable_as("base64", reason)

    @property
    def text(self) -> str | None:
        """The page as text; None if the task has no content.

        Text content comes back unchanged. Of bytes, the byte order mark, the `Content-Type` header or the page's `meta`
        tag names the encoding, as in a browser. No bytes are refused. So the text of an image or an archive is of no
        use: read its bytes from `decoded_content()`.

        Raises:
            UnreadableContentError: the content should be base64, but is not.
        """
        if self.content is None or not self.base64_encoded_content:
            return self.content
        return decode_page(self.decoded_content() or b"", find_header(self.response_headers, "content-type"))

    @without_locals
    def json_content(self) -> Any:
        """Return the page as JSON data: of a plugin's answer, or of a target that answers in JSON.

        Raises:
            UnreadableContentError: the task has no content, or content that is no JSON or is nested too deeply.
        """
        return self._parse_json("JSON")

    @without_locals
    def _parse_json(self, expected: str, advice: str = "") -> Any:
        text, ended_as = self.text, str(self.status) if self.is_terminal_failure else ""
        if not text:
            fault = explain_absence(
                str(self.status), is_failure=bool(ended_as), gone=self.gone, too_large=self.too_large
            )
            raise self._unreadable_as(expected, *fault)
        try:
            return parse_json(text)
        except ValueError as error:
            reason = str(error)
        fault = explain_no_json(text, reason, was_bytes=self.base64_encoded_content, ended_as=ended_as)
        raise self._unreadable_as(expected, fault.reason, advice or fault.advice)

    @property
    def rendered(self) -> RenderedPage | None:
        """The answer to a render with `return_json=True`; None if the task has no content.

        Each access parses the content. So keep the value, if you read several of its parts.

        If `return_json` is None, the request is not known. Then a page that is JSON may imitate such an answer, with
        any screenshots, frames and URLs. So read the parts only if you know that the request had `return_json=True`.

        Raises:
            UnreadableContentError: the request had no `return_json=True`, or the content is no such answer.
        """
        if not self.content:
            return None
        if self.return_json is False:
            raise self._unreadable_as(EXPECTED, "the request had no `return_json=True`", NOT_REQUESTED)
        data = self._parse_json(EXPECTED, "" if self.return_json else NOT_REQUESTED)
        return RenderedPage.from_json(data, task_id=self.task_id, job_id=self.job_id)

    def _unreadable_as(self, expected: str, reason: str, advice: str = "") -> UnreadableContentError:
        return UnreadableContentError.about_task(self.task_id, self.job_id, expected, reason, advice)

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


give_copies(TaskDetails, "meta")

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


def _dump_task(task: TaskDetails | Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(task, Mapping):
        kept = {key: value for key, value in task.items() if key not in _PRIVATE}
        try:
            task = TaskDetails.model_validate(kept)
        except ValidationError:
            return redact_answer(plain_object(kept))  # type: ignore[no-any-return]
    return redact_answer(task.model_dump(mode="json", by_alias=True, exclude={"content", "meta"}))  # type: ignore[no-any-return]
