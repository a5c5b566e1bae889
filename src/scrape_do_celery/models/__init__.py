"""Models of the API's requests and answers, and the errors that carry a job or a task."""

from __future__ import annotations

from .base import RequestModel, WireModel, collect_defaults
from .enums import STATUS_SPELLINGS, TERMINAL, JobStatus, is_known_status, is_terminal, read_status
from .errors import (
    JobCanceledError,
    JobFailedError,
    JobLifecycleError,
    RunTimeoutError,
    TaskCanceledError,
    TaskFailedError,
    TaskLifecycleError,
    rehydrate,
)
from .ids import read_id, same_id
from .parsing import parse_answer
from .plugins import PluginRequest
from .render import RenderOptions
from .requests import MAX_TARGETS_PER_JOB, JobCreationRequest, RequestFields
from .responses import (
    CancelJobResponse,
    JobCreationResponse,
    JobDetails,
    JobResult,
    JobsListResponse,
    TaskDetails,
    UndetailedTaskResponse,
    UserInformation,
    WebhookPayload,
)
from .urls import fingerprint, match_targets, normalise

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
    "fingerprint",
    "is_known_status",
    "is_terminal",
    "match_targets",
    "normalise",
    "parse_answer",
    "read_id",
    "read_status",
    "rehydrate",
    "same_id",
]
