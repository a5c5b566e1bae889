"""The bodies of error answers, as the API or an intermediary on the way to it writes them."""

from __future__ import annotations

from typing import Literal

BodyKind = Literal["api", "html", "gateway", "empty_object", "empty_list", "null", "text", "empty"]

HTML = b"<!doctype html><html><head><title>Maintenance</title></head><body>We will be back soon.</body></html>"
#: Kind -> content type and body. The API's own body contains the status, so `fault_response` builds it.
BODIES: dict[str, tuple[str, bytes]] = {
    "html": ("text/html", HTML),
    "gateway": ("application/json", b'{"message":"no Route matched with those values","request_id":"3b1f"}'),
    "empty_object": ("application/json", b"{}"),
    "empty_list": ("application/json", b"[]"),
    "null": ("application/json", b"null"),
    "text": ("text/plain", b"upstream connect error or disconnect/reset before headers"),
    "empty": ("application/json", b""),
}
