"""The sandbox's own HTTP client for loopback targets.

The first fetch loads httpx: the import takes as long as the rest of the sandbox's start.
"""

from __future__ import annotations

import asyncio
from http.cookiejar import CookieJar, DefaultCookiePolicy
from itertools import cycle
from typing import TYPE_CHECKING

from scrape_do_sandbox.pages import Page
from scrape_do_sandbox.spec import is_loopback

if TYPE_CHECKING:
    import httpx

    from scrape_do_sandbox.spec import JobSpec

_AGENT = "Mozilla/5.0 (compatible; scrape-do-sandbox)"
_DEFAULT_TIMEOUT_MS = 60_000
_TEXT = ("json", "xml", "html", "javascript")
# Several small pools instead of a large one, because httpx's pool is quadratic in its connections.
_CLIENTS, _CONNECTIONS = 25, 8


class PageFetcher:
    """The sandbox's own HTTP client. Even after a redirect, it connects to loopback addresses only."""

    def __init__(self) -> None:
        self._clients: list[httpx.AsyncClient] = []
        self._next: cycle[httpx.AsyncClient] = cycle(())
        self._room = asyncio.Semaphore(_CLIENTS * _CONNECTIONS)

    def _next_client(self) -> httpx.AsyncClient:
        if not self._clients:
            self._clients = [_make_client() for _ in range(_CLIENTS)]
            self._next = cycle(self._clients)
        return next(self._next)

    async def fetch_page(self, url: str, spec: JobSpec) -> Page:
        """Fetch the page of a target; return a page with an error if the transport fails."""
        import httpx

        options = spec.options
        try:
            async with self._room, asyncio.timeout(options.get("Timeout", _DEFAULT_TIMEOUT_MS) / 1000):
                return _read_page(await self._send_request(url, options))
        except TimeoutError:
            return Page(0, {}, b"", error="Target did not answer in time")
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return Page(0, {}, b"", error=f"{type(error).__name__}: {error}"[:300])

    async def _send_request(self, url: str, options: dict[str, object]) -> httpx.Response:
        content = str(options["Body"]).encode() if "Body" in options else None
        return await self._next_client().request(
            str(options.get("Method", "GET")),
            url,
            headers=_make_headers(options),
            content=content,
            follow_redirects=not options.get("DisableRedirection", False),
        )

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()


def _make_client() -> httpx.AsyncClient:
    import httpx

    # Each fetch stands for another visitor, so cookies are not kept and connections are not reused.
    jar = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    client = httpx.AsyncClient(
        verify=False,  # noqa: S501 - loopback only, where certificates are self-signed
        trust_env=False,
        cookies=jar,
        timeout=None,  # noqa: S113 - each fetch has a total deadline of its own
        limits=httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=0),
        event_hooks={"request": [_refuse_non_loopback]},
    )
    client.headers.clear()
    return client


async def _refuse_non_loopback(request: httpx.Request) -> None:
    import httpx

    if not is_loopback(str(request.url)):
        raise httpx.UnsupportedProtocol(
            f"The sandbox does not fetch {request.url}, because it only fetches from this machine"
        )


def _make_headers(options: dict[str, object]) -> list[tuple[bytes, bytes]]:
    given = dict(options.get("Headers") or {})  # type: ignore[call-overload]
    base = {} if options.get("ForwardHeaders") else {"User-Agent": _AGENT, "Accept": "*/*"}
    if options.get("SetCookies"):
        given["Cookie"] = options["SetCookies"]
    replaced = {name.lower() for name in given}
    return _encode_headers({name: value for name, value in base.items() if name.lower() not in replaced} | given)


def _encode_headers(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]


def _read_page(answer: httpx.Response) -> Page:
    headers = {"-".join(word.capitalize() for word in name.split("-")): value for name, value in answer.headers.items()}
    resolved = str(answer.url) if answer.history else ""
    kind = answer.headers.get("content-type", "").lower()
    if kind.startswith("text/") or any(word in kind for word in _TEXT):
        try:
            text = answer.content.decode(answer.charset_encoding or "utf-8")
            return Page(answer.status_code, headers, text.encode(), resolved=resolved)
        except (UnicodeError, LookupError):
            pass
    return Page(answer.status_code, headers, answer.content, text=not answer.content, resolved=resolved)
