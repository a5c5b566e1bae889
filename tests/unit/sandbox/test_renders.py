from __future__ import annotations

import base64
import json
import struct
import zlib

import pytest

from scrape_do_sandbox.pages import Page, make_page
from scrape_do_sandbox.renders import make_png, wrap_page

URL = "https://a.example/shop/1"


@pytest.mark.parametrize("render", [None, {}, {"ReturnJSON": False}, {"Screenshot": True}])
def test_a_render_without_the_option_answers_the_page(render):
    assert wrap_page(make_page(URL), URL, render) == make_page(URL)


def test_a_failed_render_stays_failed():
    failed = Page(0, {}, b"", error="no")
    assert wrap_page(failed, URL, {"ReturnJSON": True}) is failed


def test_the_page_is_inside_and_only_asked_parts_are_there():
    page = wrap_page(make_page(URL), URL, {"ReturnJSON": True})
    answer = json.loads(page.body)
    assert answer["content"].encode() == make_page(URL).body
    assert (answer["statusCode"], page.status_code, page.text) == (200, 200, True)
    assert page.headers["Content-Type"] == "application/json"
    assert answer["networkRequests"][0]["url"] == "https://a.example/api/items"
    assert (answer["frames"], answer["websocketResponses"]) == (None, None)
    assert (answer["screenShots"], answer["actionResults"]) == ([], [])
    assert page == wrap_page(make_page(URL), URL, {"ReturnJSON": True})


def test_all_parts():
    actions = [{"Action": "Click", "Selector": "#a"}, {"Action": "ScreenShot"}, "no action"]
    options = {"ReturnJSON": True, "ShowFrames": True, "ShowWebsocketRequests": True, "PlayWithBrowser": actions}
    answer = json.loads(wrap_page(make_page(URL), URL, {**options, "FullScreenshot": True}).body)
    assert [shot["type"] for shot in answer["screenShots"]] == ["FullScreenShot", "ScreenShot"]
    images = [base64.b64decode(shot["image"]) for shot in answer["screenShots"]]
    assert images[0].startswith(b"\x89PNG\r\n\x1a\n")
    assert images[0] != images[1]
    assert [(one["action"], one["index"], one["success"]) for one in answer["actionResults"]] == [
        ("Click", 0, True),
        ("ScreenShot", 1, True),
    ]
    assert answer["frames"] == [{"url": "https://a.example/frame", "content": "<p>frame</p>"}]
    assert answer["websocketResponses"][0]["event"]["response"]["payloadData"] == "hello"


def read_png(image):
    """Check each chunk of a PNG image. Return width, height and the color of each pixel."""
    assert image[:8] == b"\x89PNG\r\n\x1a\n"
    chunks, rest = [], image[8:]
    while rest:
        size, kind = struct.unpack(">I4s", rest[:8])
        data, (check,) = rest[8 : 8 + size], struct.unpack(">I", rest[8 + size : 12 + size])
        assert check == zlib.crc32(kind + data)
        chunks.append((kind, data))
        rest = rest[12 + size :]
    (_, header), (_, packed), _ = chunks
    assert [kind for kind, _ in chunks] == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *form = struct.unpack(">IIBBBBB", header)
    assert form == [8, 2, 0, 0, 0]
    lines = zlib.decompress(packed)
    assert len(lines) == height * (1 + 3 * width)
    rows = [lines[at : at + 1 + 3 * width] for at in range(0, len(lines), 1 + 3 * width)]
    assert {row[0] for row in rows} == {0}
    return width, height, {tuple(row[at : at + 3]) for row in rows for at in range(1, len(row), 3)}


@pytest.mark.parametrize("seed", [0, 0xFF8000AB, 2**32 - 1])
def test_the_image_is_a_picture(seed):
    assert read_png(make_png(seed)) == (16, 16, {tuple(seed.to_bytes(4, "big")[:3])})
