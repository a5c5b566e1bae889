"""The body of one answer, counted and decompressed while it arrives. No I/O.

httpx and aiohttp decompress a whole chunk at once: 64 kB of gzip may become 64 MB. The server decides how many chunks
an answer has.
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
"""Default limit for one answer, in bytes, before and after decompression."""
ERROR_BYTES: Final = 1_048_576
"""Bytes that are read of an answer outside 2xx, unless the answer may hold a page. The rest is dropped."""

LARGE: Final = 1_048_576
_STEP: Final = 65_536
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = 31, 15, -15
#: First characters of a JSON object or list, after white space and a byte order mark.
_JSON: Final = (b"{", b"[")
_BLANK: Final = b" \t\r\n\xef\xbb\xbf"
_SHOWN: Final = 60


@dataclass(frozen=True, slots=True)
class ReceivedBody:
    """A body after decompression."""

    body: bytes
    #: the reason why `body` is not the body that the server meant; empty if it is
    flaw: str = ""
    #: the limit in bytes that the body exceeds, so that `body` is only its start; 0 if the body is complete
    limit: int = 0


class BodyIntake:
    """A reader for the chunks of one body. Its memory stays below the limit plus a few chunks, for any input."""

    def __init__(self, status: int, headers: Mapping[str, str], limit: int, error_limit: int = ERROR_BYTES) -> None:
        self._ok = HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES
        self._limit = limit if self._ok else min(limit, error_limit)
        self._encoding = _read_encoding(headers.get("content-encoding", ""))
        self._inflater = _BodyInflater(self._encoding) if self._encoding in {"gzip", "deflate"} else None
        self._parts: list[bytes] = []
        self._raw = self._size = 0
        self._full = False
        self._flaw = ""

    @property
    def wants_more(self) -> bool:
        """Whether more chunks are wanted."""
        return not (self._full or self._flaw)

    def take_chunk(self, chunk: bytes) -> Iterator[None]:
        """Take a chunk; yield once in the life of a body, right before it grows over `LARGE` bytes.

        Raises:
            httpx.DecodingError: the body of a 2xx answer is corrupt.
        """
        self._raw += len(chunk)
        if self._raw > self._limit:
            # Keep the bytes up to the limit: the start of an error page is useful.
            chunk = chunk[: len(chunk) - (self._raw - self._limit)]
            yield from self._decode_chunk(chunk)
            self._full = True
        else:
            yield from self._decode_chunk(chunk)

    def finish_body(self) -> ReceivedBody:
        """Return the body, or its start if the body is too large.

        Raises:
            httpx.DecodingError: the body of a 2xx answer ends too early.
        """
        if self._full and self._ok:
            return ReceivedBody(self._parts[0] if self._parts else b"", limit=self._limit)
        if self._inflater and not (self._full or self._flaw or self._inflater.is_complete):
            self._note_flaw("ends too early")
        body = b"".join(self._parts)
        # Some servers write a charset here, or another word that is no coding. A body that begins as JSON is used
        # in spite of the header.
        if self._encoding and not self._inflater and body and not body.lstrip(_BLANK).startswith(_JSON):
            return ReceivedBody(body, f"its encoding {ascii(self._encoding)[:_SHOWN]} cannot be decoded")
        return ReceivedBody(body, self._flaw)

    def _decode_chunk(self, chunk: bytes) -> Iterator[None]:
        if not self._inflater:
            yield from self._keep_part(chunk)
            return
        # Feed slices: zlib copies the rest of its input at each step.
        for start in range(0, len(chunk), _STEP):
            try:
                for part in self._inflater.inflate_piece(chunk[start : start + _STEP]):
                    yield from self._keep_part(part)
                    if self._full:
                        return
            except zlib.error as error:
                self._note_flaw(f"is corrupt: {error}")
                return

    def _keep_part(self, part: bytes) -> Iterator[None]:
        if self._size <= LARGE < self._size + len(part):
            yield
        room = self._limit - self._size
        self._full = self._full or len(part) > room
        part = part[:room]
        self._size += len(part)
        if part:
            self._parts.append(part)

    def _note_flaw(self, how: str) -> None:
        flaw = f"its {self._encoding} body {how}"
        if self._ok:
            # A fault on the way: a resend may bring the whole answer.
            raise httpx.DecodingError(flaw)
        # The status of a refusal is valid without its body.
        self._flaw = flaw


class _BodyInflater:
    """A decompressor for gzip, or deflate with or without its header, in steps of at most 64 kB of output."""

    def __init__(self, encoding: str) -> None:
        self._gzip = encoding == "gzip"
        self._stream: zlib._Decompress | None = None
        self._held = b""
        self._done = self._is_plain = False

    @property
    def is_complete(self) -> bool:
        """Whether the stream has ended with its check sum, or has not begun at all."""
        return self._is_plain or (self._stream.eof if self._stream else not self._held)

    def inflate_piece(self, piece: bytes) -> Iterator[bytes]:
        """Yield the output that `piece` adds.

        Raises:
            zlib.error: the stream is corrupt.
        """
        piece, self._held = self._held + piece, b""
        if self._stream is None and len(piece) >= len(_GZIP_MAGIC):
            # A gateway may decompress a body and leave the header unchanged. Then use the body as it is.
            self._is_plain = self._is_plain or self._begins_plain(piece)
        if self._is_plain:
            yield piece
            return
        pending = False
        while (piece or pending) and not self._done:
            if self._stream is None or self._stream.eof:
                # Two bytes show whether a stream begins here, and of which kind.
                if len(piece) < len(_GZIP_MAGIC):
                    self._held = piece
                    return
                self._stream = self._next_stream(piece)
                if self._done:
                    return
            part = self._stream.decompress(piece, _STEP)
            # zlib may have read all its input and still hold output.
            pending = len(part) == _STEP
            piece = self._stream.unused_data or self._stream.unconsumed_tail
            yield part

    def _begins_plain(self, piece: bytes) -> bool:
        """Return whether a body is not compressed. Deflate without a header has no mark, but never begins like JSON."""
        return not piece.startswith(_GZIP_MAGIC) if self._gzip else piece.startswith(_JSON)

    def _next_stream(self, piece: bytes) -> zlib._Decompress:
        if self._stream is None:
            return zlib.decompressobj(_GZIP if self._gzip else _ZLIB if _has_zlib_header(piece) else _RAW)
        if self._gzip and piece.startswith(_GZIP_MAGIC):
            return zlib.decompressobj(_GZIP)
        # The check sum of the stream was right: padding after the stream must not lose the page.
        self._done = True
        return self._stream


def _has_zlib_header(piece: bytes) -> bool:
    return piece[0] & 0x0F == zlib.DEFLATED and int.from_bytes(piece[:2], "big") % 31 == 0


def _read_encoding(header: str) -> str:
    """Return the encoding that a header names: several joined by ", ", an empty text for none."""
    words = [word.strip().lower().removeprefix("x-") for word in header.split(",")]
    return ", ".join(word for word in words if word not in {"", "identity"})
