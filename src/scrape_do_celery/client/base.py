"""The code that both clients share: the token, the settings, and everything that is neither sync nor async."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final, TypeVar

import httpx
from pydantic import SecretStr

from scrape_do_celery.client.attempt import Attempt
from scrape_do_celery.client.bodies import ERROR_BYTES, BodyIntake
from scrape_do_celery.config.variables import warn_exposed
from scrape_do_celery.log_fields import get_logger
from scrape_do_celery.models import JobCreationRequest, collect_defaults
from scrape_do_celery.rules.polling import PollingStrategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from scrape_do_celery.client import endpoints
    from scrape_do_celery.models import ForeignModel
    from scrape_do_celery.rules.polling import Poller

T = TypeVar("T")

TOKEN_VARIABLE: Final = "SCRAPE_DO_API_KEY"  # noqa: S105 (the name of a variable)
BASE_URL: Final = "https://q.scrape.do"
URL_VARIABLE: Final = "SCRAPE_DO_API_URL"
MAX_CONCURRENCY: Final = 10
MAX_TIMEOUT: Final = 3600.0
KEEPALIVE: Final = 2.0
"""Seconds that an idle connection is kept. After a longer time the peer may just be closing the connection, and a
`POST` on it may end in doubt."""

_log = get_logger("scrape_do_celery.client")


class BaseClient:
    """The settings of a client and the bookkeeping around each attempt."""

    #: host and port of the proxy in force; empty without a proxy, and for a transport of the user that tells none
    _proxy_place: str = ""

    def __init__(  # noqa: PLR0913 (the settings of a client)
        self,
        api_key: str | SecretStr | None,
        *,
        base_url: str | None,
        timeout: float,
        max_retries: int,
        strategy: Poller | None,
        concurrency: int,
        random: Callable[[], float],
        clock: Callable[[], float],
        on_response: Callable[[int, Mapping[str, str]], None] | None,
        max_page_bytes: int,
        on_default: Callable[[str, str], None] | None,
    ) -> None:
        self._token = _read_token(api_key)
        self._base_url = _base_url(base_url).rstrip("/")
        self._headers = {
            "X-Token": self._token.get_secret_value(),
            "User-Agent": f"scrape-do-celery/{version('scrape-do-celery')}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
        }
        self._timeout = check_timeout(timeout)
        self._retries = _check_bounds("max_retries", max_retries, 0, 100)
        self._strategy = strategy or PollingStrategy()
        self._concurrency = _check_bounds("concurrency", concurrency, 1, MAX_CONCURRENCY)
        self._random = random
        self._clock = clock
        self._on_response = on_response
        self._max_page_bytes = _check_bounds("max_page_bytes", max_page_bytes, 1, sys.maxsize)
        self._on_default = on_default

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self._base_url!r})"

    def _connection_limits(self) -> httpx.Limits:
        return httpx.Limits(
            max_connections=self._concurrency,
            max_keepalive_connections=self._concurrency,
            keepalive_expiry=KEEPALIVE,
        )

    def _new_attempt(self, endpoint: endpoints.Endpoint[T]) -> Attempt[T]:
        secret, proxy = self._token.get_secret_value(), self._proxy_place
        return Attempt(endpoint, secret=secret, retries=self._retries, random=self._random, proxy=proxy)

    def _build_request(self, endpoint: endpoints.Endpoint[Any], limit: float, trace: Any) -> httpx.Request:
        return httpx.Request(
            endpoint.method,
            self._base_url + endpoint.path,
            params=endpoint.params,
            headers={**self._headers, "Content-Type": "application/json"} if endpoint.body else self._headers,
            content=endpoint.body,
            extensions={"trace": trace, "timeout": dict.fromkeys(("connect", "read", "write", "pool"), limit)},
        )

    def _open_intake(
        self, endpoint: endpoints.Endpoint[Any], response: httpx.Response
    ) -> tuple[BodyIntake, httpx.SyncByteStream | httpx.AsyncByteStream]:
        """Return an intake for the body of an answer, and the body's bytes as they arrive."""
        most, status = self._max_page_bytes, response.status_code
        errors = most if endpoint.owns else ERROR_BYTES
        if response.is_closed:
            # A user's own transport has already read and decoded the body.
            return BodyIntake(status, {}, most, errors), httpx.ByteStream(response.content)
        return BodyIntake(status, response.headers, most, errors), response.stream

    @contextmanager
    def _report_defaults(self) -> Iterator[None]:
        """Report each field to `on_default` that took its default although the answer had a value for it."""
        if self._on_default is None:
            yield
            return
        with collect_defaults() as found:
            try:
                yield
            finally:
                self._tell_defaults(self._on_default, found)

    def _tell_defaults(self, tell: Callable[[str, str], None], found: list[tuple[str, str]]) -> None:
        try:
            for model, field in found:
                tell(model, field)
        except Exception:  # noqa: BLE001 (an observer may raise any exception)
            _log.exception("on_default failed")

    def _report_answer(self, endpoint: endpoints.Endpoint[Any], response: httpx.Response, began: float) -> None:
        took = self._clock() - began
        _log.debug("%s %s %d %.3f s", endpoint.method, endpoint.path, response.status_code, took)
        if self._on_response is None:
            return
        try:
            self._on_response(response.status_code, response.headers)
        except Exception:  # noqa: BLE001 (an observer may raise any exception)
            # The answer may carry the id of a paid job: an observer's error must not lose it.
            _log.exception("on_response failed")

    def _log_silence(self, endpoint: endpoints.Endpoint[Any], error: Exception, began: float) -> None:
        _log.debug("%s %s %s %.3f s", endpoint.method, endpoint.path, type(error).__name__, self._clock() - began)


