"""The rules that decide about money: when to resend a request, and whether a failed `POST` may have bought a job."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

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
from scrape_do_celery.rules.backoff import delay

if TYPE_CHECKING:
    from collections.abc import Callable

BACKOFF_INITIAL: Final = 1.0
BACKOFF_MAXIMUM: Final = 30.0
RETRY_AFTER_MAXIMUM: Final = 60.0
"""Longest wait before one resend in seconds, even if `Retry-After` asks for more. The error keeps the full value."""

BEFORE_SEND: Final = "BeforeSend"
"""Kind of a failure before the first byte left."""
TOTAL_TIMEOUT: Final = "TotalTimeout"
"""Kind of a failure by the request's total deadline, after bytes may have left."""

NOT_SENT: Final = frozenset({
    *(BEFORE_SEND, "ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol"),
})  # fmt: skip
"""Kinds of failures that prove that no byte left: httpx's classes by their names, and our own kind. httpx raises
`ProxyError` only if the proxy refused `CONNECT`, so the proxy has not seen the request."""
_HOLDING: Final = frozenset({
    HTTPStatus.MOVED_PERMANENTLY,
    HTTPStatus.TEMPORARY_REDIRECT,
    HTTPStatus.PERMANENT_REDIRECT,
})  # fmt: skip
"""Redirects that ask for the same request at another address: this host did not take the request. 302 and 303 are not
among them, because they may follow a purchase."""
_AMBIGUOUS: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})


class SubmitFailure(StrEnum):
    """The fate of a `POST /jobs` that did not succeed."""

    NOT_SENT = "not_sent"
    """No byte left: the request may be sent again."""
    RATE_LIMITED = "rate_limited"
    """429: the API did not take the request, and accepts it later."""
    REJECTED = "rejected"
    """The API did not take the request, and will never take it unchanged."""
    REDIRECTED = "redirected"
    """301, 307, 308: this host did not take the request, and the token must not travel to another host."""
    UNKNOWN = "unknown"
    """A job may have been bought: search for it, and do not send again."""


def classify_submit_error(error: BaseException) -> SubmitFailure:
    """Decide what became of the `POST` that raised `error`. Without certainty, the fate is `UNKNOWN`."""
    if isinstance(error, APIConnectionError) and failure_kind(error) in NOT_SENT:
        return SubmitFailure.NOT_SENT
    if isinstance(error, AsyncAPIRateLimitError):
        return SubmitFailure.RATE_LIMITED
    if isinstance(error, AsyncAPIRedirectError) and error.status_code in _HOLDING:
        return SubmitFailure.REDIRECTED
    if isinstance(error, AsyncAPIAuthError) or (isinstance(error, AsyncAPIResponseError) and _is_certain(error)):
        return SubmitFailure.REJECTED
    return SubmitFailure.UNKNOWN


def is_passing(error: BaseException) -> bool:
    """Return whether `error` is a fault on the way to the API, or a pause, and says nothing about a job or a task."""
    if isinstance(error, APIConnectionError | AsyncAPIRateLimitError | AsyncAPIServerError):
        return True
    if isinstance(error, AsyncAPIUnparsableResponseError):
        return not error.is_api_object and not isinstance(error, AsyncAPITooLargeError)
    return (
        isinstance(error, AsyncAPIResponseError) and not isinstance(error, AsyncAPIAuthError) and not error.is_api_error
    )


def may_resend(error: BaseException, *, idempotent: bool) -> bool:
    """Return whether the same request may be sent again within one client call."""
    if idempotent:
        return isinstance(error, APIConnectionError | AsyncAPIRateLimitError | AsyncAPIServerError)
    return classify_submit_error(error) in (SubmitFailure.NOT_SENT, SubmitFailure.RATE_LIMITED)


def resend_delay(error: BaseException | None, attempt: int, random: Callable[[], float]) -> float:
    """Return the seconds before resend `attempt`, counted from 0: the longer of `Retry-After` and our own backoff."""
    backoff = delay(attempt, initial=BACKOFF_INITIAL, maximum=BACKOFF_MAXIMUM, jitter=0.5, random=random)
    asked = (error.retry_after or 0.0) if isinstance(error, AsyncAPIResponseError) else 0.0
    # Add jitter here instead of taking it off: a request before the time that the API named is wasted.
    spread = min(asked, 1.0) * random()
    return max(backoff, min(asked + spread, RETRY_AFTER_MAXIMUM))


def failure_kind(error: APIConnectionError) -> str:
    """Return how the connection failed: httpx's class name, another class with module, or a constant above."""
    return str(error.args[3]) if len(error.args) > 3 else ""  # noqa: PLR2004


def _is_certain(error: AsyncAPIResponseError) -> bool:
    status = error.status_code
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and (
        status not in _AMBIGUOUS and error.is_api_error
    )
