"""The calls of webhooks over HTTP: connections that are used again, and the ways in which a body is sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.hdrs import CONTENT_LENGTH
from multidict import CIMultiDict
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Bytes of an answer that are read. The connection is not used again if the answer is longer.
_READ = 65_536
_PIECES = 3
#: Headers that aiohttp must not add: the caller's own headers replace them.
_OWN = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")


@dataclass(slots=True)
class WebhookCall:
    """A call of a webhook, and how its body is sent."""

    url: str
    body: bytes
    headers: CIMultiDict[str] = field(default_factory=CIMultiDict)
    #: Send the body without its length, in chunks.
    chunked: bool = False
    #: Send the body byte by byte, with a pause of this number of seconds before each byte.
    pause: float | None = None
    #: Announce the whole body, send this number of bytes, and close the connection.
    sent: int | None = None

    def make_data(self) -> bytes | AsyncIterator[bytes]:
        """Return the body in the form in which it is sent."""
        if self.chunked:
            return _list_pieces(self.body)
        if self.pause is None and self.sent is None:
            return self.body
        self.headers.setdefault(CONTENT_LENGTH, str(len(self.body)))
        return self._list_bytes()

    async def _list_bytes(self) -> AsyncIterator[bytes]:
        size = len(self.body) if self.sent is None else self.sent
        step = size if self.pause is None else 1
        for start in range(0, size, step or 1):
            await asyncio.sleep(self.pause or 0)
            yield self.body[start : min(start + step, size)]
        if self.sent is not None:
            raise ConnectionAbortedError("the sandbox was asked to end the connection")


async def _list_pieces(body: bytes) -> AsyncIterator[bytes]:
    size = len(body) // _PIECES + 1
    for start in range(0, len(body), size):
        yield body[start : start + size]


class WebhookCaller:
    """The HTTP client for webhooks. It follows no redirect, so it only connects to the address of the webhook."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def post(self, call: WebhookCall, timeout: float) -> int:  # noqa: ASYNC109
        """Send a call; return the receiver's status, or 0 if no answer came."""
        try:
            async with asyncio.timeout(timeout):
                return await self._send_call(call)
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError):
            return 0

    async def _send_call(self, call: WebhookCall) -> int:
        # The receiver must see the URL as the caller wrote it.
        url, data = URL(call.url, encoded=True), call.make_data()
        async with self._open_session().post(url, data=data, headers=call.headers, allow_redirects=False) as answer:
            await answer.content.read(_READ)
            return answer.status

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # The receiver is on this machine, where certificates are self-signed.
            connector = aiohttp.TCPConnector(limit=0, ssl=False)
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                skip_auto_headers=_OWN,
                timeout=aiohttp.ClientTimeout(total=None),
            )
        return self._session

    async def close(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()
