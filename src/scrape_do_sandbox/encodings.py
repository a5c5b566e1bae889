"""Encode the body of an answer, correctly or not."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_BLOCK = b" " * 1_000_000


def encode_body(body: bytes, name: str, size: int | None) -> tuple[str, bytes]:
    """Return the label in `Content-Encoding` and the encoded body; a bomb decodes to `size` bytes."""
    label, encode = ENCODINGS[name]
    return label, encode(body, size or _BOMB)


_BOMB = 100_000_000


def _pack_gzip(body: bytes, _: int = 0) -> bytes:
    return gzip.compress(body, mtime=0)


def _keep_plain(body: bytes, _: int) -> bytes:
    return body


def _raw_deflate(body: bytes, _: int) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def _gzip_bomb(body: bytes, size: int) -> bytes:
    """Put spaces before the body: they are valid JSON and shrink to a thousandth."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    blocks = [packer.compress(_BLOCK) for _ in range(size // len(_BLOCK))]
    return b"".join([*blocks, packer.compress(body), packer.flush()])


def _flip_last(body: bytes, _: int) -> bytes:
    packed = bytearray(_pack_gzip(body))
    # The last eight bytes are the checksum and the length, four bytes each.
    packed[-8] ^= 0xFF
    return bytes(packed)


#: Name -> the label in `Content-Encoding`, and the function that changes the body.
ENCODINGS: dict[str, tuple[str, Callable[[bytes, int], bytes]]] = {
    "gzip": ("gzip", _pack_gzip),
    "gzip_upper": ("GZIP", _pack_gzip),
    "x_gzip": ("x-gzip", _pack_gzip),
    "deflate": ("deflate", lambda body, _: zlib.compress(body)),
    "raw_deflate": ("deflate", _raw_deflate),
    "identity": ("identity", _keep_plain),
    "gzip_twice": ("gzip, gzip", lambda body, _: _pack_gzip(_pack_gzip(body))),
    "gzip_parts": ("gzip", lambda body, _: _pack_gzip(body[: len(body) // 2]) + _pack_gzip(body[len(body) // 2 :])),
    "gzip_trailing": ("gzip", lambda body, _: _pack_gzip(body) + b"trailing"),
    "gzip_cut": ("gzip", lambda body, _: _pack_gzip(body)[:-9]),
    "gzip_bad_sum": ("gzip", _flip_last),
    "gzip_empty": ("gzip", lambda _, __: b""),
    "gzip_bomb": ("gzip", _gzip_bomb),
    # Labels that do not match the body.
    "gzip_label": ("gzip", _keep_plain),
    "br_label": ("br", _keep_plain),
    "zstd_label": ("zstd", _keep_plain),
    "unknown_label": ("x-sandbox", _keep_plain),
}
