"""How records and contents look in Redis: zstd frames behind a version byte."""

from __future__ import annotations

import base64
import binascii
import json
import struct
import sys
import threading
from typing import Any

from scrape_do_celery.models import TaskDetails

if sys.version_info >= (3, 14):  # pragma: no cover (no such interpreter among those that tests run on)
    from compression import zstd
else:
    from backports import zstd

PLAIN, ZSTD = b"\x00", b"\x01"
_LEVEL = 3
#: Below this a zstd frame saves nothing.
_SMALL = 256
_HEADER = struct.Struct(">I")


class _Contexts(threading.local):
    """What zstd works with, made once a thread: that costs as much as a small page itself."""

    def __init__(self) -> None:
        self.compressor = zstd.ZstdCompressor(level=_LEVEL)


_contexts = _Contexts()


def pack_bytes(raw: bytes) -> bytes:
    """A value that `unpack_bytes` reads."""
    if len(raw) < _SMALL:
        return PLAIN + raw
    return ZSTD + _contexts.compressor.compress(raw, mode=zstd.ZstdCompressor.FLUSH_FRAME)


def unpack_bytes(value: bytes) -> bytes:
    """The bytes that were packed."""
    return zstd.decompress(value[1:]) if value[:1] == ZSTD else value[1:]


def pack(data: Any) -> bytes:
    """JSON data as a value."""
    return pack_bytes(json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode())


def unpack(value: bytes) -> Any:
    """The JSON data of a value."""
    return json.loads(unpack_bytes(value))


def pack_task(task: TaskDetails) -> bytes:
    """One fetched task as a frame: a small JSON header, then the page as it was served.

    The page is kept as raw bytes, so that reading it back needs no JSON parser. Base64 that does not come back to the
    letter (line breaks, damage) is kept as text.
    """
    text, kind = task.content, "none"
    raw = b""
    if text is not None:
        raw, kind = _raw(text, encoded=task.base64_encoded_content)
    header = task.model_dump(mode="json", by_alias=True, exclude={"content"}, exclude_defaults=True)
    head = json.dumps({"task": header, "kind": kind}, separators=(",", ":"), allow_nan=False).encode()
    return pack_bytes(_HEADER.pack(len(head)) + head + raw)


def unpack_task(value: bytes) -> TaskDetails:
    """The task of a frame, equal to the one that was packed."""
    frame = unpack_bytes(value)
    (size,) = _HEADER.unpack_from(frame)
    head = json.loads(frame[_HEADER.size : _HEADER.size + size])
    raw = frame[_HEADER.size + size :]
    content: str | None = None
    if head["kind"] != "none":
        content = raw.decode(errors="surrogatepass") if head["kind"] == "text" else base64.b64encode(raw).decode()
    return TaskDetails.model_validate({**head["task"], "Content": content})


def _raw(text: str, *, encoded: bool) -> tuple[bytes, str]:
    if encoded:
        try:
            raw = base64.b64decode(text, validate=True)
        except (binascii.Error, ValueError):
            pass
        else:
            if base64.b64encode(raw).decode() == text:
                return raw, "base64"
    return text.encode(errors="surrogatepass"), "text"
