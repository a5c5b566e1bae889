"""One call on its way: whether its bytes have left, and what its end means. No I/O."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, NoReturn, TypeVar

from tenacity import RetryCallState, retry_if_exception, stop_after_attempt

from scrape_do_celery.client.fate import (
    SubmitFailure,
    classify_submit_error,
    connection_error,
    may_resend,
    resend_delay,
)
from scrape_do_celery.client.responses import parse_response
from scrape_do_celery.errors import ScrapeDoError, SubmitInDoubtError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scrape_do_celery.client.bodies import Received
    from scrape_do_celery.client.endpoints import Endpoint

T = TypeVar("T")

NO_TRACE: Final = "untraced"
"""Stands for the events below where a transport of the user's own tells of none."""
FIRST_BYTE_EVENTS: Final = frozenset({
    NO_TRACE,
    "http11.send_request_headers.started",
    "http2.send_request_headers.started",
})  # fmt: skip
"""httpcore's events between a made connection and the first byte."""


class Attempt(Generic[T]):
    """The state of one call over all its resends."""

    def __init__(self, endpoint: Endpoint[T], *, secret: str, retries: int, random: Callable[[], float]) -> None:
        self.endpoint = endpoint
        self._secret = secret
        self._retries = retries
        self._random = random
        self._bytes_sent = False
        self._stopped: BaseException | None = None

    def policy(self) -> dict[str, Any]:
        """The rules of resending, as tenacity takes them."""
        return {
            "retry": retry_if_exception(self._again),
            "wait": self._wait,
            "stop": stop_after_attempt(self._retries + 1),
            "reraise": True,
        }

    def begin(self) -> None:
        """Nothing of this attempt has left yet."""
        self._bytes_sent = False

    @contextmanager
    def before_first_byte(self) -> Iterator[None]:
        """The last moment before the bytes leave; whatever is raised inside stops the call for good."""
        try:
            yield
        except BaseException as error:
            self._stopped = error
            raise
        self._bytes_sent = True

    def fail(self, error: Exception) -> NoReturn:
        """Raises what it means that the transport, or the total deadline, ended the attempt with `error`."""
        if isinstance(self._stopped, Exception):
            # Also where the transport wrapped it, or failed again while it cleaned up: nothing may be sent any more.
            raise self._stopped
        broken = connection_error(self.endpoint, error, bytes_sent=self._bytes_sent, secret=self._secret)
        # A peer may echo the token into what httpx quotes: then the chain ends here.
        broken.__cause__ = None if self._secret in str(error) else error
        self._judge(broken)

    def answered(self, status: int, headers: Mapping[str, str], received: Received) -> T:
        """The answer's value; its errors are typed, and a `POST` of unknown fate is `SubmitInDoubtError`."""
        body, flaw, limit = received.body, received.flaw, received.limit
        try:
            return parse_response(self.endpoint, status, headers, body, secret=self._secret, flaw=flaw, limit=limit)
        except ScrapeDoError as error:
            self._judge(error)

    def _judge(self, error: ScrapeDoError) -> NoReturn:
        if not self.endpoint.idempotent and classify_submit_error(error) is SubmitFailure.UNKNOWN:
            raise SubmitInDoubtError(f"the job may have been bought: {error}", self.endpoint.targets) from error
        raise error

    def _again(self, error: BaseException) -> bool:
        return error is not self._stopped and may_resend(self.endpoint, error)

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        return resend_delay(error, state.attempt_number - 1, self._random)
