"""The API's other answers, and `JobResult`, the result of a run."""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AliasChoices, ConfigDict, Field, ValidationInfo, field_validator

from .base import AnswerModel, WireModel
from .details import JobDetails, TaskDetails, UndetailedTaskResponse
from .fields import Balance, Id, Ids, Number, Text, dropping

__all__ = [
    "CancelJobResponse",
    "JobCreationResponse",
    "JobDetails",
    "JobResult",
    "JobsListResponse",
    "TaskDetails",
    "UndetailedTaskResponse",
    "UserInformation",
    "WebhookPayload",
]

#: `DELETE /jobs/{job_id}` answers with the job.
CancelJobResponse: TypeAlias = JobDetails
#: The API sends the task as the body of a webhook.
WebhookPayload: TypeAlias = TaskDetails


class JobCreationResponse(AnswerModel):
    """The answer to `POST /jobs`, which means that the job was bought."""

    #: the id of the job
    job_id: Id
    #: each id once; letters are compared without case
    task_ids: Ids = Field(default_factory=list)
    #: the API's message
    message: Text = None


class UserInformation(AnswerModel):
    """The answer to `GET /me`."""

    #: concurrency slots of the account
    total_concurrency: Number = 0
    #: concurrency slots that are free now
    free_concurrency: Number = 0
    #: jobs that run now
    active_jobs: Number = 0
    # The API's own spelling first. The right spelling is accepted in case the API corrects it.
    #: credits that the account has left
    available_credits: Balance = Field(
        default=0,
        validation_alias=AliasChoices("AvaliableCredits", "AvailableCredits"),
        serialization_alias="AvaliableCredits",
    )


class JobsListResponse(AnswerModel):
    """A page of `GET /jobs`. Its jobs may lack concurrency, `canceled` and `tasks`."""

    #: the jobs of this page
    jobs: Annotated[list[JobDetails], dropping(JobDetails.model_validate)] = Field(default_factory=list)
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


class JobResult(WireModel):
    """A job that ended, with all its tasks in the order of the input."""

    model_config = ConfigDict(alias_generator=None)

    #: the job that decided the run
    job: JobDetails
    #: all tasks, in the order of the targets
    tasks: list[TaskDetails] = Field(default_factory=list)
    #: set by this package: the jobs of all parts of the run; only `job` if the run has one part
    jobs: list[JobDetails] = Field(default_factory=list, validate_default=True)
    #: set by this package: false if tasks could not be matched to the targets, and are in the API's order
    order_verified: bool = True
    #: set by this package: the id of the run; None for a job of the bare client
    run_id: str | None = None

    @field_validator("jobs")
    @classmethod
    def _at_least_the_job(cls, jobs: list[JobDetails], info: ValidationInfo) -> list[JobDetails]:
        return jobs or [info.data["job"]] if "job" in info.data else jobs

    @property
    def succeeded(self) -> list[TaskDetails]:
        """The tasks that ended in success."""
        return [task for task in self.tasks if task.is_success]

    @property
    def failed(self) -> list[TaskDetails]:
        """The tasks that ended in error or were canceled."""
        return [task for task in self.tasks if task.is_terminal_failure]

    @property
    def cost(self) -> float | None:
        """Credits of all tasks with a known cost; None if no cost is known. A task of several targets counts once."""
        costs = {(task.job_id, task.task_id): task.cost for task in self.tasks if task.cost is not None}
        return sum(costs.values()) if costs else None
