"""The error tree. Errors that carry a job or a task are in `models`.

ScrapeDoError
├── InvalidRequestError (ValueError)      a task or a step refused the request; `enqueue` raises a plain ValueError
├── ConfigurationError                    the settings are unusable
│   └── EncryptionKeyError                the process lacks the key of an encrypted value in the store
├── StoreUnavailableError (redis' ConnectionError)  Redis did not answer, or refused
├── APIConnectionError                    no answer: DNS, connect, TLS, timeout, reset
├── AsyncAPIError
│   ├── AsyncAPIResponseError             an answer outside 2xx
│   │   ├── AsyncAPIBadRequestError       400
│   │   ├── AsyncAPIAuthError             401, 403
│   │   ├── AsyncAPINotFoundError         404
│   │   ├── AsyncAPINotAcceptableError    406
│   │   ├── AsyncAPIGoneError             410
│   │   ├── AsyncAPIRateLimitError        429
│   │   └── AsyncAPIServerError           5xx
│   ├── AsyncAPIUnparsableResponseError   a 2xx or 3xx answer that breaks the API's contract
│   │   ├── AsyncAPIRedirectError         3xx
│   │   └── AsyncAPITooLargeError         a body above the page limit
│   ├── JobLifecycleError                 (models.jobs) JobFailedError, JobCanceledError
│   ├── TaskLifecycleError                (models.tasks) TaskFailedError, TaskCanceledError
│   └── JobTimeoutError                   the polling budget of a blocking wait ran out
├── SubmitInDoubtError                    a job may have been bought
└── RunError                              an error of one run
    ├── ResultNotReadyError (TimeoutError)  the run has not ended yet
    ├── RunTimeoutError                     (models.results) the run's own `max_wait` passed
    ├── RunNotFoundError (LookupError)      the store has no record of the run
    ├── ResultExpiredError (LookupError)    the store has the run, but not its contents
    ├── JobLostError                        the API no longer knows the job
    ├── PoisonedRunError                    the run's steps died again and again
    └── IdempotencyConflictError (ValueError)  the key was used for another request
"""

from __future__ import annotations

from scrape_do_celery.errors.api import (
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
    JobTimeoutError,
    SubmitInDoubtError,
)
from scrape_do_celery.errors.base import (
    ConfigurationError,
    EncryptionKeyError,
    InvalidRequestError,
    ScrapeDoError,
    StoreUnavailableError,
    rehydrate,
)
from scrape_do_celery.errors.runs import (
    IdempotencyConflictError,
    JobLostError,
    PoisonedRunError,
    ResultExpiredError,
    ResultNotReadyError,
    RunError,
    RunNotFoundError,
)

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
    "ConfigurationError",
    "EncryptionKeyError",
    "IdempotencyConflictError",
    "InvalidRequestError",
    "JobLostError",
    "JobTimeoutError",
    "PoisonedRunError",
    "ResultExpiredError",
    "ResultNotReadyError",
    "RunError",
    "RunNotFoundError",
    "ScrapeDoError",
    "StoreUnavailableError",
    "SubmitInDoubtError",
    "rehydrate",
]
