"""The API's models of a job, and the errors that carry a job.

`args` of an error hold the JSON object of its job, and `.job` rebuilds the model on access. So the errors survive
Celery's JSON as well as pickle.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final, Self, TypeAlias

from pydantic import AfterValidator, Field, ValidationError, ValidationInfo

from scrape_do_celery.errors import AsyncAPIError
from scrape_do_celery.errors.base import drop_trailing_nones
from scrape_do_celery.outside_text import redact_answer

from .fields import Flag, Id, Ids, Number, Status, Text, Word, list_repair
from .ids import check_ids, read_id, unique_ids
from .parsing import plain_object
from .reasons import FailureReason, join_reasons, reasons_from_json, reasons_to_json
from .repairs import FieldRepair, read_tolerantly
from .statuses import FAILURES, JobStatus, is_terminal, read_status
from .wire import AnswerModel, LifecycleModel, WireModel

__all__ = [
    "CancelJobResponse",
    "JobCanceledError",
    "JobCreationResponse",
    "JobDetails",
    "JobFailedError",
    "JobLifecycleError",
    "JobsListResponse",
    "UndetailedTaskResponse",
]


#: Tasks of a job that the error of a run carries at most: it travels through the broker, Celery's results and logs.
MAX_TASKS_IN_ERROR: Final = 20


class UndetailedTaskResponse(WireModel):
    """A task inside `JobDetails.tasks`."""

    # No `AnswerModel`, for speed: a job has up to 1,000 tasks, and reads them all again if it refuses one.

    #: the id of the task
    task_id: Annotated[str, FieldRepair(read_id)]
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


class JobDetails(LifecycleModel):
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
    tasks: Annotated[list[UndetailedTaskResponse], AfterValidator(_each_task_once), list_repair(_read_task)] = Field(
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

    def cut(self, limit: int = MAX_TASKS_IN_ERROR) -> Self:
        """Return the same job with at most `limit` tasks, failed and canceled tasks first, and only their ids.

        Args:
            limit: the number of tasks. A job with no more tasks is returned unchanged.
        """
        if max(len(self.tasks), len(self.task_ids)) <= limit:
            return self
        # `False` sorts first. The sort is stable, so each group keeps the API's order.
        tasks = sorted(self.tasks, key=lambda task: task.status not in FAILURES)[:limit]
        ids = [task.task_id for task in tasks] if tasks else self.task_ids[:limit]
        return self.model_copy(update={"tasks": tasks, "task_ids": ids})


#: `DELETE /jobs/{job_id}` answers with the job.
CancelJobResponse: TypeAlias = JobDetails


class JobCreationResponse(AnswerModel):
    """The answer to `POST /jobs`, which means that the job was bought."""

    #: the id of the job
    job_id: Id
    #: each id once; letters are compared without case
    task_ids: Ids = Field(default_factory=list)
    #: the API's message
    message: Text = None


class JobsListResponse(AnswerModel):
    """A page of `GET /jobs`. Its jobs may lack concurrency, `canceled` and `tasks`."""

    #: the jobs of this page
    jobs: Annotated[list[JobDetails], list_repair(JobDetails.model_validate)] = Field(default_factory=list)
    #: the number of matching jobs on all pages
    total_count: Number = 0
    #: the number of jobs on a page at most
    page_size: Number = 0
    #: the number of this page; the first page is 1
    page_number: Number = 0
    #: the number of pages
    total_pages: Number = 0

    @property
    def is_complete(self) -> bool:
        """Whether the answer has a list of jobs and each job could be read.

        A job that is absent from an incomplete page may still exist.
        """
        return "jobs" in self.model_fields_set and not self.dropped


#: The advice about a job that was bought, and whose end no answer showed.
MAY_STILL_RUN: Final = "job {job_id} may still run: check `scrape-do orphans` with the token that bought it"


class JobLifecycleError(AsyncAPIError):
    """A job did not end in success. The error is built from the job, or from its JSON object.

    If the error carries only some of the job's tasks, `counts` still has the numbers of all tasks.
    """

    def __init__(
        self,
        job: JobDetails | Mapping[str, Any] | None = None,
        run_id: str | None = None,
        counts: Mapping[str, int] | None = None,
        open_job_id: str | None = None,
        reasons: Sequence[Mapping[str, Any]] | None = None,
    ) -> None:
        counted, grouped = dict(counts) if counts else None, [dict(one) for one in reasons or ()] or None
        super().__init__(*drop_trailing_nones(dump_job(job), run_id, counted, open_job_id, grouped))

    @classmethod
    def cut(cls, job: JobDetails, run_id: str | None = None, limit: int = MAX_TASKS_IN_ERROR) -> Self:
        """Return the error with some of the job's tasks, and with the counts of all tasks.

        Args:
            job: the job.
            run_id: the id of the run; None for a job of the bare client.
            limit: the number of tasks that the error carries at most; failed and canceled tasks come first.
        """
        return cls(job.cut(limit), run_id, _count_tasks(dump_job(job) or {}))

    @property
    def job(self) -> JobDetails | None:
        """The job; None if the run ended before a job was bought, or without an answer about its job.

        The error of a run has 20 of the job's tasks at most. All are in `RunHandle(run_id).job`.
        """
        return load_job(self.args[0])

    @property
    def open_job_id(self) -> str | None:
        """The id of a job that may still run, because the run ended without an answer about the job; else None."""
        open_job_id: str | None = self._get_argument(3)
        return open_job_id

    @property
    def run_id(self) -> str | None:
        """The id of the run; None for a job of the bare client."""
        run_id: str | None = self._get_argument(1)
        return run_id

    @property
    def counts(self) -> dict[str, int]:
        """The numbers of tasks that `failed` and were `canceled`, and of all tasks (`total`)."""
        return dict(self._get_argument(2) or _count_tasks(self.args[0] or {}))

    @property
    def reasons(self) -> tuple[FailureReason, ...]:
        """The reasons of the failed tasks, the most frequent first; empty for a job of the bare client."""
        return reasons_from_json(self._get_argument(4))

    def with_reasons(self, reasons: Iterable[FailureReason]) -> Self:
        """Return the error with the reasons of the failed tasks."""
        job, run_id, counts, open_job_id = (self._get_argument(position) for position in range(4))
        return type(self)(job, run_id, counts, open_job_id, reasons_to_json(reasons))

    def _describe(self) -> str:
        job = self.args[0]
        if job is None and self.open_job_id is not None:
            return f"run {self.run_id} ended without its job; {MAY_STILL_RUN.format(job_id=self.open_job_id)}"
        if job is None:
            return f"run {self.run_id} ended before a job was bought"
        text = f"job {job.get('JobID')} ended as {job.get('Status')}"
        if self.run_id:
            text += f" (run {self.run_id})"
        counts = self.counts
        if not counts.get("total"):
            return text
        text += f": {counts.get('failed', 0):,} of {counts['total']:,} tasks failed"
        text += f", {counts['canceled']:,} canceled" if counts.get("canceled") else ""
        return f"{text}: {join_reasons(self.reasons)}" if self.reasons else text


class JobFailedError(JobLifecycleError):
    """The job ended in `error`.

    In the error of a run, `.job` is cut to 20 tasks, failed tasks first, and `.counts` counts all tasks. All tasks are
    in `RunHandle(run_id).job`, and `RunHandle(run_id).iter_tasks()` yields them with their pages. The error of the bare
    client has the whole job.
    """


class JobCanceledError(JobLifecycleError):
    """The job was canceled, or its run was canceled before a job was bought or without an answer about its job."""


def load_job(wire: dict[str, Any] | None) -> JobDetails | None:
    """Return the job of the JSON object that `dump_job` returned."""
    return None if wire is None else JobDetails.model_validate(wire)


def dump_job(job: JobDetails | Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the JSON object of a job for the `args` of an error."""
    if job is None:
        return None
    if isinstance(job, Mapping):
        # Keep an unreadable job unchanged: an error about a failure must not fail itself.
        try:
            job = JobDetails.model_validate(job)
        except ValidationError:
            return redact_answer(plain_object(dict(job)))  # type: ignore[no-any-return]
    return redact_answer(job.to_wire())  # type: ignore[no-any-return]


def _count_tasks(job: dict[str, Any]) -> dict[str, int]:
    tasks = job.get("Tasks")
    # The JSON object of an unreadable job is unchanged, so that its tasks may be of any type.
    known = [task for task in tasks if isinstance(task, Mapping)] if isinstance(tasks, list) else []
    ended = Counter(read_status(str(task.get("Status"))) for task in known)
    return {"failed": ended[JobStatus.ERROR], "canceled": ended[JobStatus.CANCELED], "total": len(known)}
