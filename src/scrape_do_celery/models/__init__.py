"""Models of the API's requests and answers, and the errors that carry a job or a task."""

from __future__ import annotations

from .ids import read_id, same_id
from .jobs import (
    CancelJobResponse,
    JobCanceledError,
    JobCreationResponse,
    JobDetails,
    JobFailedError,
    JobLifecycleError,
    JobsListResponse,
    UndetailedTaskResponse,
)
from .parsing import parse_answer
from .render import RenderOptions
from .repairs import collect_defaults
from .requests import MAX_TARGETS_PER_JOB, JobCreationRequest, PluginRequest, RequestFields
from .results import JobResult, RunTimeoutError, UserInformation
from .statuses import STATUS_SPELLINGS, TERMINAL, JobStatus, is_known_status, is_terminal, read_status
from .tasks import TaskCanceledError, TaskDetails, TaskFailedError, TaskLifecycleError, WebhookPayload
from .urls import match_targets
from .wire import RequestModel, WireModel

__all__ = [
    "MAX_TARGETS_PER_JOB",
    "STATUS_SPELLINGS",
    "TERMINAL",
    "CancelJobResponse",
    "JobCanceledError",
    "JobCreationRequest",
    "JobCreationResponse",
    "JobDetails",
    "JobFailedError",
    "JobLifecycleError",
    "JobResult",
    "JobStatus",
    "JobsListResponse",
    "PluginRequest",
    "RenderOptions",
    "RequestFields",
    "RequestModel",
    "RunTimeoutError",
    "TaskCanceledError",
    "TaskDetails",
    "TaskFailedError",
    "TaskLifecycleError",
    "UndetailedTaskResponse",
    "UserInformation",
    "WebhookPayload",
    "WireModel",
    "collect_defaults",
    "is_known_status",
    "is_terminal",
    "match_targets",
    "parse_answer",
    "read_id",
    "read_status",
    "same_id",
]
