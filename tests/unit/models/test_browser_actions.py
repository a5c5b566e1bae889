"""Test the actions of the browser: their constructors, their dicts, their form on the wire and in records."""

from __future__ import annotations

import copy
import json
import pickle
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.utils.json import dumps, loads
from pydantic import ValidationError
from scrape_do.models import browser_actions as peer

from scrape_do_celery import (
    Click,
    Execute,
    Fill,
    JobCreationRequest,
    Render,
    RenderOptions,
    ScreenShot,
    ScrollTo,
    ScrollX,
    ScrollY,
    Wait,
    WaitForRequestCompletion,
    WaitSelector,
)
from scrape_do_celery.models.browser_actions import ACTION_CLASSES, KeptAction
from scrape_do_celery.models.sendable import KEPT, canonical_json
from scrape_do_celery.store import RunSpec
from tests.unit.models import odd

ACTIONS = [
    (Click("#a"), {"Action": "Click", "Selector": "#a"}),
    (Wait(0), {"Action": "Wait", "Timeout": 0}),
    (WaitSelector("#a"), {"Action": "WaitSelector", "WaitSelector": "#a"}),
    (WaitSelector("#a", timeout=5), {"Action": "WaitSelector", "WaitSelector": "#a", "Timeout": 5}),
    (ScrollX(0), {"Action": "ScrollX", "Value": 0}),
    (ScrollY(-5), {"Action": "ScrollY", "Value": -5}),
    (ScrollTo("#a"), {"Action": "ScrollTo", "Selector": "#a"}),
    (Fill("#q", ""), {"Action": "Fill", "Selector": "#q", "Value": ""}),
    (Execute("1"), {"Action": "Execute", "Execute": "1"}),
    (ScreenShot(), {"Action": "ScreenShot"}),
    (ScreenShot(full=True), {"Action": "ScreenShot", "fullScreenShot": True}),
    (ScreenShot(particular="#x"), {"Action": "ScreenShot", "particularScreenShot": "#x"}),
    (
        WaitForRequestCompletion("*.json", 1000),
        {"Action": "WaitForRequestCompletion", "UrlPattern": "*.json", "Timeout": 1000},
    ),
]
fitting_actions = st.one_of(
    st.builds(Click, st.text("#.a", min_size=1)),
    st.builds(Wait, st.integers(0, 10**9)),
    st.builds(WaitSelector, st.text("#.a", min_size=1), timeout=st.none() | st.integers(0, 10**9)),
    st.builds(ScrollX, st.integers(-(10**9), 10**9)),
    st.builds(ScrollY, st.integers(-(10**9), 10**9)),
    st.builds(ScrollTo, st.text("#.a", min_size=1)),
    st.builds(Fill, st.text("#.a", min_size=1), st.text(st.characters(codec="utf-8"))),
    st.builds(Execute, st.text(st.characters(codec="utf-8"), min_size=1)),
    st.builds(ScreenShot, full=st.none() | st.booleans()),
    st.builds(ScreenShot, particular=st.text("#.a", min_size=1)),
    st.builds(WaitForRequestCompletion, st.text("*a", min_size=1), st.integers(0, 10**9)),
    st.builds(Click, st.just("#a"), extra=st.dictionaries(st.text("XYZ", min_size=1), st.integers(), min_size=1)),
)


def request(*actions: Any) -> JobCreationRequest:
    return JobCreationRequest(targets=["https://a.example/"], render=Render(actions=list(actions), return_json=True))


def refusal(action: Any) -> str:
    with pytest.raises(ValidationError) as error:
        Render(actions=[action])
    return str(error.value)


@pytest.mark.parametrize(("action", "wire"), ACTIONS, ids=lambda one: repr(one)[:40])
def test_constructor_dict_and_wire_are_the_same(action, wire):
    assert action.to_wire() == wire
    assert Render(actions=[wire], return_json=True).play_with_browser == [action]
    assert Render(play_with_browser=[action], return_json=True) == Render(
        actions=[MappingProxyType(wire)], return_json=True
    )
    named = action.model_dump(exclude_none=True)
    assert Render(actions=[named], return_json=True).to_wire() == {"PlayWithBrowser": [wire], "ReturnJSON": True}
    peer_model = getattr(peer, f"{wire['Action']}Action")
    assert peer_model.model_validate(wire).model_dump(mode="json", by_alias=True, exclude_none=True) == wire


