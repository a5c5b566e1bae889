"""The transport for purchases: httpx's own, which reports the moment before the first byte leaves."""

from __future__ import annotations

import httpx

from scrape_do_celery.client.instrumentation import instrumented_async, unwrapped


class SubmitTransport(httpx.AsyncHTTPTransport):
    """An httpx transport that hides the token from tools that instrument httpx."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request. Return the answer, whose body is not read yet."""
        theirs = httpx.AsyncHTTPTransport.handle_async_request

        async def send(request: httpx.Request) -> httpx.Response:
            return await unwrapped(theirs)(self, request)

        return await instrumented_async(theirs, send)(request)
