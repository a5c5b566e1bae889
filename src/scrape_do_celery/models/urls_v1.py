"""The digest of targets that version 1 stored.

Use this module only for the upgrade: a part that version 1 wrote is found by its old digest. New code compares
URLs with the functions in `urls`.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterable

_DEFAULT_PORTS = {"http": 80, "https": 443}
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
# An escape, a percent sign outside an escape, or a character that a URL must escape.
_TO_ENCODE = re.compile(r"""%[0-9A-Fa-f]{2}|%|[^!-~]|["<>\\^`{|}]""")


def fingerprint(targets: Iterable[str]) -> str:
    """Return the digest of version 1. Order and spelling do not change it, but duplicates do."""
    return hashlib.sha256(json.dumps(sorted(map(normalise, targets))).encode()).hexdigest()[:32]


def normalise(url: str) -> str:
    """Return the form of `url` that version 1 compared; the input itself if it is not an http or https URL."""
    try:
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return url
        path = _without_dots(_normal_escapes(parts.path)) or "/"
        return urlunsplit((parts.scheme, _normal_authority(parts), path, _normal_escapes(parts.query), ""))
    except ValueError:
        return url


def _normal_authority(parts: SplitResult) -> str:
    user, at, _ = parts.netloc.rpartition("@")
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode("ascii").lower()
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{_normal_escapes(user)}{at}{host}{port}"


def _normal_escapes(text: str) -> str:
    return _TO_ENCODE.sub(_normal_escape, text)


def _normal_escape(match: re.Match[str]) -> str:
    found = match[0]
    if len(found) == 1:
        return "".join(f"%{byte:02X}" for byte in found.encode(errors="surrogatepass"))
    char = chr(int(found[1:], 16))
    return char if char in _UNRESERVED else found.upper()


def _without_dots(path: str) -> str:
    if "." not in path:
        return path
    kept: list[str] = []
    segments = path.split("/")[1:]
    for segment in segments:
        if segment == "..":
            del kept[-1:]
        elif segment != ".":
            kept.append(segment)
    # "/a/." and "/a/.." name directories.
    tail = "/" if kept and segments[-1] in {".", ".."} else ""
    return "/" + "/".join(kept) + tail
