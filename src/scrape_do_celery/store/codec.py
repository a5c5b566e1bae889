"""Pack records and contents for Redis, and unpack them: zstd frames behind a version byte."""

from __future__ import annotations

import base64
import binascii
import json
import struct
import sys
import threading
from typing import Any

from scrape_do_celery.models import TaskDetails

if sys.version_info >= (3, 14):  # pragma: no cover (the tests run on no such interpreter)
    from compression import zstd
else:
    from backports import zstd

PLAIN, ZSTD = b"\x00", b"\x01"
_LEVEL = 3
#: Values of fewer bytes stay plain: a zstd frame would save nothing.
_SMALL = 256
_HEADER = struct.Struct(">I")


class _Contexts(threading.local):
    """The zstd compressor of a thread, made once: to make one costs as much as to compress a small page."""

    def __init__(self) -> None:
        self.compressor = zstd.ZstdCompressor(level=_LEVEL)


_contexts = _Contexts()


def pack_bytes(raw: bytes) -> bytes:
    """Pack bytes into a value that `unpack_bytes` reads."""
    if len(raw) < _SMALL:
        return PLAIN + raw
    return ZSTD + _contexts.compressor.compress(raw, mode=zstd.ZstdCompressor.FLUSH_FRAME)


def unpack_bytes(value: bytes) -> bytes:
    """Return the bytes that were packed."""
    return zstd.decompress(value[1:]) if value[:1] == ZSTD else value[1:]


def pack(data: Any) -> bytes:
    """Pack JSON data into a value."""
    return pack_bytes(json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode())


def unpack(value: bytes) -> Any:
    """Return the JSON data of a value."""
    return json.loads(unpack_bytes(value))


def pack_task(task: TaskDetails) -> bytes:
    """Pack a fetched task into a frame: a small JSON header, then the page as it was served.

    The page is stored as raw bytes, so that reading it needs no JSON parser. Base64 text is stored as text if encoding
    its bytes again would not give exactly the same text, because of line breaks or damage.
    """
    text, kind = task.content, "none"
    raw = b""
    if text is not None:
        raw, kind = _raw(text, encoded=task.base64_encoded_content)
    header = task.model_dump(mode="json", by_alias=True, exclude={"content"}, exclude_defaults=True)
    head = json.dumps({"task": header, "kind": kind}, separators=(",", ":"), allow_nan=False).encode()
    return pack_bytes(_HEADER.pack(len(head)) + head + raw)


def unpack_task(value: bytes) -> TaskDetails:
    """Return the task of a frame. The result equals the task that was packed."""
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
