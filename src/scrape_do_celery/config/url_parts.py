"""Split URLs of servers into their parts. No error shows a value, because a value may be a password."""

from __future__ import annotations

import re
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit


def split_url(url: str) -> SplitResult:
    """Return the parts of a URL.

    Raises:
        ValueError: the URL is not valid.
    """
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        parts = None
    # Python's own message would show a piece of the password if Python read that piece as a port.
    if parts is None or parts.fragment or re.search(r"\s", url):
        raise ValueError("is not a valid URL; percent-encode special characters in the password")
    return parts


def read_database(parts: SplitResult) -> int:
    """Return the number of the database that a URL names; 0 if it names none.

    Raises:
        ValueError: the name is no number.
    """
    query = dict(parse_qsl(parts.query))
    path = "" if parts.scheme in {"unix", "redis+socket"} else unquote(parts.path).strip("/")
    text = query.get("db") or query.get("virtual_host") or path or "0"
    if not (text.isascii() and text.isdigit()):
        raise ValueError("should end with a database number, as in redis://host:6379/0")
    return int(text)


def quote_userinfo(parts: SplitResult, query: dict[str, str]) -> str:
    """Return `user:password@` of a URL, from its address or its parameters, in quotes; empty if it has none."""
    user = unquote(parts.username or "") or query.get("username", "")
    password = unquote(parts.password or "") or query.get("password", "")
    # Quote again, because kombu reads an unquoted semicolon as the end of the URL.
    quoted = quote(user, safe="") + (f":{quote(password, safe='')}" if password else "")
    return f"{quoted}@" if quoted else ""
