"""Decompress a body while it arrives, in small steps, so that the reader can stop at any size. No I/O."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The encodings that `BodyInflater` decompresses.
ENCODINGS: Final = frozenset({"gzip", "deflate"})
#: First characters of a JSON object or list, after white space and a byte order mark.
JSON_STARTS: Final = (b"{", b"[")
_STEP: Final = 65_536
_GZIP_MAGIC: Final = b"\x1f\x8b"
_GZIP, _ZLIB, _RAW = 31, 15, -15


class BodyInflater:
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

    def inflate_chunk(self, chunk: bytes) -> Iterator[bytes]:
        """Yield the output that a chunk of any size adds.

        Raises:
            zlib.error: the stream is corrupt.
        """
        # Feed slices: zlib copies the rest of its input at each step.
        for start in range(0, len(chunk), _STEP):
            yield from self._inflate_piece(chunk[start : start + _STEP])

    def _inflate_piece(self, piece: bytes) -> Iterator[bytes]:
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
        return not piece.startswith(_GZIP_MAGIC) if self._gzip else piece.startswith(JSON_STARTS)

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


def read_encoding(header: str) -> str:
    """Return the encoding that a header names: several joined by ", ", an empty text for none."""
    words = [word.strip().lower().removeprefix("x-") for word in header.split(",")]
    return ", ".join(word for word in words if word not in {"", "identity"})
