"""Scrape.do's Async API in Celery: pay once, block no worker, lose no page, raise typed errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from scrape_do_celery.config import Settings
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIAuthError,
    AsyncAPIBadRequestError,
    AsyncAPIError,
    AsyncAPIGoneError,
    AsyncAPINotAcceptableError,
    AsyncAPINotFoundError,
    AsyncAPIRateLimitError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    AsyncAPIServerError,
    AsyncAPITooLargeError,
    AsyncAPIUnparsableResponseError,
    ConfigurationError,
    EncryptionKeyError,
    IdempotencyConflictError,
    InvalidRequestError,
    JobLostError,
    JobTimeoutError,
    PoisonedRunError,
    ResultExpiredError,
    ResultNotReadyError,
    RunError,
    RunNotFoundError,
    ScrapeDoError,
    StoreUnavailableError,
    SubmitInDoubtError,
    rehydrate,
)
from scrape_do_celery.models import (
    CancelJobResponse,
    JobCanceledError,
    JobCreationRequest,
    JobCreationResponse,
    JobDetails,
    JobFailedError,
    JobLifecycleError,
    JobResult,
    JobsListResponse,
    JobStatus,
    PluginRequest,
    RenderOptions,
    RunTimeoutError,
    TaskCanceledError,
    TaskDetails,
    TaskFailedError,
    TaskLifecycleError,
    UndetailedTaskResponse,
    UserInformation,
    WebhookPayload,
)
from scrape_do_celery.rules.polling import PollingStrategy
from scrape_do_celery.runs import (
    Progress,
    RunHandle,
    RunStatus,
    aenqueue,
    aenqueue_many,
    enqueue,
    enqueue_many,
    retry_failed,
    scheduled_run,
)
from scrape_do_celery.store import RunState

if TYPE_CHECKING:
    from scrape_do_celery.client import AsyncScrapeDoAsyncAPIClient, ScrapeDoAsyncAPIClient

__all__ = [
    "APIConnectionError",
    "AsyncAPIAuthError",
    "AsyncAPIBadRequestError",
    "AsyncAPIError",
    "AsyncAPIGoneError",
    "AsyncAPINotAcceptableError",
    "AsyncAPINotFoundError",
    "AsyncAPIRateLimitError",
    "AsyncAPIRedirectError",
    "AsyncAPIResponseError",
    "AsyncAPIServerError",
    "AsyncAPITooLargeError",
    "AsyncAPIUnparsableResponseError",
    "AsyncScrapeDoAsyncAPIClient",
    "CancelJobResponse",
    "ConfigurationError",
    "EncryptionKeyError",
    "IdempotencyConflictError",
    "InvalidRequestError",
    "JobCanceledError",
    "JobCreationRequest",
    "JobCreationResponse",
    "JobDetails",
    "JobFailedError",
    "JobLifecycleError",
    "JobLostError",
    "JobResult",
    "JobStatus",
    "JobTimeoutError",
    "JobsListResponse",
    "PluginRequest",
    "PoisonedRunError",
    "PollingStrategy",
    "Progress",
    "RenderOptions",
    "ResultExpiredError",
    "ResultNotReadyError",
    "RunError",
    "RunHandle",
    "RunNotFoundError",
    "RunState",
    "RunStatus",
    "RunTimeoutError",
    "ScrapeDoAsyncAPIClient",
    "ScrapeDoError",
    "Settings",
    "StoreUnavailableError",
    "SubmitInDoubtError",
    "TaskCanceledError",
    "TaskDetails",
    "TaskFailedError",
    "TaskLifecycleError",
    "UndetailedTaskResponse",
    "UserInformation",
    "WebhookPayload",
    "aenqueue",
    "aenqueue_many",
    "enqueue",
    "enqueue_many",
    "rehydrate",
    "retry_failed",
    "scheduled_run",
]

_CLIENTS = {"AsyncScrapeDoAsyncAPIClient", "ScrapeDoAsyncAPIClient"}


def __getattr__(name: str) -> Any:
    # Import lazily, so that a web process that only enqueues never loads the HTTP client.
    if name in _CLIENTS:
        from scrape_do_celery import client

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
