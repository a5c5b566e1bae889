"""The API's other answers, and the bundle that a run ends in."""

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
#: A webhook's body is the task.
WebhookPayload: TypeAlias = TaskDetails


class JobCreationResponse(AnswerModel):
    """The answer to `POST /jobs`: the job was bought."""

    #: the id of the job
    job_id: Id
    #: each id once; letters are compared without case
    task_ids: Ids = Field(default_factory=list)
    #: a text of the API
    message: Text = None


class UserInformation(AnswerModel):
    """The answer to `GET /me`."""

    #: slots of the account
    total_concurrency: Number = 0
    #: slots that are free now
    free_concurrency: Number = 0
    #: jobs that run now
    active_jobs: Number = 0
    # The API's own spelling first; the right one in case it is ever mended.
    #: credits that the account has left
    available_credits: Balance = Field(
        default=0,
        validation_alias=AliasChoices("AvaliableCredits", "AvailableCredits"),
        serialization_alias="AvaliableCredits",
    )


class JobsListResponse(AnswerModel):
    """A page of `GET /jobs`; its jobs may lack concurrency, `canceled` and `tasks`."""

    #: the jobs of this page
    jobs: Annotated[list[JobDetails], dropping(JobDetails.model_validate)] = Field(default_factory=list)
    #: jobs that match, on all pages
    total_count: Number = 0
    #: jobs on a page, at most
    page_size: Number = 0
    #: the first page is 1
    page_number: Number = 0
    #: pages of the list
    total_pages: Number = 0

    @property
    def is_complete(self) -> bool:
        """Return whether the answer named its jobs and each of them could be read.

        A job that is absent from an incomplete page may exist all the same.
        """
        return "jobs" in self.model_fields_set and not self.dropped


class JobResult(WireModel):
    """A job that ended, with all its tasks in the order of the input."""

    model_config = ConfigDict(alias_generator=None)

    #: the job that decided the run
    job: JobDetails
    #: all tasks, in the order of the targets
    tasks: list[TaskDetails] = Field(default_factory=list)
    #: ours: the jobs of all parts of the run; `job` alone where there is one
    jobs: list[JobDetails] = Field(default_factory=list, validate_default=True)
    #: ours: false where tasks could not be matched to the input's URLs, and stand in the API's order
    order_verified: bool = True
    #: ours: the run; None for a bare client's job
    run_id: str | None = None

    @field_validator("jobs")
    @classmethod
    def _at_least_the_job(cls, jobs: list[JobDetails], info: ValidationInfo) -> list[JobDetails]:
        return jobs or [info.data["job"]] if "job" in info.data else jobs

    @property
    def succeeded(self) -> list[TaskDetails]:
        """Tasks that ended in success."""
        return [task for task in self.tasks if task.is_success]

    @property
    def failed(self) -> list[TaskDetails]:
        """Tasks that ended in error or were canceled."""
        return [task for task in self.tasks if task.is_terminal_failure]

    @property
    def cost(self) -> float | None:
        """Credits of all tasks that said theirs; None where none did. A task that is of several targets costs once."""
        costs = {(task.job_id, task.task_id): task.cost for task in self.tasks if task.cost is not None}
        return sum(costs.values()) if costs else None
