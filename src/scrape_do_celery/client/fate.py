"""When a request may be sent again, and what became of a `POST`: the rules on which money hangs."""

from __future__ import annotations

from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import httpx

from scrape_do_celery.backoff import delay
from scrape_do_celery.client.answers import redact
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIRateLimitError,
    AsyncAPIResponseError,
    AsyncAPIServerError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.client.calls import Call

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
_AMBIGUOUS: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_EARLY})


class PostFate(StrEnum):
    """What became of a `POST /jobs` that did not succeed."""

    NOT_SENT = "not_sent"
    """No byte left: it may be sent again."""
    REFUSED_LATER = "refused_later"
    """429: not taken, and welcome later."""
    REFUSED = "refused"
    """Not taken, and never will be as it is."""
    DOUBT = "doubt"
    """A job may have been bought: look, do not send."""


def post_fate(error: BaseException) -> PostFate:
    """What `error` tells about the `POST` that raised it; whatever is not known for certain is in doubt."""
    if isinstance(error, APIConnectionError) and kind(error) in _NOT_SENT:
        return PostFate.NOT_SENT
    if isinstance(error, AsyncAPIRateLimitError):
        return PostFate.REFUSED_LATER
    if isinstance(error, AsyncAPIResponseError) and _certain(error.status_code):
        return PostFate.REFUSED
    return PostFate.DOUBT


def should_resend(call: Call[Any], error: BaseException) -> bool:
    """Whether the very same request may go out once more within one client call."""
    if call.resend:
        return isinstance(error, APIConnectionError | AsyncAPIRateLimitError | AsyncAPIServerError)
    return post_fate(error) in (PostFate.NOT_SENT, PostFate.REFUSED_LATER)


def wait(error: BaseException | None, attempt: int, random: Callable[[], float]) -> float:
    """Seconds before resend `attempt`, counted from 0: what the API asks for or our own backoff, whichever is more."""
    backoff = delay(attempt, initial=BACKOFF_INITIAL, maximum=BACKOFF_MAXIMUM, jitter=0.5, random=random)
    asked = (error.retry_after or 0.0) if isinstance(error, AsyncAPIResponseError) else 0.0
    # Jitter comes on top here: before the moment the API named, a request is a wasted one.
    spread = min(asked, 1.0) * random()
    return max(backoff, min(asked + spread, RETRY_AFTER_MAXIMUM))


def kind(error: APIConnectionError) -> str:
    """How the connection failed: httpx's class name, `BEFORE_SEND` or `TOTAL_TIMEOUT`."""
    return str(error.args[3]) if len(error.args) > 3 else ""  # noqa: PLR2004


def connection_error(call: Call[Any], error: Exception, *, left: bool, secret: str) -> APIConnectionError:
    """The typed form of a transport's failure; `left` says whether bytes may have left."""
    name = type(error).__name__ if isinstance(error, httpx.HTTPError) else TOTAL_TIMEOUT
    if not left and name not in _NOT_SENT:
        name = BEFORE_SEND
    if isinstance(error, httpx.RequestError):
        # The request has the token among its headers, and an error travels far.
        error.request = httpx.Request(call.method, call.path)
    detail = redact(str(error), secret) or type(error).__name__
    return APIConnectionError(f"{call.method} {call.path}: no answer: {detail}", call.method, call.path, name)


def _certain(status: int) -> bool:
    return HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _AMBIGUOUS
