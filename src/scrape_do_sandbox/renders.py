"""The answers to renders with `ReturnJSON`: the page in a JSON object, with requests, frames and screenshots."""

from __future__ import annotations

import base64
import json
import struct
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from scrape_do_sandbox.pages import Page, seed_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SCREENSHOTS = {
    "Screenshot": "ScreenShot",
    "FullScreenshot": "FullScreenShot",
    "ParticularScreenshot": "ParticularScreenShot",
}

#: Pixels of a side of each screenshot: enough to see the color.
_SIDE = 16


def wrap_page(page: Page, url: str, render: Mapping[str, Any] | None) -> Page:
    """Return the page as a render with these options answers; without `ReturnJSON`, the page is unchanged."""
    if page.error or not (render and render.get("ReturnJSON")):
        return page
    answer = {
        "statusCode": page.status_code,
        "content": page.body.decode("utf-8", "replace"),
        "networkRequests": [_make_request(url)],
        "websocketResponses": [_make_message(url)] if render.get("ShowWebsocketRequests") else None,
        "frames": [_make_frame(url)] if render.get("ShowFrames") else None,
        "actionResults": list(_make_action_results(render)),
        "screenShots": list(_make_screenshots(url, render)),
    }
    body = json.dumps(answer, ensure_ascii=False).encode("utf-8", "replace")
    return replace(page, headers={**page.headers, "Content-Type": "application/json"}, body=body, text=True)


def make_png(seed: int) -> bytes:
    """Return a small PNG image in one color, which follows from `seed`."""
    # Each line begins with the number of its filter.
    lines = (b"\0" + seed.to_bytes(4, "big")[:3] * _SIDE) * _SIDE
    header = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(lines)), (b"IEND", b""))
    framed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _make_request(url: str) -> dict[str, Any]:
    return {
        "url": urljoin(url, "/api/items"),
        "method": "GET",
        "status": 200,
        "request_headers": {"Accept": "application/json"},
        "request_body": None,
        "response_headers": {"Content-Type": "application/json"},
        "response_body": '{"items": []}',
    }


def _make_message(url: str) -> dict[str, Any]:
    frame = {"opcode": 1, "mask": False, "payloadData": "hello"}
    event = {"requestId": f"ws-{seed_of(url)}", "timestamp": 1.5, "response": frame}
    return {"type": "received", "event": event}


def _make_frame(url: str) -> dict[str, Any]:
    return {"url": urljoin(url, "/frame"), "content": "<p>frame</p>"}


def _actions_of(render: Mapping[str, Any]) -> list[dict[str, Any]]:
    actions = render.get("PlayWithBrowser")
    return [one for one in actions if isinstance(one, dict)] if isinstance(actions, list) else []


def _make_action_results(render: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for index, action in enumerate(_actions_of(render)):
        yield {"action": action.get("Action"), "index": index, "success": True, "error": None, "response": None}


def _make_screenshots(url: str, render: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    kinds = [kind for name, kind in _SCREENSHOTS.items() if render.get(name)]
    kinds += ["ScreenShot" for action in _actions_of(render) if action.get("Action") == "ScreenShot"]
    for number, kind in enumerate(kinds):
        image = base64.b64encode(make_png(seed_of(f"{url} {number}"))).decode()
        yield {"type": kind, "image": image, "error": None}
