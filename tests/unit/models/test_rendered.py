"""Test the reading of answers to renders with `return_json=True`: good ones, odd ones, and others."""

from __future__ import annotations

import base64
import json
import pickle
import traceback
from contextlib import suppress
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scrape_do.models import response as peer

from scrape_do_celery.errors import UnreadableContentError
from scrape_do_celery.models import (
    ActionResult,
    NetworkLog,
    NetworkRequest,
    PageFrame,
    PageScreenshot,
    RenderedPage,
    TaskDetails,
    WebsocketMessage,
)

IMAGE = b"\x89PNG\r\n\x1a\n\x00\xff"
CODED = base64.b64encode(IMAGE).decode()
ANSWER = {
    "statusCode": 404,
    "content": "<p>page</p>",
    "networkRequests": [
        {
            "url": "https://a/api",
            "method": "POST",
            "status": 201,
            "request_headers": {"A": "1"},
            "request_body": "{}",
            "response_headers": {"B": 2},
            "response_body": None,
        }
    ],
    "websocketResponses": [
        {
            "type": "received",
            "event": {
                "requestId": "9.1",
                "timestamp": 12.5,
                "response": {"opcode": 1, "mask": False, "payloadData": "hi"},
            },
        }
    ],
    "frames": [{"url": "https://a/frame", "content": "<i>"}, {"url": "about:blank", "content": None}],
    "actionResults": [
        {"action": "Click", "index": 0, "success": True, "error": None},
        {"action": "Execute", "index": 1, "success": False, "error": "no", "response": {"a": 1}},
    ],
    "screenShots": [
        {"type": "FullScreenShot", "image": CODED, "error": None},
        {"type": "ScreenShot", "image": None, "error": "the selector was not found"},
    ],
    "newer": 1,
}
PARTS = ("screenshots", "frames", "network", "action_results")
LISTS = ("screenShots", "frames", "networkRequests", "actionResults")


def read_all(part):
    """Read the images too: a broken screenshot raises only then."""
    for item in part:
        if isinstance(item, PageScreenshot):
            _ = item.image


def make_task(answer, **more):
    content = answer if isinstance(answer, str | None) else json.dumps(answer)
    return TaskDetails.model_validate(
        {"TaskID": "t1", "JobID": "j1", "Status": "success", "Content": content, **more},
    )


def assert_is_read(task):
    assert task.screenshots == (
        PageScreenshot("FullScreenShot", IMAGE),
        PageScreenshot("ScreenShot", None, "the selector was not found"),
    )
    assert task.frames == (PageFrame("https://a/frame", "<i>"), PageFrame("about:blank"))
    request = NetworkRequest("https://a/api", "POST", 201, {"A": "1"}, "{}", {"B": "2"}, None)
    assert task.network == NetworkLog((request,), (WebsocketMessage("received", "9.1", 12.5, 1, "hi"),))
    assert task.network.requests[0].url == "https://a/api"
    assert task.action_results == (
        ActionResult("Click", 0, success=True),
        ActionResult("Execute", 1, success=False, error="no", response={"a": 1}),
    )
    assert (task.rendered.content, task.rendered.status_code) == ("<p>page</p>", 404)


def respell(value, spell):
    if isinstance(value, dict):
        return {spell(key): respell(inner, spell) for key, inner in value.items()}
    return [respell(inner, spell) for inner in value] if isinstance(value, list) else value


def test_all_parts():
    assert_is_read(make_task(ANSWER))
    assert make_task(ANSWER).rendered.data == ANSWER
    text = json.dumps(ANSWER)
    assert make_task(text).text == text
    assert make_task(text).json_content() == ANSWER


def test_an_answer_in_base64():
    coded = base64.b64encode(json.dumps(ANSWER).encode()).decode()
    assert_is_read(make_task(coded, Base64EncodedContent=True))


@pytest.mark.parametrize("spell", [str.lower, str.upper, str.swapcase, str.capitalize])
def test_keys_in_any_case(spell):
    answer = respell(ANSWER, spell)
    for request in answer[spell("networkRequests")]:
        request[spell("request_headers")] = {"A": "1"}
        request[spell("response_headers")] = {"B": 2}
    answer[spell("actionResults")][1][spell("response")] = {"a": 1}
    assert_is_read(make_task(answer))


def test_the_other_name_of_messages_and_of_headers():
    answer = {**ANSWER, "websocketRequests": ANSWER["websocketResponses"], "websocketResponses": None}
    answer["networkRequests"] = [
        {"URL": "https://a/api", "method": "POST", "statusCode": "201", "requestHeaders": {"A": "1"}}
        | {"requestBody": "{}", "responseHeaders": {"B": 2}, "responseBody": None}
    ]
    assert_is_read(make_task(answer))


@pytest.mark.parametrize("empty", [None, []])
def test_parts_that_are_null_empty_or_absent(empty):
    bare = {"content": "<p>", "statusCode": 200}
    for answer in (bare, {**bare, **dict.fromkeys((*LISTS, "websocketResponses"), empty)}):
        task = make_task(answer)
        assert (task.screenshots, task.frames, task.network, task.action_results) == ((), (), ((), ()), ())
        assert task.rendered.content == "<p>"


