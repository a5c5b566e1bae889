"""Test a render with `return_json=True` from `enqueue` to the bytes of its screenshots."""

from __future__ import annotations

import pytest

from scrape_do_celery import GoogleSearchResults, UnreadableContentError

URL = "https://shop.example/1"


@pytest.fixture
def working(pipeline):
    pipeline.work()
    return pipeline


def test_screenshots_frames_and_traffic_of_a_render(working):
    actions = [{"Action": "Click", "Selector": "#more"}, {"Action": "ScreenShot", "fullScreenShot": True}]
    render = {"return_json": True, "show_frames": True, "show_websocket_requests": True, "play_with_browser": actions}
    [task] = working.enqueue([URL], render=render).result(timeout=150).tasks
    rendered = task.rendered
    [shot] = rendered.screenshots
    assert shot.image.startswith(b"\x89PNG\r\n\x1a\n")
    assert (shot.type, shot.error) == ("ScreenShot", None)
    assert URL in rendered.content
    assert [(one.action, one.success) for one in rendered.action_results] == [("Click", True), ("ScreenShot", True)]
    assert rendered.network.requests[0].status == 200
    assert rendered.network.websockets[0].payload == "hello"
    assert rendered.frames[0].content == "<p>frame</p>"
    assert task.screenshots == rendered.screenshots
    assert task.remaining_credits is not None


def test_a_page_without_the_option_stays_readable(working):
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
    with pytest.raises(UnreadableContentError):
        GoogleSearchResults.from_task(walmart)
