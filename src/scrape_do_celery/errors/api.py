"""Errors of calls to the Async API: no answer, a bad answer, a lost answer, and a wait that took too long."""

from __future__ import annotations

from typing import Any, NamedTuple

from scrape_do_celery.errors.base import ScrapeDoError

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
    "ErrorInfo",
    "JobTimeoutError",
    "SubmitInDoubtError",
]


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
    """The base class of errors about an answer of the Async API."""


class ErrorInfo(NamedTuple):
    """The error body of the API."""

    #: the text of `Error`; None if the body has none
    error: str | None
    #: the number of `Code`, which repeats the HTTP status; None if the body has none
    code: int | None


class AsyncAPIResponseError(AsyncAPIError):
    """The API answered outside 2xx. If the body has `Error` or `Code`, `error_info` holds them."""

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
        """The text that `str()` returns."""
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
    def error_info(self) -> ErrorInfo | None:
        """`Error` and `Code` of the body, as `error` and `code`; None if the body has neither."""
        return None if self.args[2] is None and self.args[3] is None else ErrorInfo(self.args[2], self.args[3])

    @property
    def is_api_error(self) -> bool:
        """Whether the body is the API's own error body: a JSON object with an `Error` string or a `Code` int.

        Any other body comes from a gateway, a proxy or a firewall, and says nothing about a job or a task.
        """
        return self.error_info is not None

    @property
    def retry_after(self) -> float | None:
        """Seconds to wait, from the header `Retry-After`; None if the answer has none."""
        return None if self.args[4] is None else float(self.args[4])

    @property
    def excerpt(self) -> str:
        """The start of the unchanged body."""
        return str(self.args[5])

    @classmethod
    def for_status(cls, status_code: int) -> type[AsyncAPIResponseError]:
        """Return the error class of an HTTP status.

        Args:
            status_code: an HTTP status outside 2xx.

        Returns:
            A subclass, or `AsyncAPIResponseError` itself if the status has no class of its own.
        """
        if status_code >= 500:  # noqa: PLR2004
            return AsyncAPIServerError
        return _BY_STATUS.get(status_code, AsyncAPIResponseError)


class AsyncAPIBadRequestError(AsyncAPIResponseError):
    """400: the API refused the body or the ids of the request."""


class AsyncAPIAuthError(AsyncAPIResponseError):
    """401: the token is missing or unknown. 403: the token is not allowed to do this.

    The sync gateway also answers 401 if the account has no credits.
    """


class AsyncAPINotFoundError(AsyncAPIResponseError):
    """404: the job or task is unknown, or has expired (three days after creation)."""


class AsyncAPINotAcceptableError(AsyncAPIResponseError):
    """406: the job has already ended and cannot be canceled."""


class AsyncAPIGoneError(AsyncAPIResponseError):
    """410: the task is known, but its content can no longer be read."""


class AsyncAPIRateLimitError(AsyncAPIResponseError):
    """429: too many requests."""


class AsyncAPIServerError(AsyncAPIResponseError):
    """5xx: the API, or a gateway before it, failed."""


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
    """A 2xx or 3xx answer cannot be read.

    `body` holds the whole answer, but only in the process that received the answer. The body is not in `args`, so that
    no page enters a message or a result backend.
    """

    # A slot, because pickle copies `__dict__` into another process.
    __slots__ = ("_body",)
    _body: bytes

    def __init__(
        self, message: str = "", status_code: int = 0, excerpt: str = "", is_api_object: bool = False, *rest: Any
    ) -> None:
        super().__init__(message, status_code, excerpt, is_api_object, *rest)

    @property
    def body(self) -> bytes:
        """The whole body, at most as long as the client's page limit. Empty in another process."""
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

        Such an answer comes from the API itself. Any other answer comes from a gateway or a proxy.
        """
        return bool(self.args[3])


class AsyncAPIRedirectError(AsyncAPIUnparsableResponseError):
    """The API answered 3xx. The client follows no redirect, because another host would get the token."""

    @property
    def host(self) -> str:
        """The host in `Location`; empty if the answer names none."""
        return str(self._get_argument(4, ""))


class AsyncAPITooLargeError(AsyncAPIUnparsableResponseError):
    """The body is larger than the client's page limit. The client did not read the rest."""

    @property
    def limit(self) -> int:
        """The page limit in bytes."""
        return int(self._get_argument(4, 0))


class JobTimeoutError(AsyncAPIError):
    """The polling budget of a blocking wait ran out. The job may still run and cost credits."""

    def __init__(self, job_id: str = "", last_status: str = "", elapsed: float = 0.0, attempts: int = 0) -> None:
        super().__init__(job_id, last_status, elapsed, attempts)

    def _describe(self) -> str:
        return f"job {self.job_id} is still {self.last_status} after {self.elapsed:.1f} s and {self.attempts} polls"

    @property
    def job_id(self) -> str:
        """The id of the job."""
        return str(self.args[0])

    @property
    def last_status(self) -> str:
        """The status of the job at the last poll."""
        return str(self.args[1])

    @property
    def elapsed(self) -> float:
        """Seconds from the start of the wait."""
        return float(self.args[2])

    @property
    def attempts(self) -> int:
        """The number of polls."""
        return int(self.args[3])


class SubmitInDoubtError(ScrapeDoError):
    """The answer to a `POST /jobs` was lost, and its job is not known. Nothing more is sent for this call or run.

    A client raises this error at once. A run raises it only if the search for its job ended without certainty.
    """

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
        """The number of targets of the job."""
        return int(self.args[1])

    @property
    def intent(self) -> float | None:
        """Time of the intent, in seconds since 1970 by the store's clock; None for the bare client."""
        return None if self.args[2] is None else float(self.args[2])

    @property
    def candidates(self) -> tuple[str, ...]:
        """Ids of the candidates: jobs with the same targets that no run owns. The purchase may be one of them."""
        return tuple(self.args[3])

    @property
    def run_id(self) -> str | None:
        """The id of the run; None for the bare client."""
        run_id: str | None = self._get_argument(4)
        return run_id