def test_there_are_ten_actions():
    assert {wire["Action"] for _, wire in ACTIONS} == set(ACTION_CLASSES)
    assert len(ACTION_CLASSES) == 10


def test_request_reads_well():
    one = request(Click("#more"), Wait(2000))
    assert one.to_wire()["Render"] == {
        "PlayWithBrowser": [{"Action": "Click", "Selector": "#more"}, {"Action": "Wait", "Timeout": 2000}],
        "ReturnJSON": True,
    }
    assert Render is RenderOptions
    assert repr(Click("#more")) == "Click(selector='#more')"
    assert "s3cret" not in repr([Fill("#pw", "s3cret"), Execute("s3cret"), Click("#a", extra={"New": "s3cret"})])
    assert repr(Click("#a", extra={"New": 1})) == "Click(selector='#a', extra=['New'])"


@given(st.lists(fitting_actions, max_size=4))
def test_actions_survive_every_form(actions):
    one = request(*actions)
    assert JobCreationRequest.model_validate(json.loads(json.dumps(one.to_record())), context=KEPT) == one
    record = json.loads(json.dumps(one.to_fields()))
    assert JobCreationRequest.model_validate(record) == one
    assert RunSpec.unpacked(*RunSpec(one).packed()) == RunSpec(one)
    assert one.with_targets(["https://b.example/"]).render == one.render
    assert "null" not in one.canonical()
    assert pickle.loads(pickle.dumps(one)) == one
    assert copy.deepcopy(one) == one
    if record == one.to_wire():
        assert JobCreationRequest.model_validate(one.to_wire()) == one


def test_models_are_json_of_celery():
    render = Render(actions=[Click("#a", extra={"Button": 2})], extra={"Width": 5})
    assert Render.model_validate(loads(dumps({"render": render}))["render"]) == render
    # A whole request would be taken for targets.
    with pytest.raises(TypeError, match="not JSON serializable"):
        dumps({"targets": request()})


@settings(max_examples=300)
@given(st.lists(odd.actions | odd.odd, max_size=2))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_refusal_or_round_trip(actions):
    try:
        render = Render(actions=actions)
    except ValidationError as error:
        shown = str(error)
    else:
        shown = ""
    if shown:
        assert "play_with_browser" in shown
        assert "input_value" not in shown
        return
    assert Render.model_validate(json.loads(json.dumps(render.to_fields()))) == render
    assert all(None not in action.values() for action in render.to_wire()["PlayWithBrowser"])


