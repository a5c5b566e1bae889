"""The requests of the API as `Endpoint` values, checked before a byte leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Generic, TypeVar
from urllib.parse import quote

from scrape_do_celery.client.job_filters import write_filters
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

    from scrape_do_celery.client.job_filters import JobFilters

T = TypeVar("T")
M = TypeVar("M", bound=AnswerModel)

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

    def __repr__(self) -> str:
        body = "" if self.body is None else f", body of {len(self.body)} bytes"
        return f"Endpoint({self.method} {self.path}{body})"


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
        ValueError: a filter has a value that the API does not know.
        TypeError: the API has no such filter.
    """
    return Endpoint(method="GET", path=_JOBS, reader=_make_reader(JobsListResponse), params=write_filters(filters))


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
