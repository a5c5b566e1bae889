"""The requests of the API as `Endpoint` values, checked before a byte leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from scrape_do_celery.models import (
    MAX_TARGETS_PER_JOB,
    JobCreationRequest,
    JobCreationResponse,
    JobDetails,
    JobsListResponse,
    TaskDetails,
    UserInformation,
    read_id,
)
from scrape_do_celery.models.ids import same_id
from scrape_do_celery.models.parsing import API_FIELDS, is_error_body, parse_answer
from scrape_do_celery.models.wire import AnswerModel, wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping

T = TypeVar("T")
M = TypeVar("M", bound=AnswerModel)

MAX_PAGE_SIZE: Final = 100
_JOBS: Final = "/api/v1/jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(Generic[T]):
    """A request and the parser of its answer.

    `idempotent`: a second sending of the request costs and changes nothing. `owns`: a function that returns whether a
    body is the promised one in spite of a status from 400 on.
    """

    method: str
    path: str
    reader: Callable[[bytes], T]
    params: Mapping[str, str] | None = None
    body: bytes | None = None
    idempotent: bool = True
    targets: int = 0
    owns: Callable[[bytes], bool] | None = None


class JobFilters(TypedDict, total=False):
    """Filters of the job list. A naive datetime is UTC; fractions of a second are cut off."""

    page_size: int
    page: int
    status: str
    start_from: datetime
    start_to: datetime
    sort: Literal["start_time_desc", "start_time_asc"]


def create_job(request: JobCreationRequest) -> Endpoint[JobCreationResponse]:
    """Return the request that buys a job.

    Raises:
        ValueError: the job would have more than 1,000 targets.
    """
    if request.size > MAX_TARGETS_PER_JOB:
        raise ValueError(
            f"a job takes at most {MAX_TARGETS_PER_JOB} targets, but this request has {request.size}; split the request"
        )
    return Endpoint(
        method="POST",
        path=_JOBS,
        reader=JobCreationResponse.from_answer,
        body=json.dumps(request.to_wire(), separators=(",", ":")).encode(),
        idempotent=False,
        targets=request.size,
    )


def get_job(job_id: str) -> Endpoint[JobDetails]:
    """Return the request that polls a job."""
    return Endpoint(
        method="GET", path=f"{_JOBS}/{_quote_id(job_id)}", reader=_make_id_reader(JobDetails.from_answer, job_id=job_id)
    )


def get_task(job_id: str, task_id: str) -> Endpoint[TaskDetails]:
    """Return the request that fetches a task with its content."""
    path = f"{_JOBS}/{_quote_id(job_id)}/{_quote_id(task_id)}"
    reader = _make_id_reader(TaskDetails.from_answer, job_id=job_id, task_id=task_id)
    return Endpoint(method="GET", path=path, reader=reader, owns=partial(_is_task, task_id))


def list_jobs(filters: JobFilters) -> Endpoint[JobsListResponse]:
    """Return the request for a page of the job list. Only the given filters are sent.

    Raises:
        ValueError: the page is below 1, or the page size is outside 1 to 100.
        TypeError: the API has no such filter.
    """
    unknown = set(filters) - set(_PARAMS)
    if unknown:
        raise TypeError(f"unknown filter of the job list: {', '.join(sorted(unknown))}; known are {', '.join(_PARAMS)}")
    params = {name: _PARAMS[name](value) for name, value in filters.items() if value is not None}
    return Endpoint(method="GET", path=_JOBS, reader=_make_reader(JobsListResponse), params=params)


def cancel_job(job_id: str) -> Endpoint[JobDetails]:
    """Return the request that cancels a job. The job in its answer may not be `canceled` yet."""
    return Endpoint(
        method="DELETE",
        path=f"{_JOBS}/{_quote_id(job_id)}",
        reader=_make_id_reader(JobDetails.from_answer, job_id=job_id),
    )


def get_user_info() -> Endpoint[UserInformation]:
    """Return the request that reads the account's concurrency and credits."""
    return Endpoint(method="GET", path="/api/v1/me", reader=_make_reader(UserInformation))


def _make_id_reader(read: Callable[..., M], **asked: str) -> Callable[[bytes], M]:
    """Make a reader for answers about the ids in `asked`."""
    ids = [f'"{wire_name(name)}"'.encode() for name in asked]

    def reader(body: bytes) -> M:
        # An answer may lack its ids, but a gateway's `{"status": "ok"}` says nothing about a job or a task.
        if b'"Status"' not in body:
            raise ValueError("the answer has no Status")
        found = read(body, **asked)
        # A gateway's `{"Status": "Error"}` says nothing either, and would end a job and all of its tasks.
        if not (any(name in body for name in ids) or _has_own_field(found, asked)):
            raise ValueError("the answer has a Status, but no other field of the API")
        return found

    return reader


def _has_own_field(answer: AnswerModel, asked: Container[str]) -> bool:
    """Return whether an answer has a field that only the API writes. Ids in `asked` do not count."""
    return any(wire_name(name) in API_FIELDS for name in answer.model_fields_set if name not in asked)


def _is_task(task_id: str, body: bytes) -> bool:
    """Return whether a body is the API's object of this task.

    A server may answer with the HTTP status of the target: a page under a 404 is a page.
    """
    if b'"TaskID"' not in body:
        return False
    try:
        data = parse_answer(body)
    except (ValueError, RecursionError):
        return False
    if not isinstance(data, dict) or "Status" not in data or not isinstance(data.get("TaskID"), str):
        return False
    # An error body may name its task too.
    return same_id(data["TaskID"], task_id) and bool(data.get("Content") or not is_error_body(data))


def _make_reader(model: type[M]) -> Callable[[bytes], M]:
    """Make a reader for a `model` that must have at least one of its fields.

    A gateway's `{}` must never be read as an empty job list, or as an account that accepts the token again.
    """

    def reader(body: bytes) -> M:
        found = model.from_answer(body)
        if not found.model_fields_set:
            raise ValueError("the answer has no field that the API documents")
        return found

    return reader


def _quote_id(identifier: str) -> str:
    """Quote an id as one segment of a path.

    Raises:
        ValueError: no job and no task can have this id.
    """
    try:
        return quote(read_id(identifier), safe="")
    except ValueError as error:
        raise ValueError(f"{ascii(identifier)[:100]} is not an id: {error}") from None


def _make_int_renderer(name: str, low: int, high: float = float("inf")) -> Callable[[Any], str]:
    def render(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(
                f"{name} must be a whole number from {low}" + (f" to {high}" if high < float("inf") else "")
            )
        return str(value)

    return render


def _render_time(value: datetime) -> str:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_PARAMS: Final[dict[str, Callable[[Any], str]]] = {
    "page_size": _make_int_renderer("page_size", 1, MAX_PAGE_SIZE),
    "page": _make_int_renderer("page", 1),
    "status": str,
    "start_from": _render_time,
    "start_to": _render_time,
    "sort": str,
}
