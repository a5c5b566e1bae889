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

from scrape_do_celery.rules.decompression import ENCODINGS, JSON_STARTS, BodyInflater, read_encoding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MAX_PAGE_BYTES: Final = 67_108_864
"""Default limit for one answer, in bytes, before and after decompression."""
ERROR_BYTES: Final = 1_048_576
"""Bytes that are read of an answer outside 2xx, unless the answer may hold a page. The rest is dropped."""

LARGE: Final = 1_048_576
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
        self._encoding = read_encoding(headers.get("content-encoding", ""))
        self._inflater = BodyInflater(self._encoding) if self._encoding in ENCODINGS else None
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
        if self._encoding and not self._inflater and body and not body.lstrip(_BLANK).startswith(JSON_STARTS):
            return ReceivedBody(body, f"its encoding {ascii(self._encoding)[:_SHOWN]} cannot be decoded")
        return ReceivedBody(body, self._flaw)

    def _decode_chunk(self, chunk: bytes) -> Iterator[None]:
        if not self._inflater:
            yield from self._keep_part(chunk)
            return
        try:
            for part in self._inflater.inflate_chunk(chunk):
                yield from self._keep_part(part)
                if self._full:
                    return
        except zlib.error as error:
            self._note_flaw(f"is corrupt: {error}")

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
