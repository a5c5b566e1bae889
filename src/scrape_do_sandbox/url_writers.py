"""Rewrite a URL as servers in other languages do.

The sandbox checks the product, so this module shares no code and no URL library with the product.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import HttpUrl, TypeAdapter
from pydantic_core import Url

from scrape_do_sandbox.go_urls import rewrite_encoded_url, rewrite_url

if TYPE_CHECKING:
    from collections.abc import Callable

#: ASCII that Python's HTTP clients leave unchanged; `%` keeps existing escapes.
_KEPT = "!$%&'()*+,/:;=?@[]~-._"
_USUAL_PORTS = {"http": 80, "https": 443}
_HTTP_URL: TypeAdapter[HttpUrl] = TypeAdapter(HttpUrl)


@lru_cache(maxsize=10_000)
def write_url(url: str, writer: str) -> str:
    """Rewrite `url` as `writer` does; a URL that the writer cannot parse stays verbatim."""
    try:
        return WRITERS[writer](url)
    except ValueError:
        return url


def _write_verbatim(url: str) -> str:
    return url


def _write_whatwg(url: str) -> str:
    # The Rust crate `url` implements the WHATWG standard.
    return str(Url(url))


def _write_pydantic(url: str) -> str:
    # Unlike the bare type, `HttpUrl` refuses URLs above 2,083 characters.
    return str(_HTTP_URL.validate_python(url))


def _write_idna2003(url: str) -> str:
    """Encode the host by IDNA 2003 (`ß` becomes `ss`) and escape the rest, as older clients in Python do."""
    parts = urlsplit(url)
    host = (parts.hostname or "").encode("idna").decode()
    host = f"[{host}]" if ":" in host else host
    port = f":{parts.port}" if parts.port not in {None, _USUAL_PORTS.get(parts.scheme)} else ""
    path, query, fragment = (quote(text, safe=_KEPT) for text in (parts.path or "/", parts.query, parts.fragment))
    user = "".join(parts.netloc.rpartition("@")[:2])
    return urlunsplit((parts.scheme, user + host + port, path, query, fragment))


#: The ways in which the sandbox rewrites URLs, by name.
WRITERS: dict[str, Callable[[str], str]] = {
    "verbatim": _write_verbatim,
    "whatwg": _write_whatwg,
    "go": rewrite_url,
    "go_encode": rewrite_encoded_url,
    "idna2003": _write_idna2003,
    "pydantic": _write_pydantic,
}
