"""Test that requests to render arrive at the API as they were written: by a real worker, in each form of a call."""

from __future__ import annotations

import pytest

from scrape_do_celery import (
    Click,
    Execute,
    Fill,
    Render,
    ScreenShot,
    ScrollTo,
    ScrollX,
    ScrollY,
    Wait,
    WaitForRequestCompletion,
    WaitSelector,
)

ACTIONS = [
    Click("#more", extra={"Button": 2}),
    Wait(2000),
    WaitSelector("#x", timeout=500),
    ScrollX(100),
    ScrollY(-100),
    ScrollTo("#x"),
    Fill("#q", "käse"),
    Execute("js()"),
    ScreenShot(full=True),
    ScreenShot(particular="#x"),
    WaitForRequestCompletion("*.json", 1000),
]
SENT = {
    "PlayWithBrowser": [
        {"Action": "Click", "Selector": "#more", "Button": 2},
        {"Action": "Wait", "Timeout": 2000},
        {"Action": "WaitSelector", "WaitSelector": "#x", "Timeout": 500},
        {"Action": "ScrollX", "Value": 100},
        {"Action": "ScrollY", "Value": -100},
        {"Action": "ScrollTo", "Selector": "#x"},
        {"Action": "Fill", "Selector": "#q", "Value": "käse"},
        {"Action": "Execute", "Execute": "js()"},
        {"Action": "ScreenShot", "fullScreenShot": True},
        {"Action": "ScreenShot", "particularScreenShot": "#x"},
        {"Action": "WaitForRequestCompletion", "UrlPattern": "*.json", "Timeout": 1000},
    ],
    "ReturnJSON": True,
    "Width": 1920,
}
RENDER = Render(actions=ACTIONS, return_json=True, extra={"Width": 1920})


@pytest.fixture
def working(pipeline):
    pipeline.work()
    return pipeline


def test_each_form_of_a_call_sends_the_same(working):
    targets = ["https://a.example/"]
    as_dict = {"actions": [{"Action": one.action} | one.to_fields() for one in ACTIONS], "return_json": True}
    step = working.steps["scrape_do.scrape"]
    options = {"extra": {"PostalCode": "10115"}, "timeout": 60_000}
    calls = [
        lambda: working.enqueue(targets, render=RENDER, **options),
        lambda: working.enqueue(targets, render={**as_dict, "extra": {"Width": 1920}}, **options),
        lambda: working.handle(working.scrape(targets=targets, render=RENDER, **options).id),
        lambda: working.handle(step.s(targets, render=RENDER, **options).apply_async().id),
    ]
    for call in calls:
        working.sandbox.reset()
        assert call().result(timeout=150).job.is_success
        [posted] = [one for one in working.sandbox.log() if one["kind"] == "create_job"]
        assert posted["options"] == {"Render": SENT, "PostalCode": "10115", "Timeout": 60_000}


def test_models_travel_in_a_canvas(working):
    """A signature that waits in another message is JSON: the first task of the chain publishes it."""
    step = working.steps["scrape_do.scrape"]
    first = step.si(["https://a.example/"])
    chain = first | step.si(["https://b.example/"], render=RENDER)
    assert chain.apply_async().get(timeout=150)["counts"]["succeeded"] == 1
    posted = [one for one in working.sandbox.log() if one["kind"] == "create_job"]
    assert [one["options"].get("Render") for one in posted] == [None, SENT]
