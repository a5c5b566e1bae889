"""The transport of a worker's reads: aiohttp's connections under httpx, at a fifth of the cost where many are at once.

A `POST` never goes this way: here nobody could be asked right before the first byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import aiohttp
import httpx
from yarl import URL

from scrape_do_celery.client._transport import ssl_context
from scrape_do_celery.client.instrumentation import instrumented_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Seconds that an idle connection is kept; a read that meets a closed one is simply sent again.
_KEEPALIVE: Final = 30.0
#: What a header line may have, in bytes, and how many lines there may be. aiohttp's own limits are 8,190 and 128.
_LIMITS: Final[dict[str, Any]] = {"max_line_size": 65_536, "max_field_size": 65_536, "max_headers": 256}
#: aiohttp's errors, the narrow ones first, and httpx's that say the same.
_SAME: Final[tuple[tuple[type[Exception], type[httpx.TransportError]], ...]] = (
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    (aiohttp.ClientConnectionError, httpx.ReadError),
    (aiohttp.ClientPayloadError, httpx.ReadError),
)


class PooledReadTransport(httpx.AsyncBaseTransport):
    """At most `connections` at a time, none of them through a proxy of the environment, and without a cookie jar."""

    def __init__(self, connections: int) -> None:
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is yet to be read.

        Raises:
            httpx.TransportError: without the error behind it, whose text may show the request's headers.
        """
        return await instrumented_async(httpx.AsyncHTTPTransport.handle_async_request, self._handle)(request)

    async def aclose(self) -> None:
        """All connections are closed."""
        if self._session is not None:
            await self._session.close()

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        if self._session is None:
            self._session = self._open()
        timeout = request.extensions.get("timeout", {})
        try:
            answer = await self._session.request(
                request.method,
                # As it is: what yarl would read, and write anew, is not the path that was asked for.
                URL(str(request.url), encoded=True),
                headers=request.headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(
                    connect=timeout.get("pool"), sock_connect=timeout.get("connect"), sock_read=timeout.get("read")
                ),
            )
        except aiohttp.ClientError as error:
            failed = _as_httpx(error, request)
        else:
            return httpx.Response(
                answer.status, headers=answer.raw_headers, stream=_Body(answer, request), request=request
            )
        raise failed

    def _open(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections, keepalive_timeout=_KEEPALIVE, ssl=ssl_context(), use_dns_cache=True
        )
        session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False, **_LIMITS
        )
        # What instruments every session of aiohttp's sees the token, and has seen the request at httpx already.
        session.trace_configs.clear()
        return session


class _Body(httpx.AsyncByteStream):
    """The bytes of an answer as they came."""

    def __init__(self, answer: aiohttp.ClientResponse, request: httpx.Request) -> None:
        self._answer, self._request = answer, request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._answer.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            failed = _as_httpx(error, self._request)
        else:
            return
        raise failed

    async def aclose(self) -> None:
        # An answer that was read to its end has given its connection back: that one stays open.
        self._answer.close()


def _as_httpx(error: aiohttp.ClientError, request: httpx.Request) -> httpx.TransportError:
    same = next((ours for theirs, ours in _SAME if isinstance(error, theirs)), None)
    if same is None:
        # Without its text, which quotes the request's headers.
        return httpx.RemoteProtocolError(type(error).__name__, request=request)
    return same(str(error) or type(error).__name__, request=request)
