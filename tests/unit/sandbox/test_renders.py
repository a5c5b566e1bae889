from __future__ import annotations

import base64
import json

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


def test_the_image_is_a_picture(tmp_path):
    pyplot = pytest.importorskip("matplotlib.image")
    (tmp_path / "a.png").write_bytes(make_png(0xFF8000AB))
    assert (pyplot.imread(tmp_path / "a.png")[0, 0] * 255).round().astype(int).tolist() == [255, 128, 0]
