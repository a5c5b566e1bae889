"""The transports of the two clients: one with a deadline for threads, one for the event loop."""

from __future__ import annotations

import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final

import httpcore
import httpx

from scrape_do_celery.client.instrumentation import instrumented, instrumented_async, unwrapped
from scrape_do_celery.client.routes import DIRECT

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterator

    from scrape_do_celery.client.routes import NetworkRoute

_deadline: ContextVar[float] = ContextVar("deadline")
_WRITE: Final = 65_536


class DeadlineTransport(httpx.BaseTransport):
    """A blocking transport over httpcore's pool, with one time-out for connect, headers and body together.

    The request's `read` time-out covers the answer up to its last byte, even if bytes arrive slowly. httpx's own
    time-outs apply to each read. A thread has no `asyncio.timeout`, so this transport checks the deadline at each
    socket operation. Only name resolution cannot be cut short.
    """

    def __init__(self, limits: httpx.Limits, route: NetworkRoute = DIRECT) -> None:
        options: dict[str, Any] = {
            "ssl_context": route.ssl_context(),
            "max_connections": limits.max_connections,
            "max_keepalive_connections": limits.max_keepalive_connections,
            "keepalive_expiry": limits.keepalive_expiry,
            "network_backend": _DeadlineBackend(),
        }
        proxy, self.proxy_place = route.httpx_proxy(), route.proxy_place
        if proxy is None:
            self._pool = httpcore.ConnectionPool(**options)
        else:
            self._pool = httpcore.HTTPProxy(
                httpcore.URL(scheme=proxy.url.raw_scheme, host=proxy.url.raw_host, port=proxy.url.port, target="/"),
                proxy_auth=proxy.raw_auth,
                proxy_ssl_context=proxy.ssl_context,
                **options,
            )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Return the answer, whose body is not read yet."""
        return instrumented(httpx.HTTPTransport.handle_request, self._send_request)(request)

    def _send_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        core = httpcore.Request(
            method=request.method,
            url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
            headers=request.headers.raw,
            content=request.read(),
            extensions=request.extensions,
        )
        deadline = time.monotonic() + request.extensions["timeout"]["read"]
        with _keep_deadline(deadline), _translate_errors(request):
            answer = self._pool.handle_request(core)
        return httpx.Response(answer.status, headers=answer.headers, stream=_DeadlineBody(answer, request, deadline))

    def close(self) -> None:
        """Close all connections."""
        self._pool.close()


class _DeadlineBody(httpx.SyncByteStream):
    """The bytes of an answer as they arrived, under the deadline of its request."""

    def __init__(self, answer: httpcore.Response, request: httpx.Request, deadline: float) -> None:
        self._answer, self._request, self._deadline = answer, request, deadline

    def __iter__(self) -> Iterator[bytes]:
        chunks = iter(self._answer.iter_stream())
        while True:
            # Set the deadline for each chunk: between two chunks the caller may send other requests.
            with _keep_deadline(self._deadline), _translate_errors(self._request):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def close(self) -> None:
        self._answer.close()


class _DeadlineBackend(httpcore.NetworkBackend):
    def __init__(self) -> None:
        self._inner = httpcore.SyncBackend()

    def connect_tcp(self, *args: Any, **kwargs: Any) -> httpcore.NetworkStream:
        kwargs["timeout"] = _seconds_left(httpcore.ConnectTimeout)
        stream = _DeadlineStream(self._inner.connect_tcp(*args, **kwargs))
        try:
            # Each address of the host has its own time-out. Check again: nothing may be sent after the deadline.
            _seconds_left(httpcore.ConnectTimeout)
        except httpcore.ConnectTimeout:
            stream.close()
            raise
        return stream


class _DeadlineStream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream) -> None:
        self._inner = inner

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002 (the deadline counts instead)
        return self._inner.read(max_bytes, _seconds_left(httpcore.ReadTimeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        for start in range(0, len(buffer), _WRITE):
            self._inner.write(buffer[start : start + _WRITE], _seconds_left(httpcore.WriteTimeout))

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> httpcore.NetworkStream:
        return _DeadlineStream(
            self._inner.start_tls(ssl_context, server_hostname, _seconds_left(httpcore.ConnectTimeout))
        )

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)

    def close(self) -> None:
        self._inner.close()


@contextmanager
def _keep_deadline(deadline: float) -> Iterator[None]:
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def _seconds_left(late: type[Exception]) -> float:
    left = _deadline.get() - time.monotonic()
    if left <= 0:
        raise late("the request's total deadline has passed")
    return left


@contextmanager
def _translate_errors(request: httpx.Request) -> Iterator[None]:
    """Raise errors of httpcore as the httpx errors of the same name."""
    try:
        yield
    except Exception as error:
        same = getattr(httpx, type(error).__name__, None) if type(error).__module__.startswith("httpcore") else None
        if same is None:
            raise
        raise same(str(error), request=request) from error


class SubmitTransport(httpx.AsyncHTTPTransport):
    """The transport for purchases: httpx's own, which reports the moment before the first byte leaves.

    The class hides the token from tools that instrument httpx.
    """

    def __init__(self, limits: httpx.Limits, route: NetworkRoute = DIRECT) -> None:
        super().__init__(route.ssl_context(), trust_env=False, limits=limits, proxy=route.httpx_proxy())
        self.proxy_place = route.proxy_place

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Return the answer, whose body is not read yet."""
        theirs = httpx.AsyncHTTPTransport.handle_async_request

        async def send_unwrapped(request: httpx.Request) -> httpx.Response:
            return await unwrapped(theirs)(self, request)

        return await instrumented_async(theirs, send_unwrapped)(request)