def check_timeout(timeout: float) -> float:
    """Return `timeout` unchanged if it can be a deadline in seconds.

    Raises:
        ValueError: `timeout` is not above 0, or exceeds 3,600 and seems to be in milliseconds.
    """
    if not 0 < timeout <= MAX_TIMEOUT:
        raise ValueError(
            f"timeout is the deadline of one HTTP request, above 0 and up to {MAX_TIMEOUT:.0f} seconds; a job's own "
            "timeout, in milliseconds, belongs in its JobCreationRequest"
        )
    return timeout


def as_request(request: JobCreationRequest | ForeignModel | None, fields: Mapping[str, Any]) -> JobCreationRequest:
    """Return the given request, or make a request of its fields.

    Raises:
        TypeError: both were given, or neither.
    """
    if (request is None) is (not fields):
        raise TypeError("pass either a JobCreationRequest or its fields, not both")
    if request is None:
        return JobCreationRequest(**fields)
    # A copy of a model may have fields that were never checked. The request of another library, such as
    # scrape-do-python, is read by its fields.
    return JobCreationRequest.model_validate(request)


def _read_token(api_key: str | SecretStr | None) -> SecretStr:
    given = os.environ.get(TOKEN_VARIABLE) if api_key is None else api_key
    token = (given.get_secret_value() if isinstance(given, SecretStr) else given or "").strip()
    if not token or not token.isascii() or not token.isprintable():
        raise ValueError(f"no usable API token: pass api_key or set {TOKEN_VARIABLE}")
    return SecretStr(token)


def _base_url(given: str | None) -> str:
    # A client that ignored the variable would buy real pages where a sandbox is meant.
    text = (os.environ.get(URL_VARIABLE) or BASE_URL) if given is None else given
    url = httpx.URL(text)
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        name = URL_VARIABLE if given is None else "base_url"
        raise ValueError(f"{name} must be http or https, with a host, without user, query or fragment")
    warn_exposed(text)
    return text


def _check_bounds(name: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise ValueError(f"{name} must be from {low} to {high}")
    return value
