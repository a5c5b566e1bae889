"""A small website on this machine, which the sandbox really fetches."""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGES = {
    "/": "Harbour Street Books",
    "/catalogue": "Catalogue: 1,204 books &amp; maps",
    "/opening-hours": "When we are open",
    "/contact": "Write to us",
}
_LINES = "".join(f"<li>Item {number}</li>\n" for number in range(200))
PATHS = (*_PAGES, "/no-such-page", "/logo.png")


def _logo() -> bytes:
    """Return one red pixel as PNG."""
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"\0\xff\0\0")))
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in (*chunks, (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + body


class _Handler(BaseHTTPRequestHandler):
    # Nagle's algorithm and delayed acknowledgement together delay each small answer by 40 ms.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/logo.png":
            self._answer(200, "image/png", _logo())
            return
        title = _PAGES.get(self.path)
        page = f"<!doctype html><title>{title or 'Nothing here'}</title><h1>{title}</h1>\n<ul>{_LINES}</ul>"
        self._answer(200 if title else 404, "text/html; charset=utf-8", page.encode())

    def _answer(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class's name)
        """Log nothing: the demo prints its own lines."""


@contextmanager
def site() -> Iterator[str]:
    """Serve the site, and yield its root URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def closed_port() -> Iterator[int]:
    """Yield a port that refuses connections while the context lasts."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        port: int = holder.getsockname()[1]
        yield port
