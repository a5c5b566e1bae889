"""When a request may be sent again, and what became of a `POST`: the rules on which money hangs."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx

from scrape_do_celery.backoff import delay
from scrape_do_celery.client.responses import EXCERPT, redact
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIAuthError,
    AsyncAPIRateLimitError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    AsyncAPIServerError,
    AsyncAPITooLargeError,
    AsyncAPIUnparsableResponseError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.client.endpoints import Endpoint

BACKOFF_INITIAL: Final = 1.0
BACKOFF_MAXIMUM: Final = 30.0
RETRY_AFTER_MAXIMUM: Final = 60.0
"""Seconds that one resend waits at most, whatever `Retry-After` says; the error keeps the full figure."""

BEFORE_SEND: Final = "BeforeSend"
"""Kind of a failure at a moment when not one byte had left."""
TOTAL_TIMEOUT: Final = "TotalTimeout"
"""Kind of a failure by the request's total deadline, after bytes may have left."""

_NOT_SENT: Final = frozenset({
    BEFORE_SEND,
    httpx.ConnectError.__name__,
    httpx.ConnectTimeout.__name__,
    httpx.PoolTimeout.__name__,
    httpx.UnsupportedProtocol.__name__,
})  # fmt: skip
_HOLDING: Final = frozenset({
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
})  # fmt: skip
"""Redirects that ask for the same request elsewhere: this host did not take it. 302 and 303 may follow a purchase."""
_AMBIGUOUS: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})


class SubmitFailure(StrEnum):
    """What became of a `POST /jobs` that did not succeed."""

    NOT_SENT = "not_sent"
    """No byte left: it may be sent again."""
    RATE_LIMITED = "rate_limited"
    """429: not taken, and welcome later."""
    REJECTED = "rejected"
    """Not taken, and never will be as it is."""
    REDIRECTED = "redirected"
    """301, 307, 308: not taken here, and the token must not travel to another host."""
    UNKNOWN = "unknown"
    """A job may have been bought: look, do not send."""


def classify_submit_error(error: BaseException) -> SubmitFailure:
    """What `error` tells about the `POST` that raised it; whatever is not known for certain is in doubt."""
    if isinstance(error, APIConnectionError) and failure_kind(error) in _NOT_SENT:
        return SubmitFailure.NOT_SENT
    if isinstance(error, AsyncAPIRateLimitError):
        return SubmitFailure.RATE_LIMITED
    if isinstance(error, AsyncAPIRedirectError) and error.status_code in _HOLDING:
        return SubmitFailure.REDIRECTED
    if isinstance(error, AsyncAPIAuthError) or (isinstance(error, AsyncAPIResponseError) and _certain(error)):
        return SubmitFailure.REJECTED
    return SubmitFailure.UNKNOWN


def is_passing(error: BaseException) -> bool:
    """Whether `error` is trouble on the way to the API, or a pause. It says nothing about a job or a task."""
    if isinstance(error, APIConnectionError | AsyncAPIRateLimitError | AsyncAPIServerError):
        return True
    if isinstance(error, AsyncAPIUnparsableResponseError):
        return not error.is_api_object and not isinstance(error, AsyncAPITooLargeError)
    return (
        isinstance(error, AsyncAPIResponseError) and not isinstance(error, AsyncAPIAuthError) and not error.is_api_error
    )


def may_resend(endpoint: Endpoint[Any], error: BaseException) -> bool:
    """Whether the very same request may go out once more within one client call."""
    if endpoint.idempotent:
        return isinstance(error, APIConnectionError | AsyncAPIRateLimitError | AsyncAPIServerError)
    return classify_submit_error(error) in (SubmitFailure.NOT_SENT, SubmitFailure.RATE_LIMITED)


def resend_delay(error: BaseException | None, attempt: int, random: Callable[[], float]) -> float:
    """Seconds before resend `attempt`, counted from 0: what the API asks for or our own backoff, whichever is more."""
    backoff = delay(attempt, initial=BACKOFF_INITIAL, maximum=BACKOFF_MAXIMUM, jitter=0.5, random=random)
    asked = (error.retry_after or 0.0) if isinstance(error, AsyncAPIResponseError) else 0.0
    # Jitter comes on top here: before the moment the API named, a request is a wasted one.
    spread = min(asked, 1.0) * random()
    return max(backoff, min(asked + spread, RETRY_AFTER_MAXIMUM))


def failure_kind(error: APIConnectionError) -> str:
    """How the connection failed: httpx's class name, another class with its module, `BEFORE_SEND`, `TOTAL_TIMEOUT`."""
    return str(error.args[3]) if len(error.args) > 3 else ""  # noqa: PLR2004


def connection_error(endpoint: Endpoint[Any], error: Exception, *, bytes_sent: bool, secret: str) -> APIConnectionError:
    """The typed form of a transport's failure; `left` says whether bytes may have left."""
    name = _name(error)
    if not bytes_sent and name not in _NOT_SENT:
        name = BEFORE_SEND
    if isinstance(error, httpx.RequestError):
        # The request has the token among its headers, and an error travels far.
        error.request = httpx.Request(endpoint.method, endpoint.path)
    detail = redact(str(error), secret)[:EXCERPT] or type(error).__name__
    return APIConnectionError(
        f"{endpoint.method} {endpoint.path}: no answer: {detail}", endpoint.method, endpoint.path, name
    )


def _name(error: Exception) -> str:
    if isinstance(error, httpx.HTTPError):
        return type(error).__name__
    # With its module: a foreign class must not be taken for one of httpx's that say that nothing was sent.
    return TOTAL_TIMEOUT if isinstance(error, TimeoutError) else f"{type(error).__module__}.{type(error).__name__}"


def _certain(error: AsyncAPIResponseError) -> bool:
    status = error.status_code
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and (
        status not in _AMBIGUOUS and error.is_api_error
    )
