"""Every error that needs no model. Those that carry a job or a task live in `models.errors`.

ScrapeDoError
├── InvalidRequestError (ValueError)      a request that a step refused: never sent
├── ConfigurationError                    settings that cannot work
│   └── EncryptionKeyError                a value of the store is encrypted with a key that is not here
├── StoreUnavailableError (redis' ConnectionError)  Redis did not answer, or refused
├── APIConnectionError                    no answer: DNS, connect, TLS, time-out, reset
├── AsyncAPIError
│   ├── AsyncAPIResponseError             an answer outside 2xx
│   │   ├── AsyncAPIBadRequestError       400
│   │   ├── AsyncAPIAuthError             401, 403
│   │   ├── AsyncAPINotFoundError         404
│   │   ├── AsyncAPINotAcceptableError    406
│   │   ├── AsyncAPIGoneError             410
│   │   ├── AsyncAPIRateLimitError        429
│   │   └── AsyncAPIServerError           5xx
│   ├── AsyncAPIUnparsableResponseError   2xx or 3xx that is not what the API promises
│   │   ├── AsyncAPIRedirectError         3xx
│   │   └── AsyncAPITooLargeError         a body over the limit of one page
│   ├── JobLifecycleError                 (models.errors) JobFailedError, JobCanceledError
│   ├── TaskLifecycleError                (models.errors) TaskFailedError, TaskCanceledError
│   └── JobTimeoutError                   the blocking client's polling budget ran out
├── SubmitInDoubtError                    a job may or may not have been bought
└── RunError                              about one of our runs
    ├── ResultNotReadyError (TimeoutError)  not done yet; the run goes on
    ├── RunTimeoutError                     (models.errors) the run's own `max_wait` passed
    ├── RunNotFoundError (LookupError)      no such run was ever written, or its record is gone
    ├── ResultExpiredError (LookupError)    the run is known, its contents are gone
    ├── JobLostError                        the API no longer knows the job
    ├── PoisonedRunError                    its steps died again and again
    └── IdempotencyConflictError (ValueError)  the key was used for another request
"""

from __future__ import annotations

from typing import Any, ClassVar

from redis.exceptions import ConnectionError as RedisConnectionError


