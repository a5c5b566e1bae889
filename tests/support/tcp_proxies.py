"""TCP proxies: a proxy whose target can be switched or that goes silent, and a proxy that adds TLS."""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import AbstractContextManager, suppress
from typing import TYPE_CHECKING, Any

import trustme

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from pathlib import Path


class TcpProxy(AbstractContextManager["TcpProxy"]):
    """A proxy in a thread of its own, from a free port of this machine to the port `target`.

    A new target holds for new connections. Old connections stay with their server, as behind a load balancer.
    """

    def __init__(self, target: int, *, context: ssl.SSLContext | None = None) -> None:
        self.target, self.is_silent, self.accepted = target, False, 0
        self._writers = set[asyncio.StreamWriter]()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        with suppress(OSError, asyncio.CancelledError):
            if self.is_silent:
                await asyncio.sleep(3600)
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target)
            self._writers.add(far_writer)
            await asyncio.gather(self._copy(reader, far_writer), self._copy(far_reader, writer))
        writer.close()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                while self.is_silent:
                    await asyncio.sleep(0.05)
                writer.write(data)
                await writer.drain()
        writer.close()

    def switch(self, target: int) -> None:
        """Send new connections to another port."""
        self.target = target

    def silence(self) -> None:
        """Accept connections and bytes, and answer nothing, until `speak`."""
        self.is_silent = True

    def speak(self) -> None:
        """Pass bytes on again. Connections that were accepted in silence stay silent."""
        self.is_silent = False

    def cut(self) -> None:
        """Reset every open connection."""
        self._call(self._cut())

    async def _cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _close(self) -> None:
        self._server.close()
        await self._cut()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class TlsProxy(TcpProxy):
    """A proxy that speaks TLS to its clients, with a certificate of a private CA. `ca_file` is the CA's certificate."""

    def __init__(self, target: int, folder: Path, *hosts: str) -> None:
        authority, self.ca_file = trustme.CA(), folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*(hosts or ("localhost", "127.0.0.1"))).configure_cert(context)
        super().__init__(target, context=context)
