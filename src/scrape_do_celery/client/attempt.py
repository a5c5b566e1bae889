"""The state of a call: whether bytes have left, and which error or value its end means. No I/O."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

import httpx
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt

from scrape_do_celery.client.responses import EXCERPT, parse_response, redact_secret
from scrape_do_celery.errors import APIConnectionError, ScrapeDoError, SubmitInDoubtError
from scrape_do_celery.rules.submit import (
    BEFORE_SEND,
    NOT_SENT,
    TOTAL_TIMEOUT,
    SubmitFailure,
    classify_submit_error,
    may_resend,
    resend_delay,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scrape_do_celery.client.bodies import ReceivedBody
    from scrape_do_celery.client.endpoints import Endpoint

T = TypeVar("T")

NO_TRACE: Final = "untraced"
"""Stand-in for the events below, if a user's own transport reports none."""
FIRST_BYTE_EVENTS: Final = frozenset({
    NO_TRACE,
    "http11.send_request_headers.started",
    "http2.send_request_headers.started",
})  # fmt: skip
"""Events of httpcore between an open connection and the first byte."""


def precedes_first_byte(event: str, details: Any) -> bool:
    """Return whether the next bytes on the connection are those of the request itself.

    Through a proxy, the same event precedes `CONNECT`. The API has seen nothing then, so a failure is no doubt, and
    `before_send` would run too early.
    """
    if event not in FIRST_BYTE_EVENTS:
        return False
    request = details.get("request") if isinstance(details, dict) else None
    return getattr(request, "method", b"") != b"CONNECT"


class Attempt(Generic[T]):
    """The state of one call over all its resends."""

    def __init__(
        self, endpoint: Endpoint[T], *, secret: str, retries: int, random: Callable[[], float], proxy: str = ""
    ) -> None:
        self.endpoint, self._proxy = endpoint, proxy
        self._secret = secret
        self._retries = retries
        self._random = random
        self._bytes_sent = False
        self._stopped: BaseException | None = None

    def resend_policy(self) -> dict[str, Any]:
        """Return the rules for resends as tenacity's arguments."""
        return {
            "retry": retry_if_exception(self._should_resend),
            "wait": self._wait_before_resend,
            "stop": stop_after_attempt(self._retries + 1),
            "reraise": True,
        }

    def start_attempt(self) -> None:
        """Note that no byte of this attempt has left yet."""
        self._bytes_sent = False

    @contextmanager
    def before_first_byte(self) -> Iterator[None]:
        """Wrap the last code before the first byte leaves. An exception inside stops the call for good."""
        try:
            yield
        except BaseException as error:
            self._stopped = error
            raise
        self._bytes_sent = True

    def raise_failure(self, error: Exception) -> NoReturn:
        """Raise the typed error for an attempt that the transport, or the total deadline, ended with `error`."""
        if isinstance(self._stopped, Exception):
            # Raise it even if the transport wrapped it or failed again during cleanup: nothing more may be sent.
            raise self._stopped
        sent, secret = self._bytes_sent, self._secret
        broken = connection_error(self.endpoint, error, bytes_sent=sent, secret=secret, proxy=self._proxy)
        # A peer may echo the token, and httpx may quote it. Then drop the cause, so that no traceback shows the token.
        broken.__cause__ = None if self._secret in str(error) else error
        self._raise_typed(broken)

    def read_answer(self, status: int, headers: Mapping[str, str], received: ReceivedBody) -> T:
        """Return the answer's value, or raise a typed error: `SubmitInDoubtError` if a `POST` may have been taken."""
        body, flaw, limit = received.body, received.flaw, received.limit
        try:
            return parse_response(self.endpoint, status, headers, body, secret=self._secret, flaw=flaw, limit=limit)
        except ScrapeDoError as error:
            self._raise_typed(error)

    def _raise_typed(self, error: ScrapeDoError) -> NoReturn:
        if not self.endpoint.idempotent and classify_submit_error(error) is SubmitFailure.UNKNOWN:
            raise SubmitInDoubtError(f"the job may have been bought: {error}", self.endpoint.targets) from error
        raise error

    def _should_resend(self, error: BaseException) -> bool:
        return error is not self._stopped and may_resend(error, idempotent=self.endpoint.idempotent)

    def _wait_before_resend(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return resend_delay(error, state.attempt_number - 1, self._random)


def connection_error(
    endpoint: Endpoint[Any], error: Exception, *, bytes_sent: bool, secret: str, proxy: str = ""
) -> APIConnectionError:
    """Return the typed form of a transport's failure. `bytes_sent`: bytes may have left. `proxy` is its place."""
    kind = _failure_kind(error)
    if not bytes_sent and kind not in NOT_SENT:
        kind = BEFORE_SEND
    if isinstance(error, httpx.RequestError):
        # The request holds the token in its headers, and an error may end up in logs and other processes.
        error.request = httpx.Request(endpoint.method, endpoint.path)
    detail = redact_secret(str(error), secret)[:EXCERPT] or type(error).__name__
    through = f" through the proxy {proxy}" if proxy else ""
    return APIConnectionError(
        f"{endpoint.method} {endpoint.path}: no answer{through}: {detail}", endpoint.method, endpoint.path, kind
    )


def _failure_kind(error: Exception) -> str:
    if isinstance(error, httpx.HTTPError):
        return type(error).__name__
    # Add the module: a foreign class must not be taken for an httpx class that proves that nothing was sent.
    return TOTAL_TIMEOUT if isinstance(error, TimeoutError) else f"{type(error).__module__}.{type(error).__name__}"