@pytest.mark.parametrize(
    ("action", "fault"),
    [
        ({}, "has no Action; the actions are Click, Wait"),
        ({"Action": 1}, "has no Action"),
        ({"Action": "click", "Selector": "s3cret"}, "no such Action; did you mean Click?"),
        ({"Action": "zzzz"}, "no such Action ["),
        ({"Action": "Click", "Selector": ""}, "play_with_browser.0.Click.selector"),
        ({"Action": "Click"}, "Click.selector\n  Field required"),
        ({"Action": "Click", "Selector": 5}, "Click.selector\n  Value error, selector must be text (str), not int"),
        (
            {"Action": "Click", "Selectors": "s3cret"},
            "Click\n  Value error, no field 'Selectors'; did you mean Selector?",
        ),
        ({"Action": "ScreenShot", "FullScreenshot": True}, "did you mean fullScreenShot?"),
        ({"Action": "WaitForRequestCompletion", "URLPattern": "*", "Timeout": 1}, "did you mean UrlPattern?"),
        ({"Action": "Wait", "Timeout": "soon"}, "Wait.timeout\n  Input should be a valid integer"),
        ({"Action": "Wait", "Timeout": True}, "timeout must be a whole number, not True"),
        ({"Action": "Wait", "Timeout": 1.5}, "Wait.timeout"),
        ({"Action": "Wait", "Timeout": None}, "Wait.timeout"),
        ({"Action": "ScrollX", "Value": 10**400}, "value is too large for a JSON number"),
        ({"Action": "Fill", "Selector": "#a"}, "Fill.value\n  Field required"),
        ({"Action": "Fill", "Selector": "#a", "Value": 5}, "value must be text (str), not int"),
        ({"Action": "Execute", "Execute": ""}, "Execute.execute"),
        ({"Action": "WaitForRequestCompletion"}, "WaitForRequestCompletion.timeout"),
        ("Click", "must be an action such as Click('#more'), or its dict; not str"),
        (None, "not NoneType"),
    ],
)
def test_bad_action_is_refused_by_its_place_and_field(action, fault):
    text = refusal(action)
    assert fault in text
    assert "play_with_browser.0" in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    "make",
    [
        lambda: Click(""),
        lambda: Wait("soon"),
        lambda: ScrollTo(5),
        lambda: Fill("#a", None),
        lambda: ScreenShot(full="perhaps"),
        lambda: Click("#a", extra={"Selector": "#b"}),
    ],
)
def test_constructors_check_their_values(make):
    with pytest.raises(ValidationError):
        make()


@pytest.mark.parametrize("actions", [{"Action": "Wait", "Timeout": 5}, "Click", 5, {1, 2}])
def test_actions_are_a_list(actions):
    with pytest.raises(ValidationError, match="play_with_browser must be a list of actions"):
        Render(actions=actions)


def test_actions_are_the_field_play_with_browser():
    assert Render.model_validate({"actions": [Wait(5)]}) == Render(play_with_browser=[Wait(5)])
    for other in ("play_with_browser", "PlayWithBrowser"):
        with pytest.raises(ValidationError, match="actions and play_with_browser are the same field"):
            Render.model_validate({"actions": [], other: []})
    with pytest.raises(ValidationError, match="no field 'action'; did you mean actions"):
        Render.model_validate({"action": []})


def test_action_changed_in_place_is_checked_again():
    with pytest.raises(ValidationError, match=r"Wait\.timeout"):
        Render(actions=[Wait(5).model_copy(update={"timeout": "soon"})])
    with pytest.raises(ValidationError, match="frozen"):
        Wait(5).timeout = 6


def test_record_of_an_older_version_is_sent_as_it_is():
    older = [
        {"Action": "Wait", "Timeout": "soon"},
        {"Action": "Click", "Selector": "#a", "Odd": None},
        {"Action": "Fly"},
        {},
        {"Action": "Wait", "Timeout": "5"},
        {"Action": "Wait", "Timeout": 5.0},
        {"action": "Click", "selector": "#a"},
        {"Action": "WaitSelector", "WaitSelector": "#a", "Timeout": None},
        {"Action": "ScreenShot", "fullScreenShot": "true"},
        {"Action": "Click", "Selector": "#a", "extra": {"Button": 2}},
        {"Action": "Click", "Selector": "#a"},
    ]
    record = {"Targets": ["https://a.example/"], "Render": {"PlayWithBrowser": older}}
    kept = JobCreationRequest.model_validate(record, context=KEPT)
    assert kept.canonical() == canonical_json(record)
    assert [type(kept.render.play_with_browser[at]) for at in (0, -1)] == [KeptAction, Click]
    assert RunSpec.unpacked(*RunSpec(kept).packed()).request == kept
    assert repr(kept.render.play_with_browser[0]) == "KeptAction(keys=['Action', 'Timeout'])"
    assert JobCreationRequest.model_validate(kept, context=KEPT) == kept
    # A new purchase of the same request is checked.
    with pytest.raises(ValidationError, match=r"Wait\.timeout"):
        kept.with_targets(["https://b.example/"])
    with pytest.raises(ValidationError, match="must be an action"):
        Render.model_validate({"actions": [5]}, context=KEPT)
