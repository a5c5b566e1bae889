"""The error tree. Errors that carry a job or a task are in `models`.

ScrapeDoError
├── InvalidRequestError (ValueError)      a task or a step refused the request; `enqueue` raises a plain ValueError
├── ConfigurationError                    the settings are unusable
│   └── EncryptionKeyError                the process lacks the key of an encrypted value in the store
│       └── RefusedValueError            a value of the store is plain or forged
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
├── UnreadableContentError (ValueError)   (errors.contents) the content of a task is not what it was read as
├── SubmitInDoubtError                    a job may have been bought
└── RunError                              (errors.runs) an error of one run
"""

from __future__ import annotations

from scrape_do_celery.errors import api, base, contents, runs
from scrape_do_celery.errors.api import *  # noqa: F403
from scrape_do_celery.errors.base import *  # noqa: F403
from scrape_do_celery.errors.contents import *  # noqa: F403
from scrape_do_celery.errors.runs import *  # noqa: F403

# `__all__` of each module lists its public names. Star imports repeat none, so a new name is written in one file.
__all__: list[str] = []
__all__ += api.__all__
__all__ += base.__all__
__all__ += contents.__all__
__all__ += runs.__all__
