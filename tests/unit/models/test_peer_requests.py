"""Compare generated requests with the peer SDK's: equal JSON, or a difference that a table of rules names.

The tables are in `test_request_rules.py` and `test_plugin_rules.py`.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from pydantic import ValidationError
from scrape_do.async_api import models as peer

from scrape_do_celery.models import JobCreationRequest
from tests.support.peer_plugins import KEYS, wire_example
from tests.unit.models.test_request_rules import RULES, judge

# `judge` reads the warnings.
pytestmark = pytest.mark.filterwarnings("ignore::scrape_do_celery.RequestWarning")

COUNT = 2_500
URL = "https://shop.example/p/1"
#: All ten actions of the browser.
ACTIONS: list[dict[str, Any]] = [
    {"Action": "Click", "Selector": "#more"},
    {"Action": "Wait", "Timeout": 2_000},
    {"Action": "WaitSelector", "WaitSelector": "#list", "Timeout": 5_000},
    {"Action": "ScrollX", "Value": 100},
    {"Action": "ScrollY", "Value": -100},
    {"Action": "ScrollTo", "Selector": "#end"},
    {"Action": "Fill", "Selector": "#q", "Value": ""},
    {"Action": "Execute", "Execute": "document.title"},
    {"Action": "ScreenShot", "fullScreenShot": True},
    {"Action": "WaitForRequestCompletion", "UrlPattern": "*/api/*", "Timeout": 1_000},
]
#: Values that no rule names. Rules across fields may still apply, so those fields have the values of the tables.
RENDER: dict[str, list[Any]] = {
    "block_resources": [True, False, None],
    "wait_until": ["domcontentloaded", "networkidle0", "networkidle2", "load"],
    "custom_wait": [0, 1_500, 35_000],
    "wait_selector": ["#list", "ü"],
    "return_json": [True, True, False],
    "show_websocket_requests": [True, False],
    "show_frames": [True, False],
    "screenshot": [True, False],
    "full_screenshot": [True, False],
    "particular_screenshot": ["#a", None],
}
OPTIONS: dict[str, list[Any]] = {
    "method": ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"],
    "headers": [{"a": "b"}, {}, None],
    "forward_headers": [True, False],
    "set_cookies": ["c=d", None],
    "geo_code": ["us", None],
    "regional_geo_code": ["europe", None],
    "super": [True, True, False],
    "session_id": [0, 42, 1_000_000],
    "device": ["desktop", "mobile", "tablet"],
    "timeout": [5_000, 120_000],
    "retry_timeout": [6_000],
    "disable_retry": [True, False],
    "transparent_response": [True, False],
    "disable_redirection": [True, False],
    "output": ["raw", "markdown"],
    "webhook_url": ["https://hooks.example/x"],
    "webhook_headers": [{"Authorization": "Bearer k"}],
}


def choose(pick: random.Random, fields: dict[str, list[Any]], most: int) -> dict[str, Any]:
    return {name: pick.choice(fields[name]) for name in pick.sample(sorted(fields), pick.randint(0, most))}


def generate(pick: random.Random) -> dict[str, Any]:
    """Return the options of a request for targets or a plugin. Half of those for targets break a rule of the table."""
    options: dict[str, Any] = {"targets": [f"{URL}?{n}" for n in range(pick.randint(1, 3))]}
    if pick.random() < 0.3:
        key = pick.choice(KEYS)
        options = {"plugin": {"key": key, "params": [wire_example(key)] * pick.randint(1, 2)}}
    options |= choose(pick, OPTIONS, 5)
    if pick.random() < 0.5:
        options["render"] = choose(pick, RENDER, 5)
        if pick.random() < 0.5:
            options["render"]["play_with_browser"] = pick.sample(ACTIONS, pick.randint(1, 4))
    if "targets" in options and pick.random() < 0.5:
        return merge(options, pick.choice(RULES).options)
    return options


def merge(options: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: merge(options[name], value) if isinstance(value, dict) and isinstance(options.get(name), dict) else value
        for name, value in changes.items()
        if name != "targets" or value is not None
    }
    return options | both if "plugin" not in both else {**options, **both, "targets": None}


def has(given: Any, wanted: Any) -> bool:
    """Return whether a request has all that breaks a rule."""
    if isinstance(wanted, dict):
        return isinstance(given, dict) and all(name in given and has(given[name], wanted[name]) for name in wanted)
    if isinstance(wanted, list) and isinstance(given, list) and wanted and isinstance(wanted[0], dict):
        return all(one in given for one in wanted)
    return bool(given == wanted) or (wanted == [] and isinstance(given, list))


def broken_rules(options: dict[str, Any], ours: str, peers: str) -> list[str]:
    """Return the rules of the table that explain a difference."""
    return [
        rule.name
        for rule in RULES
        if (rule.ours, rule.peers) == (ours, peers) and has(options, wanted_options(rule.options))
    ]


def wanted_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return what of a rule's request breaks the rule. No rule of the peer about actions looks at `return_json`."""
    wanted = {k: v for k, v in options.items() if k != "targets" or v is not None}
    if "play_with_browser" in (wanted.get("render") or {}):
        wanted["render"] = {k: v for k, v in wanted["render"].items() if k != "return_json"}
    return wanted


def wire_of(model: Any, options: dict[str, Any]) -> Any:
    return model.model_validate(options).model_dump(mode="json", by_alias=True, exclude_none=True)


def test_generated_requests_are_equal_or_differ_by_a_rule_of_the_table():
    pick, seen = random.Random(17), Counter[tuple[str, str]]()
    for _ in range(COUNT):
        options = generate(pick)
        theirs, (mine, _) = judge(peer.JobCreationRequest, options)[0], judge(JobCreationRequest, options)
        seen[mine, theirs] += 1
        if "refuse" not in {mine, theirs}:
            assert JobCreationRequest.model_validate(options).to_wire() == wire_of(peer.JobCreationRequest, options)
        elif mine == "refuse":
            assert theirs == "refuse" or broken_rules(options, "refuse", "accept"), options
        else:
            explained = broken_rules(options, "accept", "refuse") + broken_rules(options, "warn", "refuse")
            assert explained, options
    print(f"{COUNT:,} requests (ours, the peer's): {dict(seen)}")  # noqa: T201
    assert seen["accept", "accept"] >= COUNT // 4
    assert all(seen[pair] > 50 for pair in (("warn", "refuse"), ("refuse", "refuse"), ("refuse", "accept")))


def test_objects_of_the_peer_are_taken():
    pick, taken = random.Random(18), 0
    for _ in range(500):
        options = generate(pick)
        try:
            theirs = peer.JobCreationRequest.model_validate(options)
        except ValidationError:
            continue
        try:
            mine = JobCreationRequest.model_validate(options)
        except ValidationError:
            continue
        taken += 1
        assert JobCreationRequest.model_validate(theirs) == mine
    assert taken > 100
