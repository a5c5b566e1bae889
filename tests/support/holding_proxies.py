"""A TCP proxy before the API that holds each purchase back, as a slow network does, and passes everything else on."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from tests.support.tcp_proxies import TcpProxy


class HoldingProxy(TcpProxy):
    """A proxy that passes each `POST` on `seconds` after it came. The API makes the job of a `POST` only then."""

    def __init__(self, target: int, seconds: float) -> None:
        self.seconds, self.held_at = seconds, list[float]()
        super().__init__(target)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                if data.startswith(b"POST "):
                    self.held_at.append(time.monotonic())
                    await asyncio.sleep(self.seconds)
                writer.write(data)
                await writer.drain()
        writer.close()
