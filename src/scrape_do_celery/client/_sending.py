"""The transport of purchases: httpx's own, which tells of the moment before the first byte leaves."""

from __future__ import annotations

import httpx

from scrape_do_celery.client._wrapping import plain, wrapped_async


class SendingTransport(httpx.AsyncHTTPTransport):
    """As httpx's; what instruments that is shown no token by it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is yet to be read."""
        theirs = httpx.AsyncHTTPTransport.handle_async_request

        async def send(request: httpx.Request) -> httpx.Response:
            return await plain(theirs)(self, request)

        return await wrapped_async(theirs, send)(request)
