"""Test each rule about requests in which this package may differ from the peer SDK, with the reason for ours.

Structure is refused: a wrong JSON type, a missing or unknown field, a word that no official text lists. A bound, or a
rule across fields, gives a warning if only the peer has it and nothing proves it on the server.
"""

from __future__ import annotations

import json
import warnings
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError
from scrape_do.async_api import models as peer

from scrape_do_celery.models import JobCreationRequest, Plugin, RequestWarning

URL = "https://shop.example/p/1"
ONLY_THE_PEERS = "only the peer has this rule"
NO_BOUNDS = "the vendor names bounds without figures; the figures are the peer's"
SAMPLE = "the vendor's own sample body has both"
ONLY_IN_JSON = "screenshots are in no answer but that with return_json"
STRUCTURE = "a wrong JSON type can never be meant"
UNKNOWN = "a misspelt field would be dropped, and the job would cost its price without it"
WORDS = "the official texts list these words"


class Rule(NamedTuple):
    """A rule, by a request that breaks it."""

    name: str
    options: dict[str, Any]
    #: refuse, warn or accept
    ours: str = "warn"
    #: refuse or accept
    peers: str = "refuse"
    reason: str = ONLY_THE_PEERS


def play(*actions: Any) -> dict[str, Any]:
    return {"render": {"play_with_browser": list(actions)}}


def render(**options: Any) -> dict[str, Any]:
    return {"render": options}


