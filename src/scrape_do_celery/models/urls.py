"""URLs: which can be a target, and which are the same one."""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections import defaultdict, deque
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_URL_LENGTH = 2083

_DEFAULT_PORTS = {"http": 80, "https": 443}
_FORBIDDEN = re.compile(r"[\x00-\x20\x7f-\x9f\s]")
_UNRESERVED = frozenset(string.ascii_letters + string.digits + "-._~")
# An escape, a percent sign that is none, or a character that no URL holds as it is.
_TO_ENCODE = re.compile(r"""%[0-9A-Fa-f]{2}|%|[^!-~]|["<>\\^`{|}]""")


def why_no_target(url: str) -> str | None:
    """What keeps `url` from being fetched, in words that do not repeat it; None for a good one."""
    if len(url) > MAX_URL_LENGTH:
        return f"is longer than {MAX_URL_LENGTH} characters"
    if _FORBIDDEN.search(url):
        return "holds whitespace or control characters"
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 (raises where it is no port)
    except ValueError:
        return "cannot be read as a URL"
    if parts.scheme not in _DEFAULT_PORTS:
        return "is not an absolute http or https URL"
    return None if parts.hostname else "has no host"


def normalise(url: str) -> str:
    """A form that two spellings of one target share; the input itself where it is not a URL that we fetch.

    Only for comparing: fragments, which no server sees, are gone.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            return url
        path = _without_dots(_escapes(parts.path)) or "/"
        return urlunsplit((parts.scheme, _authority(parts), path, _escapes(parts.query), ""))
    except ValueError:
        return url


def fingerprint(targets: Iterable[str]) -> str:
    """A digest of the targets, whatever their order and spelling; one that comes twice counts twice."""
    return hashlib.sha256(json.dumps(sorted(map(normalise, targets))).encode()).hexdigest()[:32]


def order(targets: Sequence[str], urls: Sequence[str]) -> tuple[list[int], bool]:
    """For each target the position of its URL in `urls`, and whether every URL is proven to be its target.

    By position where all fit, else by URL, duplicates in the order in which they come. Where a target has no
    URL, or the numbers differ, the positions are those of `urls`, each once, and nothing is proven.
    """
    as_they_are = list(range(len(urls)))
    if len(targets) != len(urls):
        return as_they_are, False
    wanted, found = list(map(normalise, targets)), list(map(normalise, urls))
    if wanted == found:
        return as_they_are, True
    places: dict[str, deque[int]] = defaultdict(deque)
    for position, url in enumerate(found):
        places[url].append(position)
    try:
        return [places[url].popleft() for url in wanted], True
    except IndexError:
        return as_they_are, False


def _authority(parts: SplitResult) -> str:
    user, at, _ = parts.netloc.rpartition("@")
    host = parts.hostname or ""
    if not host.isascii():
        host = host.encode("idna").decode("ascii").lower()
    if ":" in host:
        host = f"[{host}]"
    port = "" if parts.port in {None, _DEFAULT_PORTS[parts.scheme]} else f":{parts.port}"
    return f"{_escapes(user)}{at}{host}{port}"


def _escapes(text: str) -> str:
    return _TO_ENCODE.sub(_escape, text)


def _escape(match: re.Match[str]) -> str:
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
