"""The body of one answer, counted and decompressed while it arrives. No I/O.

httpx and aiohttp decompress a chunk at once: 64 kB of gzip become 64 MB, and an answer has as many chunks as it likes.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_PAGE_BYTES: Final = 67_108_864
"""Bytes of one answer, before and after decompression, unless a client is told another limit."""
ERROR_BYTES: Final = 1_048_576
"""Bytes that are read of an answer outside 2xx, unless it may hold a page; the rest is dropped."""

LARGE: Final = 1_048_576
_STEP: Final = 65_536
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = 31, 15, -15
#: How JSON of an object or a list begins, behind white space and a byte order mark.
_JSON: Final = (b"{", b"[")
_BLANK: Final = b" \t\r\n\xef\xbb\xbf"
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class Received:
    """A body after decompression."""

    body: bytes
    #: why `body` is not what the server meant; empty if it is
    flaw: str = ""
    #: the limit that the body exceeds; 0 if it does not. Then `body` is only its start.
    limit: int = 0


class Intake:
    """Takes the chunks of one body. Memory stays below the limit and a few chunks, whatever the server sends."""

    def __init__(self, status: int, headers: Mapping[str, str], limit: int, error_limit: int = ERROR_BYTES) -> None:
        self._ok = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        self._limit = limit if self._ok else min(limit, error_limit)
        self._encoding = _encoding(headers.get("content-encoding", ""))
        self._inflater = _Inflater(self._encoding) if self._encoding in {"gzip", "deflate"} else None
        self._parts: list[bytes] = []
        self._raw = self._size = 0
        self._full = False
        self._flaw = ""

    @property
    def wants_more(self) -> bool:
        """Whether more chunks are wanted."""
        return not (self._full or self._flaw)

    def take(self, chunk: bytes) -> Iterator[None]:
        """Take a chunk; yield once in the life of a body, right before it grows over `LARGE` bytes.

        Raises:
            httpx.DecodingError: the body of a 2xx answer is corrupt.
        """
        self._raw += len(chunk)
        if self._raw > self._limit:
            # Bytes up to the limit stay: the start of an error page is of use.
            chunk = chunk[: len(chunk) - (self._raw - self._limit)]
            yield from self._take(chunk)
            self._full = True
        else:
            yield from self._take(chunk)

    def finish(self) -> Received:
        """Return the body, or its start if the body is too large.

        Raises:
            httpx.DecodingError: the body of a 2xx answer ends too early.
        """
        if self._full and self._ok:
            return Received(self._parts[0] if self._parts else b"", limit=self._limit)
        if self._inflater and not (self._full or self._flaw or self._inflater.is_complete):
            self._broken("ends too early")
        body = b"".join(self._parts)
        # Some servers name a charset here, or nothing that is a coding. JSON is JSON, whatever the header says.
        if self._encoding and not self._inflater and body and not body.lstrip(_BLANK).startswith(_JSON):
            return Received(body, f"its encoding {ascii(self._encoding)[:_SHOWN]} cannot be decoded")
        return Received(body, self._flaw)

    def _take(self, chunk: bytes) -> Iterator[None]:
        if not self._inflater:
            yield from self._keep(chunk)
            return
        # In slices: zlib copies what is left of its input at each step.
        for start in range(0, len(chunk), _STEP):
            try:
                for part in self._inflater.feed(chunk[start : start + _STEP]):
                    yield from self._keep(part)
                    if self._full:
                        return
            except zlib.error as error:
                self._broken(f"is corrupt: {error}")
                return

    def _keep(self, part: bytes) -> Iterator[None]:
        if self._size <= LARGE < self._size + len(part):
            yield
        room = self._limit - self._size
        self._full = self._full or len(part) > room
        part = part[:room]
        self._size += len(part)
        if part:
            self._parts.append(part)

    def _broken(self, how: str) -> None:
        flaw = f"its {self._encoding} body {how}"
        if self._ok:
            # Trouble on the way: the same answer may come whole the next time.
            raise httpx.DecodingError(flaw)
        # The status of a refusal holds without its body.
        self._flaw = flaw


class _Inflater:
    """Decompresses gzip, or deflate with or without its header, in steps of at most 64 kB of output."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding == "gzip"
        self._stream: zlib._Decompress | None = None
        self._held = b""
        self._done = self._is_plain = False

    @property
    def is_complete(self) -> bool:
        """Whether the stream has ended with its check sum, or has not begun at all."""
        return self._is_plain or (self._stream.eof if self._stream else not self._held)

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Yield what `piece` adds.

        Raises:
            zlib.error: the stream is corrupt.
        """
        piece, self._held = self._held + piece, b""
        if self._stream is None and len(piece) >= len(_GZIP_MAGIC):
            # A gateway may decompress a body and leave the header: the body is used as it stands.
            self._is_plain = self._is_plain or self._begins_plain(piece)
        if self._is_plain:
            yield piece
            return
        pending = False
        while (piece or pending) and not self._done:
            if self._stream is None or self._stream.eof:
                # Two bytes tell which stream begins here, or whether one does.
                if len(piece) < len(_GZIP_MAGIC):
                    self._held = piece
                    return
                self._stream = self._next(piece)
                if self._done:
                    return
            part = self._stream.decompress(piece, _STEP)
            # zlib may have read all its input and still hold output.
            pending = len(part) == _STEP
            piece = self._stream.unused_data or self._stream.unconsumed_tail
            yield part

    def _begins_plain(self, piece: bytes) -> bool:
        """Whether a body is not compressed. Deflate without its header has no mark, but never begins as JSON does."""
        return not piece.startswith(_GZIP_MAGIC) if self._gzip else piece.startswith(_JSON)

    def _next(self, piece: bytes) -> zlib._Decompress:
        if self._stream is None:
            return zlib.decompressobj(_GZIP if self._gzip else _ZLIB if _has_zlib_header(piece) else _RAW)
        if self._gzip and piece.startswith(_GZIP_MAGIC):
            return zlib.decompressobj(_GZIP)
        # The check sum of the stream was right: padding behind the stream must not lose the page.
        self._done = True
        return self._stream


def _has_zlib_header(piece: bytes) -> bool:
    return piece[0] & 0x0F == zlib.DEFLATED and int.from_bytes(piece[:2], "big") % 31 == 0


def _encoding(header: str) -> str:
    """The one encoding that a header names; more than one joined by ", "; empty for none."""
    words = [word.strip().lower().removeprefix("x-") for word in header.split(",")]
    return ", ".join(word for word in words if word not in {"", "identity"})
