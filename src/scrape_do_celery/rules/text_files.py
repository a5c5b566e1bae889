"""Decode the lines of a text file as they arrive, and refuse what is no text."""

from __future__ import annotations

import codecs
from itertools import chain
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The marks at the start of a file, with the encodings that they stand for. A mark may begin as a shorter one does.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


class NoTextError(ValueError):
    """A file is no text. The message names the line."""


def decode_lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines in the chunks of a file, each with its end.

    The text is UTF-8, or what the mark at its start says: spreadsheets and Windows also write UTF-16.

    Raises:
        NoTextError: a byte is no text of the encoding, or is zero.
    """
    decoder: codecs.IncrementalDecoder | None = None
    rest, number = "", 1
    for chunk in chain(chunks, (b"",)):
        if decoder is None:
            encoding = next((name for mark, name in _MARKS if chunk.startswith(mark)), "utf-8")
            decoder = codecs.getincrementaldecoder(encoding)()
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            before = error.object[: error.start].count(b"\n")
            found = error.object[error.start]
            raise NoTextError(
                f"line {number + before:,} is not {encoding} text (byte 0x{found:02x}): save the file as UTF-8"
            ) from None
        if "\0" in text:
            at = number + text[: text.index("\0")].count("\n")
            raise NoTextError(f"line {at:,} holds a zero byte: the file is not text")
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield f"{line}\n"
        number += len(lines)
    if rest:
        yield rest
