"""Rewrite a URL as Go does, by the rules of `net/url`: `url.Parse(text)` and then `String()`.

Go works on bytes and keeps the query raw. A validly escaped path or fragment keeps its spelling. Any other path or
fragment is decoded and escaped anew.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")
_RESERVED = frozenset(b"$&+,/:;=@")
#: The bytes that Go's `shouldEscape` leaves unescaped, for each mode.
_PATH = _UNRESERVED | _RESERVED
_FRAGMENT = _UNRESERVED | _RESERVED | frozenset(b"?!()*")
_HOST = _UNRESERVED | frozenset(b"!$&'()*+,;=:[]<>\"")
_USER = _UNRESERVED | frozenset(b"$&+,;=")
_COMPONENT = _UNRESERVED
#: The bytes that Go's `validEncoded` accepts in addition.
_VALID_BESIDE = frozenset(b"!$&'()*+,;=:@[]%")
_USERINFO = _UNRESERVED | frozenset(b":!$&'()*+,;=%@")
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*")
_PORT = re.compile(rb"(:[0-9]*)?")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})?")
_HALF = 0x80


@dataclass(slots=True)
class _GoUrl:
    """The fields of Go's `url.URL` that an absolute URL with `//` has."""

    scheme: bytes
    user: bytes | None
    host: bytes
    path: bytes
    query: bytes
    force_query: bool
    fragment: bytes

    def text(self) -> str:
        user = b"" if self.user is None else _escape_user(self.user) + b"@"
        whole = self.scheme + b"://" + user + _escape_text(self.host, _HOST) + self.path
        if self.force_query or self.query:
            whole += b"?" + self.query
        if self.fragment:
            whole += b"#" + self.fragment
        # Go's JSON encoder writes U+FFFD for bytes that are not UTF-8.
        return whole.decode("utf-8", "replace")


def rewrite_url(url: str) -> str:
    """Rewrite `url` as `url.Parse(...).String()` does.

    Raises:
        ValueError: If Go's parser refuses the URL.
    """
    return _parse_url(url.encode()).text()


def rewrite_encoded_url(url: str) -> str:
    """Rewrite `url` as `rewrite` does, with the query that `url.Query().Encode()` gives.

    Raises:
        ValueError: If Go's parser refuses the URL.
    """
    parsed = _parse_url(url.encode())
    parsed.query = _encode_query(parsed.query)
    return parsed.text()


def _parse_url(text: bytes) -> _GoUrl:
    if any(byte < ord(" ") or byte == 0x7F for byte in text):  # noqa: PLR2004 - DEL
        raise ValueError("net/url: invalid control character in URL")
    text, _, fragment = text.partition(b"#")
    scheme, colon, rest = text.partition(b":")
    if not colon or not _SCHEME.fullmatch(scheme):
        raise ValueError("net/url: the URL has no scheme")
    force_query = rest.endswith(b"?") and rest.count(b"?") == 1
    rest, _, query = rest.partition(b"?")
    if not rest.startswith(b"//"):
        raise ValueError("net/url: the URL has no authority")
    authority, slash, path = rest[2:].partition(b"/")
    user, host = _read_authority(authority)
    return _GoUrl(
        scheme.lower(),
        user,
        host,
        _respell_part(slash + path, _PATH),
        query,
        force_query,
        _respell_part(fragment, _FRAGMENT),
    )


def _read_authority(authority: bytes) -> tuple[bytes | None, bytes]:
    userinfo, at, host = authority.rpartition(b"@")
    if at and not all(byte in _USERINFO for byte in userinfo):
        raise ValueError("net/url: invalid userinfo")
    return userinfo if at else None, _read_host(host)


def _read_host(host: bytes) -> bytes:
    if host.startswith(b"["):
        inner, bracket, port = host[1:].rpartition(b"]")
        if not bracket or not _PORT.fullmatch(port):
            raise ValueError("net/url: missing ']' or invalid port in host")
        ipaddress.IPv6Address(_unescape_text(inner, host=True).decode("ascii").partition("%")[0])
    elif b":" in host and not _PORT.fullmatch(host[host.rindex(b":") :]):
        raise ValueError("net/url: invalid port after host")
    return _unescape_text(host, host=True)


def _unescape_text(text: bytes, *, host: bool = False) -> bytes:
    def decode(found: re.Match[bytes]) -> bytes:
        if found[1] is None:
            raise ValueError("net/url: invalid URL escape")
        byte = int(found[1], 16)
        # A host may contain escapes of non-ASCII bytes only, and %25 before an IPv6 zone.
        if host and byte < _HALF and found[1] != b"25":
            raise ValueError("net/url: invalid URL escape in host")
        return bytes([byte])

    if host and any(byte < _HALF and byte not in _HOST and byte != ord("%") for byte in text):
        raise ValueError("net/url: invalid character in host name")
    return _ESCAPE.sub(decode, text)


def _escape_text(text: bytes, kept: frozenset[int]) -> bytes:
    return b"".join(bytes([byte]) if byte in kept else b"%%%02X" % byte for byte in text)


def _escape_user(userinfo: bytes) -> bytes:
    name, colon, password = userinfo.partition(b":")
    return _escape_text(_unescape_text(name), _USER) + colon + _escape_text(_unescape_text(password), _USER)


def _respell_part(text: bytes, kept: frozenset[int]) -> bytes:
    """Spell a path or fragment as Go's `EscapedPath` and `EscapedFragment` do.

    A valid spelling stays as it is; any other text is escaped anew.
    """
    decoded = _unescape_text(text)
    if all(byte in kept or byte in _VALID_BESIDE for byte in text):
        return text
    return _escape_text(decoded, kept)


def _encode_query(query: bytes) -> bytes:
    pairs: list[tuple[bytes, bytes]] = []
    for pair in query.split(b"&"):
        name, _, value = pair.partition(b"=")
        try:
            # ParseQuery drops a pair that has a semicolon or a broken escape.
            if pair and b";" not in pair:
                pairs.append((_unescape_text(name.replace(b"+", b" ")), _unescape_text(value.replace(b"+", b" "))))
        except ValueError:
            continue
    pairs.sort(key=lambda pair: pair[0])
    return b"&".join(_encode_component(name) + b"=" + _encode_component(value) for name, value in pairs)


def _encode_component(text: bytes) -> bytes:
    return _escape_text(text, _COMPONENT | {ord(" ")}).replace(b" ", b"+")
