from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from scrape_do_sandbox.spec import ApiError

MAX_HEAD = 64 * 1024
MAX_BODY = 32 * 1024 * 1024
_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BODILESS = (204, 304)


@dataclass(slots=True)
class Request:
    """An HTTP request. Header names are in lower case; `target` is the path with its query."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path without its query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """The text after the question mark."""
        return self.target.partition("?")[2]

    @property
    def keep_alive(self) -> bool:
        """Whether the client wants to keep the connection open."""
        return self.headers.get("connection", "").lower() != "close"


@dataclass(slots=True)
class Response:
    """An HTTP answer."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def json_response(cls, status: int, data: Any) -> Response:
        """Return an answer in JSON."""
        return cls(status, _JSON.encode(data).encode("utf-8", "replace"))

    def encode(self, date: str, *, keep_alive: bool = True) -> bytes:
        """Return the bytes on the wire; `Content-Length` is that of the whole body."""
        head = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Unknown')}", f"Date: {date}"]
        if self.status not in _BODILESS:
            head += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}"]
        head += [f"{name}: {value}" for name, value in self.headers.items()]
        if not keep_alive:
            head.append("Connection: close")
        return "\r\n".join(head).encode("latin-1", "replace") + b"\r\n\r\n" + self.body


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """Read the next request of a connection; return None when the client has closed it.

    Raises:
        ApiError: 400, 411, 413 or 431; the connection cannot be used any more.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    except asyncio.LimitOverrunError:
        raise ApiError(431, "Request head is too large") from None
    request = _parse_head(head.decode("latin-1"))
    length = _body_length(request)
    if length:
        if request.headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        request.body = await reader.readexactly(length)
    return request


def _parse_head(head: str) -> Request:
    first, *lines = head[:-4].split("\r\n")
    try:
        method, target, version = first.split(" ")
    except ValueError:
        raise ApiError(400, "Malformed request line") from None
    if not version.startswith("HTTP/1."):
        raise ApiError(400, "Only HTTP/1.x is spoken here")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(method, target, headers)


def _body_length(request: Request) -> int:
    if "transfer-encoding" in request.headers:
        raise ApiError(411, "Content-Length is required")
    text = request.headers.get("content-length", "0")
    if not text.isdecimal():
        raise ApiError(400, "Content-Length is not a number")
    if int(text) > MAX_BODY:
        raise ApiError(413, "Request body is too large")
    return int(text)
