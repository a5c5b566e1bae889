"""An answer of the lab's API before it is sent: the JSON value, the HTTP frame, and the way to send the bytes."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from dataclasses import dataclass, field
from typing import Any

#: Statuses whose answer carries the API's result.
SUCCESS_STATUSES = (200, 201, 202, 203)
#: Suffix of a name that comes twice in an object.
DUPLICATE_SUFFIX = "##again"
_LITERAL = re.compile(r'"@@(.*?)@@"')


@dataclass(frozen=True)
class Literal:
    """JSON text that `json.dumps` cannot write, such as `1e400`."""

    text: str


@dataclass(frozen=True)
class ApiRequest:
    """The client's request."""

    kind: str
    method: str
    path: str
    query: dict[str, str]
    token: str
    job_id: str = ""
    task_id: str = ""


@dataclass
class MutableResponse:
    """An answer before its bytes are written. A mutation changes the fields in place."""

    request: ApiRequest
    status: int
    data: Any
    headers: list[tuple[str, str]] = field(default_factory=lambda: [("Content-Type", "application/json")])
    #: replaces the JSON text
    body: bytes | None = None
    #: the real coding of the body, and the label in the header
    coding: str = ""
    label: str = ""
    #: number of bytes to send before closing; negative counts from the end; a float is a share of the whole
    cut: float | None = None
    hang: bool = False
    chunked: bool = False
    close: bool = False
    version: str = "HTTP/1.1"
    reason: str = "X"
    #: bytes in front of the answer, such as an interim answer
    before: bytes = b""
    #: the client cannot have read the content, regardless of `data`
    unreadable: bool = False
    #: how often a delivery is sent
    copies: int = 1

    def write(self) -> bytes:
        """Return the bytes of the whole answer."""
        body = self.make_body()
        lines = [f"{self.version} {self.status} {self.reason}".rstrip()]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.label:
            lines.append(f"Content-Encoding: {self.label}")
        if self.chunked:
            lines.append("Transfer-Encoding: chunked")
            half = len(body) // 2
            pieces = [piece for piece in (body[:half], body[half:]) if piece]
            body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
        elif self.status in {204, 304}:
            body = b""
        elif not self.close:
            lines.append(f"Content-Length: {len(body)}")
        if self.close:
            lines.append("Connection: close")
        return self.before + ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", "replace") + body

    def make_body(self) -> bytes:
        """Return the body in its coding."""
        body = dumps(self.data) if self.body is None else self.body
        if self.coding == "gzip":
            return gzip.compress(body, 1)
        if self.coding == "gzip twice":
            return gzip.compress(gzip.compress(body, 1), 1)
        if self.coding == "gzip cut":
            return gzip.compress(body, 1)[:-12]
        if self.coding == "deflate":
            return zlib.compress(body)
        return body

    def cut_at(self, whole: bytes) -> int:
        """Return how many bytes of the whole are sent."""
        if self.cut is None:
            return len(whole)
        if isinstance(self.cut, float):
            return int(len(whole) * self.cut)
        return self.cut if self.cut >= 0 else len(whole) + self.cut


def dumps(data: Any) -> bytes:
    """Return the JSON text of a value that may hold literals, doubled keys and lone surrogates."""
    text = json.dumps(data, default=_literal)
    text = _LITERAL.sub(lambda found: json.loads(f'"{found[1]}"'), text)
    return text.replace(DUPLICATE_SUFFIX, "").encode()


def _literal(value: Any) -> str:
    if isinstance(value, Literal):
        return f"@@{value.text}@@"
    raise TypeError(type(value).__name__)