PARAMS = {"asin": "B0", "geocode": "us", "zipcode": "10001"}
PLUGIN = {"key": "amazon/pdp", "params": [PARAMS]}
SHOT = {"Action": "ScreenShot", "fullScreenShot": True, "particularScreenShot": "#a"}
RULES = [
    # Structure
    Rule("targets or plugin", {"targets": None}, "refuse", "refuse", "a job without inputs has no meaning"),
    Rule(
        "not both of them",
        {"plugin": {"key": "shein", "params": [{"url": "https://shein.com/a"}]}},
        "refuse",
        "refuse",
        "a job has one kind of input",
    ),
    Rule("at least one target", {"targets": []}, "refuse", "accept", "an empty job is a fault of the caller"),
    Rule("at most 1,000 targets", {"targets": [URL] * 1001}, "accept", "accept", "a run is split into jobs of 1,000"),
    Rule("targets are URLs", {"targets": ["shop.example"]}, "refuse", "refuse", "the API scrapes http and https only"),
    Rule("long URLs", {"targets": [URL + "a" * 2083]}, "accept", "refuse", "no official text limits the length"),
    Rule("an unknown field", {"geocode": "us"}, "refuse", "accept", UNKNOWN),
    Rule("an unknown option of render", render(width=5), "refuse", "accept", UNKNOWN),
    Rule(
        "an unknown key of an action",
        play({"Action": "Wait", "Timeout": 5, "Selectors": "#a"}),
        "refuse",
        "accept",
        UNKNOWN,
    ),
    Rule("an unknown action", play({"Action": "Clicks", "Selector": "#a"}), "refuse", "refuse", WORDS),
    Rule("an action without its field", play({"Action": "Click"}), "refuse", "refuse", "a required field is missing"),
    Rule(
        "an empty selector", play({"Action": "Click", "Selector": ""}), "refuse", "refuse", "no CSS selector is empty"
    ),
    Rule("an action's timeout is a number", play({"Action": "Wait", "Timeout": "soon"}), "refuse", "refuse", STRUCTURE),
    Rule("an action is an object", play("Click"), "refuse", "refuse", STRUCTURE),
    Rule("times are whole numbers", {"timeout": 6000.5}, "refuse", "refuse", STRUCTURE),
    Rule("a number may be a text of digits", {"timeout": "6000"}, "accept", "accept", "both send the number"),
    Rule(
        "also in an action",
        render(
            play_with_browser=[{"Action": "Wait", "Timeout": "5"}, {"Action": "ScreenShot", "fullScreenShot": "true"}],
            return_json=True,
        ),
        "accept",
        "accept",
        "both send the number and the flag",
    ),
    Rule("times are no flags", {"render": {"custom_wait": True}}, "refuse", "accept", STRUCTURE),
    Rule("render is an object", {"render": True}, "refuse", "refuse", STRUCTURE),
    Rule("a header is a text", {"headers": {"a": 1}}, "refuse", "refuse", STRUCTURE),
    Rule("a header holds no line end", {"headers": {"a": "1\r\nb: 2"}}, "refuse", "accept", "no server can send it"),
    Rule("methods", {"method": "get"}, "refuse", "refuse", WORDS),
    Rule("devices", {"device": "watch"}, "refuse", "refuse", WORDS),
    Rule("outputs", {"output": "html"}, "refuse", "refuse", WORDS),
    Rule("events of a page", render(wait_until="loaded"), "refuse", "refuse", WORDS),
    Rule("the event load", render(wait_until="load"), "accept", "accept", "the vendor's node client has it"),
    Rule("regions", {"regional_geo_code": "asia", "super": True}, "accept", "refuse", "official words"),
    Rule("no fused regions", {"regional_geo_code": "asiaafricaoceania", "super": True}, "refuse", "accept", WORDS),
    Rule("a region needs super", {"regional_geo_code": "europe"}, "refuse", "refuse", "official page of regions"),
    Rule("a country has two letters", {"geo_code": "usa"}, "refuse", "refuse", WORDS),
    Rule("countries by pool", {"geo_code": "mx"}, "accept", "refuse", "the official lists do not name the pools"),
    Rule("a webhook is a URL", {"webhook_url": "hooks.example"}, "refuse", "refuse", "the API calls URLs"),
    # Bounds
    Rule("timeout from 5,000", {"timeout": 4999}, reason=NO_BOUNDS),
    Rule("timeout to 120,000", {"timeout": 120_001}, reason=NO_BOUNDS),
    Rule("retry_timeout from 5,000", {"retry_timeout": 4999}, reason=NO_BOUNDS),
    Rule("retry_timeout to 55,000", {"retry_timeout": 55_001}, reason=NO_BOUNDS),
    Rule("custom_wait from 0", render(custom_wait=-1)),
    Rule("custom_wait to 35,000", render(custom_wait=35_001)),
    Rule("session_id from 0", {"session_id": -1}),
    Rule("session_id to 1,000,000", {"session_id": 1_000_001}),
    Rule("Wait from 0", play({"Action": "Wait", "Timeout": -1})),
    Rule("WaitSelector from 0", play({"Action": "WaitSelector", "WaitSelector": "#a", "Timeout": -1})),
    Rule(
        "WaitForRequestCompletion from 0",
        play({"Action": "WaitForRequestCompletion", "UrlPattern": "*", "Timeout": -1}),
    ),
    # Rules across fields
    Rule("headers and set_cookies", {"headers": {"a": "b"}, "set_cookies": "c=d"}, reason=SAMPLE),
    Rule("render and retry_timeout", {"render": {}, "retry_timeout": 6000}, reason=SAMPLE),
    Rule("geo_code and a region", {"geo_code": "us", "regional_geo_code": "europe", "super": True}, reason=SAMPLE),
    Rule(
        "geo_code and a parameter set's",
        {"targets": None, "plugin": {"key": "amazon/pdp", "params": [PARAMS]}, "geo_code": "us"},
    ),
    Rule("one screenshot", render(screenshot=True, full_screenshot=True, return_json=True)),
    Rule("an element or a page", render(full_screenshot=True, particular_screenshot="#a", return_json=True)),
    Rule("screenshot and block_resources", render(screenshot=True, return_json=True, block_resources=True)),
    Rule("full_screenshot and block_resources", render(full_screenshot=True, return_json=True, block_resources=True)),
    Rule(
        "particular_screenshot and block_resources",
        render(particular_screenshot="#a", return_json=True, block_resources=True),
    ),
    Rule(
        "actions and block_resources",
        render(play_with_browser=[{"Action": "Wait", "Timeout": 5}], block_resources=True),
        "warn",
        "accept",
        "the peer's text says it, and its code does not",
    ),
    Rule("screenshot needs return_json", render(screenshot=True)),
    Rule("full_screenshot needs return_json", render(full_screenshot=True)),
    Rule("particular_screenshot needs return_json", render(particular_screenshot="#a")),
    Rule("show_frames needs return_json", render(show_frames=True)),
    Rule("show_websocket_requests needs return_json", render(show_websocket_requests=True)),
    Rule(
        "particular_screenshot and actions", render(particular_screenshot="#a", play_with_browser=[], return_json=True)
    ),
    Rule("the ScreenShot action takes one", render(play_with_browser=[SHOT], return_json=True)),
    Rule("ScreenShot needs return_json", play({"Action": "ScreenShot"}), "warn", "accept", ONLY_IN_JSON),
    Rule(
        "ScreenShot of a page needs return_json",
        play({"Action": "ScreenShot", "fullScreenShot": True}),
        "warn",
        "accept",
        ONLY_IN_JSON,
    ),
    Rule(
        "ScreenShot of an element needs return_json",
        play({"Action": "ScreenShot", "particularScreenShot": "#a"}),
        "warn",
        "accept",
        ONLY_IN_JSON,
    ),
    Rule(
        "Execute changes the page",
        play({"Action": "Execute", "Execute": "document.title = 'a'"}),
        "accept",
        "accept",
        "the action has an effect beside its value, which only the answer with return_json has",
    ),
    Rule("a body without POST", {"body": "a"}, "warn", "accept", "most servers ignore it; the vendor's sample has it"),
]


