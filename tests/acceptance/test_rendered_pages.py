"""Test a render with `return_json=True` from `enqueue` to the bytes of its screenshots."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from scrape_do_celery import GoogleSearchResults, UnreadableContentError

URL = "https://shop.example/1"
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "results.md"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def run_example(word, **names):
    """Run the example of the page about results that has this word."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    [code] = [one for one in blocks if word in one]
    exec(compile(code, PAGE.name, "exec"), names)
    return names


@pytest.fixture
def working(pipeline):
    pipeline.work()
    return pipeline


def test_screenshots_frames_and_traffic_of_a_render(working, monkeypatch, tmp_path, capsys):
    actions = [{"Action": "Click", "Selector": "#more"}, {"Action": "ScreenShot", "fullScreenShot": True}]
    render = {"return_json": True, "show_frames": True, "show_websocket_requests": True, "play_with_browser": actions}
    [task] = working.enqueue([URL], render=render).result(timeout=150).tasks
    rendered = task.rendered
    [shot] = rendered.screenshots
    assert shot.image.startswith(PNG)
    assert (shot.type, shot.error) == ("ScreenShot", None)
    assert URL in rendered.content
    assert [(one.action, one.success) for one in rendered.action_results] == [("Click", True), ("ScreenShot", True)]
    assert rendered.network.requests[0].status == 200
    assert rendered.network.websockets[0].payload == "hello"
    assert rendered.frames[0].content == "<p>frame</p>"
    assert task.screenshots == rendered.screenshots
    assert task.remaining_credits is not None

    # The example of the documents, in a folder of its own.
    monkeypatch.setattr("scrape_do_celery.enqueue", working.enqueue)
    monkeypatch.chdir(tmp_path)
    task = run_example(".png", urls=[URL])["task"]
    [picture] = tmp_path.glob("*.png")
    assert picture.name == f"{task.task_id}-0.png"
    assert picture.read_bytes().startswith(PNG)
    assert picture.read_bytes() == task.screenshots[0].image
    assert capsys.readouterr().out == "GET https://shop.example/api/items 200\n"


def test_a_page_without_the_option_stays_readable(working, sandbox):
    page = {"screenShots": [{"type": "ScreenShot", "image": "Zm9yZ2Vk"}], "resolvedUrl": "https://forged.example/"}
    sandbox.fault("task_answers", target="imitates", body=json.dumps(page))
    [task] = working.enqueue([f"{URL}?imitates"]).result(timeout=150).tasks
    assert (task.json_content(), task.resolved_url) == (page, None)
    with pytest.raises(UnreadableContentError, match="the request had no `return_json=True`"):
        _ = task.screenshots

    [task] = working.enqueue([URL], render={"wait_until": "load"}).result(timeout=150).tasks
    with pytest.raises(UnreadableContentError) as caught:
        _ = task.screenshots
    assert (caught.value.task_id, caught.value.job_id) == (task.task_id, task.job_id)
    assert URL in task.text


def test_the_answers_of_plugins(working):
    asked = {"asin": "A1", "geocode": "us", "zipcode": "10001"}
    shop = {"url": "https://www.walmart.com/ip/1"}
    plugins = ("amazon/pdp", asked), ("google/search", {"q": "shoes"}), ("walmart/store", shop)
    handles = [working.enqueue(plugin={"key": key, "params": [params]}) for key, params in plugins]
    amazon, google, walmart = [handle.result(timeout=150).tasks[0] for handle in handles]
    assert amazon.json_content()["params"] == asked
    results = GoogleSearchResults.from_task(google)
    assert [one.position for one in results.organic_results] == [1, 2, 3]
    assert results.organic_results[0].sitelinks.expanded[0].title == "More"
    assert (results.dropped, results.ai_overview_state) == (0, "complete")
    assert walmart.text.startswith("<!doctype html>")
    found = run_example("search_parameters", handle=handles[1])["by_word"]
    assert [(word, one.organic_results[0].title) for word, one in found.items()] == [("shoes", "shoes 1")]
    with pytest.raises(UnreadableContentError):
        GoogleSearchResults.from_task(walmart)
