"""Concerns about requests: what the API probably refuses or ignores, by rules that only the peer SDK has.

The vendor documents none of these rules for the Async API, and the vendor's own sample body breaks three of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .sendable import show_range

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .requests import JobCreationRequest

#: Bounds of numbers. The vendor says that times have bounds; all figures are from the peer SDK.
_BOUNDS: Final = {"timeout": (5_000, 120_000), "retry_timeout": (5_000, 55_000), "session_id": (0, 1_000_000)}
_WITHOUT_BODY: Final = (None, "GET", "HEAD")


def find_request_concerns(request: JobCreationRequest) -> Iterator[str]:
    """Yield the concerns about a request beside those about its `render` and its plugin."""
    for name, (low, high) in _BOUNDS.items():
        unit = "a number" if name == "session_id" else "milliseconds"
        if concern := show_range(name, getattr(request, name), low, high, unit):
            yield concern
    if request.body is not None and request.method in _WITHOUT_BODY:
        yield (
            f"body is sent with {request.method or 'GET'}, and most servers ignore it; "
            "set method='POST' if the server must read the body"
        )
    if request.headers and request.set_cookies:
        yield "set_cookies: the API probably ignores it beside headers; put a Cookie into headers instead"
    if request.render is not None and request.retry_timeout is not None:
        yield "retry_timeout: the API probably ignores it beside render; leave it out"
    yield from _find_concerns_of_places(request)


def _find_concerns_of_places(request: JobCreationRequest) -> Iterator[str]:
    if request.geo_code is None:
        return
    if request.regional_geo_code is not None:
        yield "geo_code: the API probably follows only one of geo_code and regional_geo_code; keep one of them"
    if request.plugin is not None and any(one.get("geocode") is not None for one in request.plugin.params):
        yield "geo_code: the API probably follows the geocode of a plugin's parameter set instead; keep one of them"