def judge(model: Any, options: dict[str, Any]) -> tuple[str, list[str]]:
    """Return what a model does with a request, and its warnings."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        try:
            model.model_validate({"targets": [URL], **options})
        except ValidationError:
            return "refuse", []
    assert all(one.filename == __file__ and one.category is RequestWarning for one in said)
    return ("warn" if said else "accept"), [str(one.message) for one in said]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule(rule):
    assert judge(peer.JobCreationRequest, rule.options)[0] == rule.peers
    verdict, said = judge(JobCreationRequest, rule.options)
    assert verdict == rule.ours
    assert len(said) == (verdict == "warn")
    if verdict == "warn":
        # The text names a field of the request, and says what the API does and what to change.
        inner = rule.options | (rule.options.get("render") or {})
        names = [*inner, *(one["Action"] for one in inner.get("play_with_browser", ()))]
        assert said[0].startswith((*names, "actions"))
        assert "API probably" in said[0] or "most servers" in said[0]


@pytest.mark.parametrize("rule", [rule for rule in RULES if rule.ours == "warn"], ids=lambda rule: rule.name)
def test_questionable_request_is_sent_as_it_is(rule):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        request = JobCreationRequest.model_validate({"targets": [URL], **rule.options})
    sent = json.dumps(request.to_wire())
    for value in rule.options.values():
        if isinstance(value, int | str):
            assert json.dumps(value) in sent
    assert JobCreationRequest.model_validate(request.to_fields(), context={"said": True}) == request


@pytest.mark.parametrize(
    ("options", "change"),
    [
        (render(screenshot=True, full_screenshot=True, return_json=True, block_resources=True), "block_resources"),
        (
            render(full_screenshot=True, play_with_browser=[SHOT], return_json=True, block_resources=True),
            "block_resources",
        ),
        (render(particular_screenshot="#a", play_with_browser=[{"Action": "Wait", "Timeout": 5}]), "ScreenShot"),
        (
            render(particular_screenshot="#a", full_screenshot=True, play_with_browser=[], return_json=True),
            "ScreenShot",
        ),
        (render(screenshot=True, play_with_browser=[{"Action": "ScreenShot"}] * 2), "set return_json"),
        ({"render": {}, "retry_timeout": 1}, "leave it out"),
        (
            {"geo_code": "us", "regional_geo_code": "europe", "super": True, "targets": None, "plugin": PLUGIN},
            "keep one",
        ),
    ],
)
def test_one_change_is_asked_for_once(options, change):
    verdict, said = judge(JobCreationRequest, options)
    assert verdict == "warn"
    assert len([text for text in said if change in text and not text.startswith("ScreenShot")]) == 1
    changes = [text.rpartition("; ")[2] for text in said]
    assert len(set(changes)) == len(changes)


def test_an_unknown_plugin_is_said_once_for_each_key_and_line():
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("default")
        for key in ("new/a", "new/b", "new/a", "new/b"):
            Plugin(key, [{"q": "a"}])
        for _ in range(3):
            JobCreationRequest.model_validate({"plugin": {"key": "new/a", "params": [{}]}})
    assert [str(one.message).partition(":")[0] for one in said] == [
        "plugin.key='new/a'",
        "plugin.key='new/b'",
        "plugin.key='new/a'",
    ]
    assert all("warnings.filterwarnings('ignore', 'plugin.key') silences this" in str(one.message) for one in said)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "plugin.key")
        Plugin("new/a", [{}])
    assert said == []


def test_each_difference_has_a_reason():
    assert all(rule.reason for rule in RULES)
    assert len({rule.name for rule in RULES}) == len(RULES)