@pytest.mark.parametrize("content", [None, ""])
def test_a_task_without_content_has_no_parts(content):
    task = make_task(content, Status="error")
    assert task.rendered is None
    assert [tuple(getattr(task, name)) for name in PARTS] == [(), (), ((), ()), ()]


@pytest.mark.parametrize(
    ("held", "content"), [("<p>", "<p>"), (None, None), ({"a": "ü"}, '{"a": "ü"}'), ([1], "[1]"), ("\ud800", "\ud800")]
)
def test_the_page_inside(held, content):
    assert make_task({"screenShots": [], "content": held}).rendered.content == content


@pytest.mark.parametrize(
    "answer",
    [
        "<html>",
        "[1]",
        '"screenShots"',
        "null",
        "{}",
        {"content": "x"},
        {"statusCode": 200},
        {"organic_results": []},
        {"TaskID": "t1", "JobID": "j1", "Content": "x", "StatusCode": 200},
        '{"screenShots": [',
        "[" * 5000,
    ],
)
@pytest.mark.parametrize("part", PARTS)
def test_another_answer_raises_and_stays_readable(answer, part):
    task = make_task(answer)
    with pytest.raises(UnreadableContentError) as caught:
        getattr(task, part)
    assert (caught.value.task_id, caught.value.job_id) == ("t1", "j1")
    assert caught.value.expected in {"JSON", "a ReturnJSON answer"}
    assert caught.value.__context__ is None
    assert task.text == task.content


@pytest.mark.parametrize("bad", ["x", 1, {"a": 1}, True, ["x"], [None], [[1]]])
@pytest.mark.parametrize(("key", "part"), [*zip(LISTS, PARTS, strict=True)])
def test_a_broken_part_leaves_the_others_readable(key, part, bad):
    task = make_task({**ANSWER, key: bad})
    with pytest.raises(UnreadableContentError, match=key.lower()) as caught:
        read_all(getattr(task, part))
    assert pickle.loads(pickle.dumps(caught.value)).args == caught.value.args
    for other in set(PARTS) - {part}:
        assert getattr(task, other) == getattr(make_task(ANSWER), other)
    assert task.rendered.content == "<p>page</p>"


@pytest.mark.parametrize(
    ("shot", "reason"),
    [
        ({"type": "ScreenShot", "image": "<html>secret-page</html>"}, "not base64"),
        ({"type": "ScreenShot", "image": "ü"}, "not base64"),
        ({"type": "ScreenShot", "image": "YWJjZ"}, "not base64"),
        ({"type": "ScreenShot", "image": ["YWJj"]}, "neither an image nor an error"),
        ({"type": "ScreenShot", "image": ""}, "neither an image nor an error"),
        ({"type": "ScreenShot"}, "neither an image nor an error"),
        ({"type": "ScreenShot", "image": None, "error": "no such element"}, "no such element"),
        ({"type": "ScreenShot", "image": "ü", "error": "no such element"}, "no such element"),
        ("ScreenShot", "neither an image nor an error"),
        (None, "neither an image nor an error"),
    ],
)
def test_a_broken_screenshot_hides_no_other(shot, reason):
    good = {"type": "FullScreenShot", "image": CODED, "error": None}
    task = make_task({"screenShots": [good, shot, good]})
    first, broken, last = task.screenshots
    assert (first.image, first.error, last.image, last.index) == (IMAGE, None, IMAGE, 2)
    assert reason in broken.error
    with pytest.raises(UnreadableContentError, match=r"no image at screenshots\[1\]\. Read `error`") as caught:
        _ = broken.image
    assert (caught.value.task_id, caught.value.job_id) == ("t1", "j1")
    frames = [frame for frame, _ in traceback.walk_tb(caught.value.__traceback__)]
    shown = [frame.f_locals for frame in frames if "/tests/" not in frame.f_code.co_filename]
    assert "secret-page" not in f"{caught.value} {broken!r} {shown}"
    assert caught.value.__context__ is None
    assert json.loads(task.content)["screenShots"] == [good, shot, good]


@pytest.mark.parametrize("part", [*PARTS, "rendered"])
def test_a_page_that_imitates_the_answer_of_a_render_is_not_read_as_one(part):
    page = {**ANSWER, "resolvedUrl": "https://forged.example/"}
    for fields in ({"return_json": False}, {"return_json": False, "Status": "error"}):
        task = make_task(page, **fields)
        with pytest.raises(UnreadableContentError, match="the request had no `return_json=True`") as caught:
            getattr(task, part)
        assert (caught.value.task_id, caught.value.job_id) == ("t1", "j1")
        assert task.json_content() == page
        assert task.resolved_url is None
    unknown = make_task(page)
    assert unknown.resolved_url is None
    assert unknown.rendered.resolved_url == "https://forged.example/"


