"""The rules that refuse targets which no server can reach."""

from __future__ import annotations

import re
from enum import Enum

from ada_url import URL

# If one target is refused, its job loses all other targets. So each rule here is a rule of every server.
_BLANK = re.compile(r"[\x00-\x20\x7f-\x9f\s]")
_ASCII_BLANK = re.compile(r"[\x00-\x20\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
#: A host that needs no check beyond the parser's, because its labels are as long as they look.
_PLAIN = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.IGNORECASE)
_SCHEME = re.compile(r"https?:", re.IGNORECASE)
_AUTHORITY = re.compile(r"[^:]*://(?:[^/?#\\]*@)?([^/?#\\]*)")
_PORT = re.compile(r":([^:\]]*)$")
_NUMBER_LAST = re.compile(r"(?:^|\.)(?:0x[0-9a-f]*|[0-9]+)\.?$", re.IGNORECASE)
_MAX_PORT = 65535
_PORT_DIGITS = 5
_MAX_LABEL = 63
_MAX_HOST = 253


class TargetRefusal(Enum):
    """A rule that refuses a URL as a target. The value completes the sentence "the URL ..."."""

    LONE_SURROGATE = "holds a lone surrogate, a character that no UTF-8 text can carry"
    CONTROL_OR_WHITESPACE = "holds whitespace or control characters"
    SCHEME = "is not an absolute http or https URL"
    NO_SLASHES = "has no // after its scheme"
    NO_HOST = "has no host"
    PORT = "has a port that is not a number from 1 to 65535"
    IPV4 = "has a host that ends in a number and is not an IPv4 address"
    IPV6 = "has a host in brackets that is not an IPv6 address"
    HOST = "has a host that cannot be read as a domain name"
    EMPTY_LABEL = "has a host with an empty label between its dots"
    LABEL_LENGTH = "has a host with a label of more than 63 characters"
    HOST_LENGTH = "has a host of more than 253 characters"


def why_no_target(url: str) -> str | None:
    """Return why no server can reach `url`, in words that do not repeat the URL; None for a good URL."""
    rule = find_refusal(url)
    return None if rule is None else rule.value


def find_refusal(url: str) -> TargetRefusal | None:
    """Return the first rule that refuses `url`; None for a good URL."""
    if rule := _refuse_text(url):
        return rule
    if not _SCHEME.match(url):
        return TargetRefusal.SCHEME
    # A WHATWG parser accepts `http:a` and `http:///a`, but parsers of other languages find no host in them.
    authority = _AUTHORITY.match(url)
    if authority is None:
        return TargetRefusal.NO_SLASHES
    host = authority[1]
    if not _PORT.sub("", host):
        return TargetRefusal.NO_HOST
    if not URL.can_parse(url):
        return _name_fault(host)
    # Almost all hosts are plain and skip the slow check, because the caller waits while 100,000 targets are checked.
    return None if len(host) <= _MAX_HOST and _PLAIN.fullmatch(host) else _refuse_parsed(URL(url))


def _refuse_text(url: str) -> TargetRefusal | None:
    if url.isascii():
        return TargetRefusal.CONTROL_OR_WHITESPACE if _ASCII_BLANK.search(url) else None
    if _SURROGATE.search(url):
        return TargetRefusal.LONE_SURROGATE
    return TargetRefusal.CONTROL_OR_WHITESPACE if _BLANK.search(url) else None


def _refuse_parsed(parsed: URL) -> TargetRefusal | None:
    if parsed.port == "0":
        return TargetRefusal.PORT
    return None if parsed.hostname.startswith("[") else _refuse_name(parsed.hostname)


def _refuse_name(host: str) -> TargetRefusal | None:
    name = host.removesuffix(".")
    labels = name.split(".")
    if "" in labels:
        return TargetRefusal.EMPTY_LABEL
    if max(map(len, labels)) > _MAX_LABEL:
        return TargetRefusal.LABEL_LENGTH
    return TargetRefusal.HOST_LENGTH if len(name) > _MAX_HOST else None


def _name_fault(host: str) -> TargetRefusal:
    """Return the fault of a host with its port, if the parser refused the URL without a reason."""
    if host.startswith("[") and "]:" not in host:
        return TargetRefusal.IPV6
    if (port := _PORT.search(host)) and not _is_port(port[1]):
        return TargetRefusal.PORT
    host = _PORT.sub("", host)
    if host.startswith("["):
        return TargetRefusal.IPV6
    return TargetRefusal.IPV4 if _NUMBER_LAST.search(host) else TargetRefusal.HOST


def _is_port(text: str) -> bool:
    digits = text.lstrip("0") or "0"
    # Check the length first, because `int` raises for thousands of digits.
    return not text or (
        digits.isascii() and digits.isdigit() and len(digits) <= _PORT_DIGITS and int(digits) <= _MAX_PORT
    )
