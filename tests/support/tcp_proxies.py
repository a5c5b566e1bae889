"""TCP proxies: a proxy whose target can be switched or that goes silent, and a proxy that adds TLS."""

from __future__ import annotations

import asyncio
import base64
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
        # asyncio leaks a new connection if its server closes, or its task is cancelled, before `_serve` has begun.
        for listener in self._server.sockets:
            self._loop.remove_reader(listener.fileno())
        for _ in range(5):
            await asyncio.sleep(0)
        await self._cut()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._server.close()


class TlsProxy(TcpProxy):
    """A proxy that speaks TLS to its clients, with a certificate of a private CA. `ca_file` is the CA's certificate."""

    def __init__(self, target: int, folder: Path, *hosts: str) -> None:
        authority, self.ca_file = trustme.CA(), folder / "ca.pem"
        authority.cert_pem.write_to_path(str(self.ca_file))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(*(hosts or ("localhost", "127.0.0.1"))).configure_cert(context)
        super().__init__(target, context=context)


class ServerlessProxy(TcpProxy):
    """A proxy as serverless offers have it before their servers: it refuses scripts that use keys of records.

    Each script is refused with the text `refusal`, because all scripts of a store use such keys. Other commands pass.
    """

    def __init__(self, target: int, refusal: str) -> None:
        self.refusal = refusal
        super().__init__(target)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if writer.get_extra_info("peername")[1] != self.target:
            await super()._copy(reader, writer)
            return
        with suppress(OSError, asyncio.IncompleteReadError):
            while request := await _read_request(reader):
                if b"EVAL" in request[:20].upper():
                    # The server answers in the client's order, so that it sends this error in its place.
                    script = f"return redis.error_reply([[ERR {self.refusal}]])".encode()
                    request = b"*3\r\n$4\r\nEVAL\r\n$%d\r\n%s\r\n$1\r\n0\r\n" % (len(script), script)
                writer.write(request)
                await writer.drain()
        writer.close()


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    request = head = await reader.readline()
    for _ in range(int(head[1:] or 0)):
        size = await reader.readline()
        request += size + await reader.readexactly(int(size[1:]) + 2)
    return request


class ConnectProxy(TcpProxy):
    """An egress proxy: it opens a tunnel for `CONNECT`, and passes a request with an absolute URL on.

    Each host name leads to this machine, so that the tests need no name service.

    Attributes:
        users: the credentials that the proxy asks for, such as `user:password`; empty for none.
        answers: bytes with which the proxy answers each request instead of serving it. Empty bytes cut the connection.
        requests: the heads of all requests to the proxy.
        passed: the number of bytes that clients sent through tunnels.
    """

    def __init__(self, *, users: str = "", context: ssl.SSLContext | None = None) -> None:
        self.users, self.requests, self.passed = users, list[bytes](), 0
        self.answers: bytes | None = None
        super().__init__(0, context=context)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        with suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.requests.append(head)
            if self.is_silent:
                await asyncio.sleep(3600)
            if self.answers is None:
                await self._open_tunnel(head, reader, writer)
            else:
                writer.write(self.answers)
                await writer.drain()
        writer.close()

    async def _open_tunnel(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        expected = b"Proxy-Authorization: Basic " + base64.b64encode(self.users.encode())
        if self.users and expected.lower() not in head.lower():
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        method, target, _ = head.split(b" ", 2)
        is_tunnel = method == b"CONNECT"
        port = int((target if is_tunnel else target.split(b"/")[2]).rpartition(b":")[2])
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        self._writers.add(far_writer)
        if is_tunnel:
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            # The server gets the path alone, as from a client.
            far_writer.write(head.replace(b"http://" + target.split(b"/")[2], b"", 1))
        await asyncio.gather(self._copy_up(reader, far_writer), self._copy(far_reader, writer))

    async def _copy_up(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                self.passed += len(data)
                writer.write(data)
                await writer.drain()
        writer.close()