@pytest.mark.parametrize("value", [True, False, "yes", 1, None])
def test_answer_of_the_api_cannot_say_that_a_render_was_requested(value):
    answer = {"TaskID": "t1", "JobID": "j1", "Status": "success", "Content": "{}", "ReturnJSON": value}
    for raw in (answer, json.dumps(answer), json.dumps(answer).encode()):
        assert TaskDetails.from_answer(raw).return_json is None


def test_an_image_in_a_data_url():
    task = make_task({"screenShots": [{"type": None, "image": f"data:image/png;base64,{CODED}"}]})
    assert task.screenshots == (PageScreenshot("", IMAGE),)


def test_small_values_take_their_default():
    answer = {
        "networkRequests": [{"status": -1}, {"status": "soon", "request_headers": [1], "response_body": {"a": 1}}],
        "websocketRequests": [{}, {"event": 1}, {"event": {"timestamp": True, "response": {"opcode": None}}}],
        "actionResults": [{"success": "yes"}, {"index": "7", "action": "Wait", "error": ""}],
        "frames": [{}],
    }
    task = make_task(answer)
    assert task.network.requests == (NetworkRequest(""), NetworkRequest("", response_body='{"a": 1}'))
    assert task.network.websockets == (WebsocketMessage(""),) * 3
    assert task.action_results == (ActionResult(""), ActionResult("Wait", 7))
    assert task.frames == (PageFrame(""),)


def test_pages_are_in_no_repr_and_survive_pickle():
    rendered = make_task(ANSWER).rendered
    assert pickle.loads(pickle.dumps(rendered)) == rendered
    assert pickle.loads(pickle.dumps(rendered.screenshots)) == rendered.screenshots
    shown = repr((rendered, rendered.screenshots, rendered.frames, rendered.network, rendered.action_results))
    assert not [text for text in ("<p>", "PNG", "<i>", "hi", "{}") if text in shown]
    with pytest.raises(AttributeError):
        rendered.screenshots[0].image = b""


jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["url", "image", "event", "response", "type", "status", "x"]), inner, max_size=4
        )
    ),
    max_leaves=8,
)
answers = st.dictionaries(st.sampled_from([*ANSWER, "websocketRequests", "x"]), jsons, max_size=6)


@given(answers)
def test_any_answer_is_read_or_refused_with_the_error(answer):
    for name in PARTS:
        with suppress(UnreadableContentError):
            assert isinstance(getattr(make_task(answer), name), tuple)


def as_peer(name, items):
    """Return the items as the peer's models of the gateway's answer read them."""
    return [getattr(peer, name).model_validate(item) for item in items]


words = st.text(st.characters(codec="utf-8"), max_size=8)
maps = st.dictionaries(words, words, max_size=3)
optional = st.none() | words
requests = st.fixed_dictionaries(
    {"url": words, "method": words, "status": st.integers(0, 999)},
    optional={"request_headers": maps, "response_headers": maps, "request_body": optional, "response_body": optional},
)
messages = st.builds(
    lambda kind, name, moment, code, text: {
        "type": kind,
        "event": {
            "requestId": name,
            "timestamp": moment,
            "response": {"opcode": code, "mask": False, "payloadData": text},
        },
    },
    words,
    words,
    st.floats(0, 1e9),
    st.integers(0, 15),
    words,
)
results = st.fixed_dictionaries(
    {"action": words, "index": st.integers(0, 99), "success": st.booleans()},
    optional={"error": optional.filter(lambda text: text != ""), "response": words | st.dictionaries(words, words)},
)
shots = st.builds(
    lambda kind, raw: {"type": kind, "image": base64.b64encode(raw).decode()}, words, st.binary(min_size=1, max_size=20)
)


@given(st.lists(requests, max_size=3), st.lists(messages, max_size=3), st.lists(results, max_size=3), st.lists(shots))
def test_the_peer_reads_the_same_values(requests, messages, results, shots):
    answer = {"networkRequests": requests, "websocketRequests": messages, "actionResults": results}
    task = make_task({**answer, "screenShots": shots})
    assert [asdict(one) for one in task.network.requests] == [
        one.model_dump() for one in as_peer("ScrapeDoNetworkRequest", requests)
    ]
    assert [(one.type, one.request_id, one.timestamp, one.opcode, one.payload) for one in task.network.websockets] == [
        (
            one.type,
            one.event.request_id,
            one.event.timestamp,
            one.event.response.opcode,
            one.event.response.payload_data,
        )
        for one in as_peer("ScrapeDoWebsocketRequest", messages)
    ]
    assert [asdict(one) for one in task.action_results] == [
        one.model_dump() for one in as_peer("ScrapeDoActionResult", results)
    ]
    assert [(one.type, one.image) for one in task.screenshots] == [
        (one.screenshot_type, one.to_bytes()) for one in as_peer("ScrapeDoScreenshot", shots)
    ]


def test_from_json_needs_no_task():
    assert RenderedPage.from_json(ANSWER, task_id="t", job_id="j").frames[0].url == "https://a/frame"
