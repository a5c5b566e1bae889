"""Decide what an error says about the requested job or task, and count unusable answers."""

from __future__ import annotations

import base64
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.errors import (
    AsyncAPIAuthError,
    AsyncAPIGoneError,
    AsyncAPINotFoundError,
    AsyncAPIRateLimitError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    AsyncAPITooLargeError,
    AsyncAPIUnparsableResponseError,
    ScrapeDoError,
)
from scrape_do_celery.models import TaskDetails
from scrape_do_celery.models.parsing import is_error_body, parse_answer
from scrape_do_celery.models.statuses import JobStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Seconds between two unusable answers that count, so that a fault of minutes does not use the attempts up.
UNREADABLE_INTERVAL: Final = 600.0
#: Seconds from the first unusable answer to the next fetch, doubled up to the interval: most faults are short.
UNREADABLE_RECHECK: Final = 5.0
#: Unusable answers that count before a job or task is given up.
UNREADABLE_ATTEMPTS: Final = 5

#: Refusals that concern the account's credits or the moment, never a single job or task.
_ABOUT_ALL: Final = frozenset({402, 408, 425})
_REFUSALS: Final = frozenset({401, 403})
_SERVER_ERROR: Final = 500
_LONGEST_WHY: Final = 300
#: Position of the note about answers for the job itself.
JOB_NOTE: Final = -1


class AnswerFate(StrEnum):
    """The meaning of an error for the requested job or task."""

    GONE = "gone"  #: the API says that the job or task is no longer available
    NOT_FOUND = "not_found"  #: the API says that the job or task is not found; it may appear yet; counted
    UNCONFIRMED = "unconfirmed"  #: a 404 or 410 that may not come from the API; believed only after a check
    ATTEMPT = "attempt"  #: an unusable answer of the API itself; counted once per `UNREADABLE_INTERVAL`
    TOO_LARGE = "too_large"  #: the content is larger than the client's limit
    TROUBLE = "trouble"  #: the error says nothing about this job or task


def classify_answer(error: ScrapeDoError) -> AnswerFate:
    """Decide whether the error of a read comes from the API itself, and what the error says."""
    if isinstance(error, AsyncAPINotFoundError | AsyncAPIGoneError):
        word = AnswerFate.GONE if isinstance(error, AsyncAPIGoneError) else AnswerFate.NOT_FOUND
        return word if error.is_api_error else AnswerFate.UNCONFIRMED
    if isinstance(error, AsyncAPITooLargeError):
        return AnswerFate.TOO_LARGE
    if isinstance(error, AsyncAPIRedirectError):
        return AnswerFate.TROUBLE
    if isinstance(error, AsyncAPIUnparsableResponseError):
        return AnswerFate.ATTEMPT if error.is_api_object else AnswerFate.TROUBLE
    return AnswerFate.ATTEMPT if _is_word_about_it(error) else AnswerFate.TROUBLE


def should_retry_cancel(error: ScrapeDoError) -> bool:
    """Return whether a `DELETE` should be retried, because its error does not say that the job has ended.

    A 401 or 403 may refuse the request although the API accepts the token. If it counted as an end, the job would run
    on.
    """
    is_client_error = isinstance(error, AsyncAPIResponseError) and error.status_code in _REFUSALS
    return is_client_error or classify_answer(error) is AnswerFate.TROUBLE


def _is_word_about_it(error: ScrapeDoError) -> bool:
    return (
        isinstance(error, AsyncAPIResponseError)
        and not isinstance(error, AsyncAPIRateLimitError | AsyncAPIAuthError)
        and error.is_api_error
        and error.status_code < _SERVER_ERROR
        and error.status_code not in _ABOUT_ALL
    )