class ScrapeDoError(Exception):
    """Base of all. `args` hold JSON values only, and `cls(*args)` rebuilds the error in any process."""

    registry: ClassVar[dict[str, type[ScrapeDoError]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        ScrapeDoError.registry[cls.__name__] = cls

    def __str__(self) -> str:
        """The message: the first argument."""
        return str(self.args[0]) if self.args else (type(self).__doc__ or "").partition("\n")[0]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def to_json(self) -> dict[str, Any]:
        """What `from_json` makes the same error of."""
        return {"type": type(self).__name__, "args": list(self.args)}

    @staticmethod
    def from_json(data: dict[str, Any]) -> ScrapeDoError:
        """The error that `to_json` described; the base class where its own is not loaded."""
        return ScrapeDoError.registry.get(data["type"], ScrapeDoError)(*data["args"])

    def _argument(self, position: int, default: Any = None) -> Any:
        return self.args[position] if len(self.args) > position else default


class InvalidRequestError(ScrapeDoError, ValueError):
    """A request that can never be sent as it is; the message names its fields."""


class ConfigurationError(ScrapeDoError):
    """Settings with which this process cannot work."""


class EncryptionKeyError(ConfigurationError):
    """A value of the store cannot be read here: its key is missing. The message names it, and says what to do."""


class StoreUnavailableError(ScrapeDoError, RedisConnectionError):
    """The store did not answer, or refused; the message says which, without its password."""


class APIConnectionError(ScrapeDoError):
    """The API gave no answer."""

    def __init__(self, message: str = "no answer", method: str = "", path: str = "", *rest: Any) -> None:
        super().__init__(message, method, path, *rest)

    @property
    def method(self) -> str:
        """The HTTP method of the request."""
        return str(self.args[1])

    @property
    def path(self) -> str:
        """The path of the request."""
        return str(self.args[2])


class AsyncAPIError(ScrapeDoError):
    """Base of what the Async API answered."""


class AsyncAPIResponseError(AsyncAPIError):
    """An answer outside 2xx. `error_info` is the API's own `(Error, Code)`, where it gave one."""

    def __init__(  # noqa: PLR0913, PLR0917 (each is one of `args`)
        self,
        message: str = "",
        status_code: int = 0,
        error: str | None = None,
        code: int | None = None,
        retry_after: float | None = None,
        excerpt: str = "",
    ) -> None:
        super().__init__(message, status_code, error, code, retry_after, excerpt)

    @property
    def message(self) -> str:
        """The text that `str()` gives."""
        return str(self.args[0])

    @property
    def status_code(self) -> int:
        """HTTP status of the answer."""
        return int(self.args[1])

    @property
    def raw_status_code(self) -> int:
        """`status_code`, under the peer SDK's name."""
        return self.status_code

    @property
    def error_info(self) -> tuple[str | None, int | None] | None:
        """`Error` and `Code` of the body; None where the body had neither."""
        return None if self.args[2] is None and self.args[3] is None else (self.args[2], self.args[3])

    @property
    def is_api_error(self) -> bool:
        """Whether the body is the API's own error body: a JSON object with an `Error` string or a `Code` int.

        Anything else comes from a gateway, a proxy or a firewall on the way, and says nothing about a job or a task.
        """
        return self.error_info is not None

    @property
    def retry_after(self) -> float | None:
        """Seconds that the API asks to wait for, from `Retry-After`."""
        return None if self.args[4] is None else float(self.args[4])

    @property
    def excerpt(self) -> str:
        """The start of the body as it came."""
        return str(self.args[5])

    @classmethod
    def for_status(cls, status_code: int) -> type[AsyncAPIResponseError]:
        """The class of an HTTP status."""
        if status_code >= 500:  # noqa: PLR2004
            return AsyncAPIServerError
        return _BY_STATUS.get(status_code, AsyncAPIResponseError)


class AsyncAPIBadRequestError(AsyncAPIResponseError):
    """400: the API refused the request's body or ids."""


class AsyncAPIAuthError(AsyncAPIResponseError):
    """401: the token is missing or unknown; on the sync gateway also an account without credits. 403: not for it."""


class AsyncAPINotFoundError(AsyncAPIResponseError):
    """404: unknown, or expired (three days after creation)."""


class AsyncAPINotAcceptableError(AsyncAPIResponseError):
    """406: the job has already ended and cannot be canceled."""


class AsyncAPIGoneError(AsyncAPIResponseError):
    """410: the task is known, its content can no longer be read."""


class AsyncAPIRateLimitError(AsyncAPIResponseError):
    """429: too many requests."""


class AsyncAPIServerError(AsyncAPIResponseError):
    """5xx."""


_BY_STATUS: dict[int, type[AsyncAPIResponseError]] = {
    400: AsyncAPIBadRequestError,
    401: AsyncAPIAuthError,
    403: AsyncAPIAuthError,
    404: AsyncAPINotFoundError,
    406: AsyncAPINotAcceptableError,
    410: AsyncAPIGoneError,
    429: AsyncAPIRateLimitError,
}


class AsyncAPIUnparsableResponseError(AsyncAPIError):
    """A 2xx or 3xx answer that cannot be read.

    `body` holds the whole answer while the error is in the process that met it. The body is no part of `args`, so that
    no page travels through a message or a result backend.
    """

    # A slot: pickle copies what is in `__dict__` into another process.
    __slots__ = ("_body",)
    _body: bytes

    def __init__(
        self, message: str = "", status_code: int = 0, excerpt: str = "", is_api_object: bool = False, *rest: Any
    ) -> None:
        super().__init__(message, status_code, excerpt, is_api_object, *rest)

    @property
    def body(self) -> bytes:
        """The whole body, bounded by the client's page limit. Empty in another process."""
        return getattr(self, "_body", b"")

    @body.setter
    def body(self, raw: bytes) -> None:
        self._body = raw

    @property
    def status_code(self) -> int:
        """HTTP status of the answer."""
        return int(self.args[1])

    @property
    def excerpt(self) -> str:
        """The start of the body."""
        return str(self.args[2])

    @property
    def is_api_object(self) -> bool:
        """Whether the body is a JSON object with at least one field of the API's answers or of its error body.

        Such an answer comes from the API itself. Anything else is trouble on the way to it.
        """
        return bool(self.args[3])


class AsyncAPIRedirectError(AsyncAPIUnparsableResponseError):
    """A 3xx answer. Redirects are never followed: the token would travel to another host."""

    @property
    def host(self) -> str:
        """The host that `Location` names. Empty if the answer names none."""
        return str(self._argument(4, ""))


class AsyncAPITooLargeError(AsyncAPIUnparsableResponseError):
    """A body that is larger than the client's page limit. The rest of it was not read."""

    @property
    def limit(self) -> int:
        """The limit in bytes."""
        return int(self._argument(4, 0))


class JobTimeoutError(AsyncAPIError):
    """The polling budget of a blocking wait ran out; the job may still run, and be paid."""

    def __init__(self, job_id: str = "", last_status: str = "", elapsed: float = 0.0, attempts: int = 0) -> None:
        super().__init__(job_id, last_status, elapsed, attempts)

    def __str__(self) -> str:
        return f"job {self.job_id} is still {self.last_status} after {self.elapsed:.1f} s and {self.attempts} polls"

    @property
    def job_id(self) -> str:
        """The job that was waited for."""
        return str(self.args[0])

    @property
    def last_status(self) -> str:
        """Its status at the last poll."""
        return str(self.args[1])

    @property
    def elapsed(self) -> float:
        """Seconds waited."""
        return float(self.args[2])

    @property
    def attempts(self) -> int:
        """Looks taken."""
        return int(self.args[3])


class SubmitInDoubtError(ScrapeDoError):
    """A `POST /jobs` whose fate is unknown: the job may have been bought, so it is not sent again."""

    def __init__(
        self,
        message: str = "",
        targets: int = 0,
        intent: float | None = None,
        candidates: Any = (),
        run_id: str | None = None,
    ) -> None:
        super().__init__(message, targets, intent, list(candidates), run_id)

    @property
    def targets(self) -> int:
        """How many targets the job would have."""
        return int(self.args[1])

    @property
    def intent(self) -> float | None:
        """When it was about to be sent, in seconds since the epoch by the store's clock; None for the bare client."""
        return None if self.args[2] is None else float(self.args[2])

    @property
    def candidates(self) -> tuple[str, ...]:
        """Ids of jobs with the same targets that no run owns: the purchase may be one of them."""
        return tuple(self.args[3])

    @property
    def run_id(self) -> str | None:
        """The run; None for the bare client."""
        run_id: str | None = self._argument(4)
        return run_id


class RunError(ScrapeDoError):
    """About one of our runs."""

    def __init__(self, message: str = "", run_id: str = "", *rest: Any) -> None:
        super().__init__(message, run_id, *rest)

    @property
    def run_id(self) -> str:
        """The run."""
        return str(self.args[1])


class ResultNotReadyError(RunError, TimeoutError):
    """The run has not ended yet, and goes on."""


class RunNotFoundError(RunError, LookupError):
    """No record of this run: never written, forgotten, or past its life."""


class ResultExpiredError(RunError, LookupError):
    """The run is known; the contents that were asked for have passed their life in the store."""


class JobLostError(RunError):
    """The API no longer knows the run's job."""


class PoisonedRunError(RunError):
    """The run's steps died again and again without progress, so it was taken out of work."""


class IdempotencyConflictError(RunError, ValueError):
    """The idempotency key belongs to a run with another request; `fields` differ. Nothing was written."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the fields in which the requests differ."""
        return tuple(self._argument(2, ()))
