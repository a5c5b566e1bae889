"""What the API sends and takes, and the errors that carry it."""

from __future__ import annotations

from .base import RequestModel, WireModel
from .enums import TERMINAL, JobStatus, is_terminal
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
from .plugins import PluginRequest
from .render import RenderOptions
from .requests import MAX_TARGETS_PER_JOB, JobCreationRequest
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
    "fingerprint",
    "is_terminal",
    "match_targets",
    "normalise",
    "rehydrate",
]