@dataclass(frozen=True, slots=True)
class AnswerNote:
    """The memory of a part about the answers for its job, or for one of its tasks."""

    #: unusable answers that counted, and the time at which the last one counted
    attempts: int = 0
    counted_at: float = 0.0
    #: whether the last answer named an end time that had passed
    has_end: bool = False
    #: unusable answers that came too soon to count
    rechecks: int = 0

    def count(self, now: float) -> AnswerNote:
        """Return the note after one more unusable answer. If the answer comes too soon, it is only a recheck."""
        if self.attempts and now - self.counted_at < UNREADABLE_INTERVAL:
            return replace(self, rechecks=self.rechecks + 1)
        return replace(self, attempts=self.attempts + 1, counted_at=now)

    @property
    def is_used_up(self) -> bool:
        """Whether all attempts are used up."""
        return self.attempts >= UNREADABLE_ATTEMPTS

    @property
    def next_at(self) -> float:
        """The time from which on the task should be fetched again."""
        if not self.attempts:
            return 0.0
        recheck = UNREADABLE_RECHECK * 2 ** min(self.rechecks, 10) if self.attempts == 1 else UNREADABLE_INTERVAL
        return self.counted_at + min(recheck, UNREADABLE_INTERVAL)


#: Notes by the position of a task.
Notes = dict[int, AnswerNote]


def notes_to_json(notes: Mapping[int, AnswerNote]) -> dict[str, Any]:
    """Return the notes as JSON, without empty notes."""
    return {
        str(position): [note.attempts, note.counted_at, note.has_end, note.rechecks]
        for position, note in notes.items()
        if note != AnswerNote()
    }


def notes_from_json(data: Mapping[str, Any]) -> Notes:
    """Read the notes that `notes_to_json` wrote."""
    return {int(position): AnswerNote(*values) for position, values in data.items()}


def unusable_task(job_id: str, task_id: str, url: str, error: ScrapeDoError) -> TaskDetails:
    """Make a failed task for a task whose answers were all unusable.

    An unreadable answer is kept as content, so that a page in it can be rescued by hand.
    """
    why = str(error)[:_LONGEST_WHY]
    failed = TaskDetails(task_id=task_id, job_id=job_id, url=url, status=JobStatus.ERROR, error_message=why)
    if isinstance(error, AsyncAPITooLargeError):
        text = (
            f"the page is larger than the limit of {error.limit} bytes (SCRAPE_DO_MAX_PAGE_BYTES); "
            "fetch it with `scrape-do refetch` while the API keeps it"
        )
        return failed.model_copy(update={"too_large": True, "error_message": text})
    if isinstance(error, AsyncAPIUnparsableResponseError) and not _holds_error_alone(error.body):
        content, encoded = raw_content(error.body)
        return failed.model_copy(update={"unreadable": True, "content": content, "base64_encoded_content": encoded})
    return failed.model_copy(update={"gone": True})


def holds_content(body: bytes) -> bool:
    """Return whether an unreadable answer holds content, so that its task has ended."""
    data = _parse_body(body)
    return isinstance(data, dict) and bool(data.get("Content"))


def _holds_error_alone(body: bytes) -> bool:
    """Return whether an answer is a mere error body: stored as a page, it would prevent a resubmit of its target."""
    data = _parse_body(body)
    return is_error_body(data) and not data.get("Content")


def _parse_body(body: bytes) -> Any:
    try:
        return parse_answer(body)
    except (ValueError, RecursionError):
        return None


def lacks_page(task: TaskDetails) -> bool:
    """Return whether a task holds no page, so that a page of an earlier answer is stored instead.

    A page over the limit can still be fetched. The raw answer of an unreadable task may hold no page.
    """
    if task.unreadable:
        return not holds_content(task.decoded_content() or b"")
    return not (task.content or task.too_large)


def raw_content(body: bytes) -> tuple[str, bool]:
    """Return a body as content, and whether the content is base64. A body that is no text is kept byte for byte."""
    try:
        return body.decode(), False
    except UnicodeDecodeError:
        return base64.b64encode(body).decode(), True
