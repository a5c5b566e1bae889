"""The transport for a worker's reads: aiohttp's connections behind httpx's interface.

If many requests run at once, this transport costs a fifth of httpx's own. A `POST` must not use this transport: no
event precedes the first byte, so `before_send` could not run at that moment. A client without a worker never loads
this module, because aiohttp takes longer to import than httpx.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp
import httpx
from yarl import URL

from scrape_do_celery.client.instrumentation import instrumented_async
from scrape_do_celery.client.routes import DIRECT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from scrape_do_celery.client.routes import NetworkRoute

#: Seconds that an idle connection is kept. A read that meets a closed connection is resent.
_KEEPALIVE: Final = 30.0
#: Limits of a header line in bytes, and of the number of header lines. aiohttp's own limits are 8,190 and 128.
_LIMITS: Final[dict[str, Any]] = {"max_line_size": 65_536, "max_field_size": 65_536, "max_headers": 256}
#: Errors of aiohttp, the most specific first, with the httpx errors of the same meaning.
_SAME: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.ClientPayloadError, httpx.ReadError),
    (aiohttp.ClientHttpProxyError, httpx.ProxyError),
)


class PooledReadTransport(httpx.AsyncBaseTransport):
    """A pool of at most `connections`, without proxies of the environment and without a cookie jar."""

    def __init__(self, connections: int, route: NetworkRoute = DIRECT) -> None:
        self._connections, self._route = connections, route
        # Read the file of authorities now: a fault of the file must end the start, and not each read.
        self._ssl_context, self._proxy_headers = route.ssl_context(), route.proxy_headers
        self._session: aiohttp.ClientSession | None = None
        self.proxy_place = route.proxy_place

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Return the answer, whose body is not read yet.

        Raises:
            httpx.TransportError: raised without its cause, whose text may show the request's headers.
        """
        return await instrumented_async(httpx.AsyncHTTPTransport.handle_async_request, self._send_request)(request)

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    async def _send_request(self, request: httpx.Request) -> httpx.Response:
        if self._session is None:
            self._session = self._open_session()
        timeout = request.extensions.get("timeout", {})
        try:
            answer = await self._session.request(
                request.method,
                # Keep the URL unchanged: yarl would parse and rewrite the path, and so request another one.
                URL(str(request.url), encoded=True),
                headers=request.headers,
                proxy_headers=self._proxy_headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout.get("pool"), sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        except aiohttp.ClientError as error:
            failed = _translate_error(error, request)
        else:
            return httpx.Response(
                answer.status, headers=answer.raw_headers, stream=_PooledBody(answer, request), request=request
            )
        raise failed

    def _open_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections, keepalive_timeout=_KEEPALIVE, ssl=self._ssl_context, use_dns_cache=True
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            proxy=self._route.proxy_address or None,
            **_LIMITS,
        )
        # A tool that instruments all aiohttp sessions would see the token, and has seen the request at httpx already.
        session.trace_configs.clear()
        return session


class _PooledBody(httpx.AsyncByteStream):
    """The bytes of an answer as they arrived, still compressed."""

    def __init__(self, answer: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._answer, self._request = answer, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            failed = _translate_error(error, self._request)
        else:
            return
        raise failed

    async def aclose(self) -> None:
        # If the answer was read to its end, the connection is back in the pool and stays open.
        self._answer.close()


def _translate_error(error: aiohttp.ClientError, request: httpx.Request) -> httpx.TransportError:
    same = next((ours for theirs, ours in _SAME if isinstance(error, theirs)), None)
    if same is None:
        # Leave the text out, because it quotes the request's headers.
        return httpx.RemoteProtocolError(type(error).__name__, request=request)
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return same(f"{error.status} {error.message}", request=request)
    return same(str(error) or type(error).__name__, request=request)
