"""The transport of purchases: httpx's own, which tells of the moment before the first byte leaves."""

from __future__ import annotations

import httpx

from scrape_do_celery.client.instrumentation import instrumented_async, unwrapped


class SubmitTransport(httpx.AsyncHTTPTransport):
    """As httpx's; what instruments that is shown no token by it."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, whose body is yet to be read."""
        theirs = httpx.AsyncHTTPTransport.handle_async_request

        async def send(request: httpx.Request) -> httpx.Response:
            return await unwrapped(theirs)(self, request)

        return await instrumented_async(theirs, send)(request)
