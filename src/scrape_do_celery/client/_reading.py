"""The transport of a worker's reads: aiohttp's connections under httpx, at a fifth of the cost where many are at once.

A `POST` never goes this way: here nobody could be asked right before the first byte.
"""

from __future__ import annotations

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from scrape_do_celery.client._transport import ssl_context
from scrape_do_celery.client._wrapping import wrapped_async

#: Seconds that an idle connection is kept; a read that meets a closed one is simply sent again.
_KEEPALIVE = 30.0


class ReadingTransport(AiohttpTransport):
    """At most `connections` at a time, none of them through a proxy of the environment, and without a cookie jar."""

    def __init__(self, connections: int) -> None:
        super().__init__(client=self._session, verify=ssl_context(), trust_env=False)
        self._connections = connections

    def _session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._connections, keepalive_timeout=_KEEPALIVE, ssl=self.ssl_context, use_dns_cache=True
        )
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        # What instruments every session of aiohttp's sees the token, and has seen the request at httpx already.
        session.trace_configs.clear()
        return session

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is yet to be read.

        Raises:
            httpx.TransportError: without the error behind it, whose text may show the request's headers.
        """
        return await wrapped_async(httpx.AsyncHTTPTransport.handle_async_request, self._handle)(request)

    async def _handle(self, request: httpx.Request) -> httpx.Response:
        try:
            return await super().handle_async_request(request)
        except httpx.TransportError as error:
            failed = error
            failed.request = request
        except aiohttp.ClientError as error:
            failed = httpx.RemoteProtocolError(type(error).__name__, request=request)
        failed.__context__ = None
        raise failed from None
