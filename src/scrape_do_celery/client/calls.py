"""What to send: one `Call` an endpoint, checked before anything leaves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypedDict, TypeVar
from urllib.parse import quote

from scrape_do_celery.client import identity
from scrape_do_celery.models import (
    MAX_TARGETS_PER_JOB,
    JobCreationRequest,
    JobCreationResponse,
    JobDetails,
    JobsListResponse,
    TaskDetails,
    UserInformation,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

T = TypeVar("T")

MAX_PAGE_SIZE: Final = 100
_JOBS: Final = "/api/v1/jobs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Generic[T]):
    """One request and the reader of its answer. `resend`: sending it twice costs and changes nothing."""

    method: str
    path: str
    reader: Callable[[bytes], T]
    params: Mapping[str, str] | None = None
    body: bytes | None = None
    resend: bool = True
    targets: int = 0


class JobFilters(TypedDict, total=False):
    """Filters of the job list. A naive datetime is UTC; parts of a second are cut off."""

    page_size: int
    page: int
    status: str
    start_from: datetime
    start_to: datetime
    sort: Literal["start_time_desc", "start_time_asc"]


def create_job(request: JobCreationRequest) -> Call[JobCreationResponse]:
    """The call that buys a job.

    Raises:
        ValueError: the job would have more than 1,000 targets.
    """
    if request.size > MAX_TARGETS_PER_JOB:
        raise ValueError(f"a job takes at most {MAX_TARGETS_PER_JOB} targets, this request has {request.size}")
    return Call(
        method="POST",
        path=_JOBS,
        reader=_created,
        body=json.dumps(request.to_wire(), separators=(",", ":")).encode(),
        resend=False,
        targets=request.size,
    )


def get_job(job_id: str) -> Call[JobDetails]:
    """The call that looks at a job."""
    return Call(method="GET", path=f"{_JOBS}/{_escaped(job_id)}", reader=identity.reader(JobDetails, job_id=job_id))


def get_task(job_id: str, task_id: str) -> Call[TaskDetails]:
    """The call that fetches a task with its content."""
    path = f"{_JOBS}/{_escaped(job_id)}/{_escaped(task_id)}"
    return Call(method="GET", path=path, reader=identity.reader(TaskDetails, job_id=job_id, task_id=task_id))


def list_jobs(filters: JobFilters) -> Call[JobsListResponse]:
    """The call for one page of the job list; only the filters given are sent.

    Raises:
        ValueError: a page below 1, or a page size outside 1 to 100.
        TypeError: a filter that the API does not have.
    """
    unknown = set(filters) - set(_PARAMS)
    if unknown:
        raise TypeError(f"no such filter of the job list: {', '.join(sorted(unknown))}")
    params = {name: _PARAMS[name](value) for name, value in filters.items() if value is not None}
    return Call(method="GET", path=_JOBS, reader=identity.told(JobsListResponse), params=params)


def cancel_job(job_id: str) -> Call[JobDetails]:
    """The call that cancels a job; its answer need not say `canceled` yet."""
    return Call(method="DELETE", path=f"{_JOBS}/{_escaped(job_id)}", reader=identity.reader(JobDetails, job_id=job_id))


def get_user_info() -> Call[UserInformation]:
    """The call that reads the account's numbers."""
    return Call(method="GET", path="/api/v1/me", reader=identity.told(UserInformation))


def _created(body: bytes) -> JobCreationResponse:
    created = JobCreationResponse.model_validate_json(body)
    if not identity.is_id(created.job_id):
        raise ValueError("JobID is missing, or no id")
    # A task with another id can never be asked for.
    return created.model_copy(update={"task_ids": [one for one in created.task_ids if identity.is_id(one)]})


def _escaped(identifier: str) -> str:
    if not identity.is_id(identifier):
        raise ValueError(
            f"not an id: {ascii(identifier)[: identity.LONGEST]}; an id is printable ASCII without spaces, at most "
            f"{identity.LONGEST} characters, and neither '.' nor '..'"
        )
    return quote(identifier, safe="")


def _bounded(name: str, low: int, high: float = float("inf")) -> Callable[[Any], str]:
    def render(value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(
                f"{name} must be a whole number from {low}" + (f" to {high}" if high < float("inf") else "")
            )
        return str(value)

    return render


def _instant(value: datetime) -> str:
    aware = value if value.tzinfo else value.replace(tzinfo=UTC)
    return aware.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_PARAMS: Final[dict[str, Callable[[Any], str]]] = {
    "page_size": _bounded("page_size", 1, MAX_PAGE_SIZE),
    "page": _bounded("page", 1),
    "status": str,
    "start_from": _instant,
    "start_to": _instant,
    "sort": str,
}
