"""Test requests: their validation, their form on the wire, and their comparison."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scrape_do_celery.models import MAX_TARGETS_PER_JOB, JobCreationRequest, PluginRequest, RenderOptions

URL = "https://shop.example/p/1"
# Rules that hold for any plugin are tested with a plugin that no version knows.
pytestmark = pytest.mark.filterwarnings("ignore:plugin.key")


def request(**options: Any) -> JobCreationRequest:
    return JobCreationRequest.model_validate({"targets": [URL], **options})


def refusal(**options: Any) -> str:
    with pytest.raises(ValidationError) as error:
        request(**options)
    return str(error.value)


FULL = {
    "targets": [URL],
    "method": "POST",
    "body": "{}",
    "headers": {"Accept": "text/html"},
    "forward_headers": True,
    "geo_code": "US",
    "super": True,
    "session_id": 42,
    "device": "mobile",
    "timeout": 5000,
    "retry_timeout": 55000,
    "disable_retry": True,
    "transparent_response": False,
    "disable_redirection": True,
    "output": "markdown",
    "webhook_url": "https://hooks.example/scrape",
    "webhook_headers": {"Authorization": "Bearer k1"},
}
FULL_WIRE = {
    "Targets": [URL],
    "Method": "POST",
    "Body": "{}",
    "Headers": {"Accept": "text/html"},
    "ForwardHeaders": True,
    "GeoCode": "us",
    "Super": True,
    "SessionID": "42",
    "Device": "mobile",
    "Timeout": 5000,
    "RetryTimeout": 55000,
    "DisableRetry": True,
    "TransparentResponse": False,
    "DisableRedirection": True,
    "Output": "markdown",
    "WebhookURL": "https://hooks.example/scrape",
    "WebhookHeaders": {"Authorization": "Bearer k1"},
}
RENDER = {
    "block_resources": False,
    "wait_until": "networkidle2",
    "custom_wait": 1500,
    "wait_selector": "#x",
    "play_with_browser": [{"Action": "Click", "Selector": "#more"}],
    "return_json": True,
    "show_websocket_requests": True,
    "show_frames": True,
    "full_screenshot": True,
}
RENDER_WIRE = {
    "BlockResources": False,
    "WaitUntil": "networkidle2",
    "CustomWait": 1500,
    "WaitSelector": "#x",
    "PlayWithBrowser": [{"Action": "Click", "Selector": "#more"}],
    "ReturnJSON": True,
    "ShowWebsocketRequests": True,
    "ShowFrames": True,
    "FullScreenshot": True,
}


def test_wire():
    assert request(**FULL).to_wire() == FULL_WIRE
    assert request(render=RENDER).to_wire() == {"Targets": [URL], "Render": RENDER_WIRE}
    assert request(render=RenderOptions()).to_wire() == {"Targets": [URL], "Render": {}}
    assert request(method=None).to_wire() == {"Targets": [URL]}
    for name in ("screenshot", "particular_screenshot"):
        value = True if name == "screenshot" else "#a"
        assert RenderOptions.model_validate({name: value, "return_json": True}).to_wire()["ReturnJSON"] is True


def test_wire_names_are_accepted_and_round_trip():
    assert JobCreationRequest.model_validate(FULL_WIRE) == request(**FULL)
    assert JobCreationRequest.model_validate({"Targets": [URL], "Render": RENDER_WIRE}) == request(render=RENDER)
    assert request(**FULL).model_validate_json(request(**FULL).canonical()) == request(**FULL)


def test_plugin():
    params = [{"asin": "B0", "geocode": "us", "super": None}]
    plugin = JobCreationRequest(plugin=PluginRequest(key="k", params=params))
    assert plugin.to_wire() == {"Plugin": {"Key": "k", "Params": params}}
    assert JobCreationRequest.model_validate(plugin.to_wire()) == plugin
    assert plugin.plugin.to_wire() == plugin.to_wire()["Plugin"]
    assert (plugin.size, plugin.estimated_credits()) == (1, 1)
    assert "params" in refusal(targets=None, plugin={"key": "k", "params": []})
    assert "key" in refusal(targets=None, plugin={"key": "", "params": [{}]})
    assert "JSON cannot write" in refusal(targets=None, plugin={"key": "k", "params": [{"a": float("nan")}]})
    assert "did you mean params" in refusal(targets=None, plugin={"key": "k", "param": [{}]})


@pytest.mark.parametrize(
    "url",
    [
        "http://a",
        "HTTPS://EXAMPLE.com:443/a/../b?x=ü#frag",
        "https://user:pw@xn--bcher-kva.example/",
        "http://[::1]:8080/",
        "http://bücher.example/ä",
        "http://a/" + "b" * 10_000,
    ],
)
def test_targets_are_kept_exactly(url):
    assert request(targets=[url]).to_wire()["Targets"] == [url]
    assert request(webhook_url=url).webhook_url == url


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("shop.example/p", "absolute http or https"),
        ("/p/1", "absolute http or https"),
        ("ftp://shop.example/", "absolute http or https"),
        ("javascript:alert(1)", "absolute http or https"),
        ("", "absolute http or https"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://:80/", "no host"),
        ("http://a/b c", "whitespace"),
        (" http://a/", "whitespace"),
        ("http://a/\n", "whitespace"),
        ("http://a/\x00", "control"),
        ("http://a/\u2028", "whitespace"),
        ("http://a:99999/", "not a number from 1 to 65535"),
        ("http://[::1", "not an IPv6 address"),
    ],
)
def test_bad_targets_are_named_by_place(url, fault):
    text = refusal(targets=[URL, url])
    assert "targets[1]" in text
    assert fault in text
    assert len(url) < 8 or url not in text
    assert fault in refusal(webhook_url=url)


def test_many_bad_targets_are_not_all_named():
    text = refusal(targets=["x"] * 9)
    assert "targets[4]" in text
    assert "targets[5]" not in text
    assert "and 4 more" in text


@pytest.mark.parametrize(
    ("targets", "fault"),
    [
        (URL, "must be a list of URLs, not one string"),
        (URL.encode(), "must be a list of URLs, not one string"),
        ({URL}, "because their order counts"),
        ({URL: 1}, "must be a list of URLs, not one dict; write [{...}]"),
        ([], "at least one URL"),
        (frozenset([URL]), "because their order counts"),
        ({URL: 1}.keys(), "because their order counts"),
        ([URL, 5], "targets[1] must be text (str), not int"),
        ([URL, None], "targets[1] must be text (str), not NoneType"),
        ([URL, URL.encode()], "targets[1] must be text (str), not bytes: decode"),
        ([URL, URL + "\ud800"], "targets[1] holds a lone surrogate at position 24"),
        (7, "must be a list of URLs, not one int"),
    ],
)
def test_targets_must_be_a_list(targets, fault):
    text = refusal(targets=targets)
    assert fault in text
    assert URL not in text


@pytest.mark.parametrize("targets", [URL, URL.encode(), {URL}, {URL: 1}, 7, None, []])
def test_every_door_refuses_the_same_targets_with_the_same_words(targets):
    with pytest.raises(ValidationError) as error:
        request(session_id=1).with_targets(targets)
    assert str(error.value) == refusal(targets=targets, session_id=1)


def test_any_iterable_with_an_order_will_do():
    assert request(targets=(URL, URL)).targets == [URL, URL]
    assert request(targets=(url for url in [URL])).targets == [URL]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"regional_geo_code": "asia"}, "needs super"),
        ({"regional_geo_code": "asia", "super": False}, "needs super"),
        ({"plugin": {"key": "k", "params": [{}]}}, "exactly one of targets and plugin"),
        ({"targets": None}, "exactly one of targets and plugin"),
        ({"render": {"wait_until": "loaded"}}, "render.wait_until"),
        ({"render": True}, "render"),
        ({"method": "get"}, "method"),
        ({"device": "Desktop"}, "device"),
        ({"output": "html"}, "output"),
        ({"regional_geo_code": "asiaafricaoceania", "super": True}, "regional_geo_code"),
        ({"geo_code": "usa"}, "geo_code"),
        ({"geo_code": "u1"}, "geo_code"),
        ({"geo_code": "üß"}, "geo_code"),
        ({"headers": {"a": None}}, "headers: the value of 'a' must be text (str), not NoneType"),
        ({"webhook_headers": "s3cret"}, "webhook_headers"),
    ],
)
def test_refusals_name_the_field_and_hold_no_input(options, named):
    text = refusal(**options)
    assert named in text
    assert "s3cret" not in text
    assert "input_value" not in text


SURROGATE = "s3cret\udc80"


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"timeout": "soon"}, "timeout"),
        ({"timeout": 6000.5}, "timeout"),
        ({"timeout": 10**400}, "timeout is too large for a JSON number"),
        ({"timeout": True}, "timeout must be a whole number, not True"),
        ({"retry_timeout": False}, "retry_timeout must be a whole number"),
        ({"session_id": True}, "session_id must be a whole number"),
        ({"render": {"custom_wait": True}}, "custom_wait must be a whole number"),
        *(({name: SURROGATE}, f"{name} holds a lone surrogate at position 6") for name in ("body", "set_cookies")),
        *(({name: SURROGATE}, f"{name} holds a lone surrogate") for name in ("webhook_url", "geo_code")),
        *(({name: b"s3cret"}, f"{name} must be text (str), not bytes: decode") for name in ("body", "set_cookies")),
        *(({name: bytearray(b"us")}, f"{name} must be text (str), not byte") for name in ("webhook_url", "geo_code")),
        *(
            ({name: {"X-A": SURROGATE}}, f"{name}: the value of 'X-A' holds a lone surrogate at position 6")
            for name in ("headers", "webhook_headers")
        ),
        *(({"render": {name: SURROGATE}}, name) for name in ("wait_selector", "particular_screenshot")),
        ({"render": {"actions": [{"Action": SURROGATE}]}}, "play_with_browser.0\n  Value error, no such Action"),
        (
            {"render": {"actions": [{"Action": "Click", "Selector": SURROGATE}]}},
            "Click.selector\n  Value",
        ),
        ({"render": {"actions": [{"Action": "Click", "\udc80": 1}]}}, "Click\n  Value error, no field"),
        ({"render": {"actions": {"Action": "Wait"}}}, "play_with_browser must be a list of"),
        ({"targets": None, "plugin": {"key": SURROGATE, "params": [{}]}}, "key holds a lone surrogate"),
        ({"webhook_url": "hooks.example"}, "webhook_url is not an absolute"),
    ],
)
def test_unsendable_value_is_refused_at_once(options, named):
    text = refusal(**options)
    assert named in text
    assert "s3cret" not in text


@pytest.mark.parametrize(
    ("params", "named"),
    [
        ([{"a": [SURROGATE]}], "params[0]['a'][0] holds a lone surrogate at position 6"),
        ([{}, {"a\udc80": 1}], "params[1]: the key 'a\\udc80' holds a lone surrogate at position 1"),
        ([{"a": {1: 2}}], "params[0]['a']: the key int must be text"),
        ([{b"a": 1}], "params[0]: the key bytes must be text"),
        ([{"a": float("inf")}], "params[0]['a'] is a number that JSON cannot write"),
        ([{"a": 10**400}], "params[0]['a'] is too large"),
        ([{"a": (1,)}], "params[0]['a'] is of type tuple, which JSON cannot write"),
        ([{"a": {1}}], "params[0]['a'] is of type set"),
        ([{"a" * 99: b"x"}], "params[0]['" + "a" * 59 + "...] is of type bytes"),
        (["a"], "plugin.params.0"),
        ({"a": 1}, "params must be a list of parameter sets, not"),
        ("a", "params must be a list of parameter sets, not one string"),
    ],
)
def test_value_without_json_form_is_named_by_position(params, named):
    assert named in refusal(targets=None, plugin={"key": "k", "params": params})


def test_params_that_hold_themselves_are_refused():
    cycle: list[Any] = []
    cycle += [cycle, cycle]
    assert "nested in more than 64 levels" in refusal(targets=None, plugin={"key": "k", "params": [{"a": cycle}]})


@pytest.mark.parametrize("field", ["headers", "webhook_headers"])
@pytest.mark.parametrize(
    ("headers", "named"),
    [
        ({"X-A": "a\r\ns3cret: 1"}, "the value of 'X-A' holds a control character (code 13) at position 1"),
        ({"X-A": "s3cret\x00"}, "(code 0) at position 6"),
        ({"X-A": "s3cret\x7f"}, "(code 127) at position 6"),
        ({"X A": "s3cret"}, "the name that starts with 'X' holds ' ' at position 1; a name is made of letters"),
        ({"Authorization: s3cret": ""}, "the name that starts with 'Authorization' holds ':' at position 13"),
        ({"\nX": "s3cret"}, r"the name holds '\n' at position 0"),
        ({"Ä": "s3cret"}, r"the name holds '\xc4' at position 0"),
        ({"a\ud800": "s3cret"}, r"holds '\ud800' at position 1"),
        ({"": "s3cret"}, "a name is empty"),
        ({5: "s3cret"}, "a name must be text (str), not int"),
        ({b"Accept": "s3cret"}, "a name must be text (str), not bytes"),
        ({"Cookie": "s3cret", "cookie": "s3cret"}, "'Cookie' and 'cookie' are the same header; keep only one"),
        ({f"X {number}": "" for number in range(9)}, "and 4 more"),
    ],
)
def test_headers_that_cannot_be_sent_are_named_without_their_values(field, headers, named):
    text = refusal(**{field: headers})
    assert f"{field}: " in text
    assert named in text
    assert "s3cret" not in text


def test_header_values_may_hold_tabs_and_any_letters():
    headers = {"X-A!#$%&'*+-.^_`|~9": "\t a\tü日\x85 ", "Accept": ""}
    assert request(headers=headers, webhook_headers=headers).to_wire()["Headers"] == headers
    assert request(set_cookies="a=ü;\tb=1").set_cookies == "a=ü;\tb=1"
    assert "set_cookies holds a control character (code 10) at position 3" in refusal(set_cookies="a=1\nb=2")


@pytest.mark.parametrize("method", [None, "GET", "HEAD"])
def test_ignored_body_warns_at_the_caller(method):
    with pytest.warns(UserWarning, match=f"body is sent with {method or 'GET'}, .*method='POST'") as seen:
        one = request(body="s3cret", method=method)
    assert one.to_wire()["Body"] == "s3cret"
    assert [warning.filename for warning in seen] == [__file__]
    assert "s3cret" not in str(seen[0].message)
    # The caller was warned already, so the same request causes no second warning.
    assert one.with_targets([URL]).body == "s3cret"


def test_request_changed_in_place_is_validated_again():
    one = request(headers={"a": "b"}, render={"custom_wait": 1})
    one.headers["b\n"] = "c"
    with pytest.raises(ValidationError, match="headers: "):
        JobCreationRequest.model_validate(one)
    with pytest.raises(ValidationError, match="custom_wait"):
        request(render=RenderOptions().model_copy(update={"custom_wait": "soon"}))


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": "60000"},
        {"super": "yes"},
        {"timeout": 5000},
        {"timeout": 120000},
        {"retry_timeout": 5000},
        {"retry_timeout": 55000},
        {"session_id": 0},
        {"session_id": 1000000},
        {"render": {"custom_wait": 0}},
        {"render": {"custom_wait": 35000}},
        {"headers": {}, "set_cookies": "a=1"},
        {"geo_code": "mx", "super": True},
        {"geo_code": "kr"},
        *({"regional_geo_code": region, "super": True} for region in ("europe", "asia", "africa", "oceania")),
        *({"regional_geo_code": region, "super": True} for region in ("northamerica", "southamerica")),
        *({"method": method} for method in ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")),
        *({"render": {"wait_until": event}} for event in ("domcontentloaded", "networkidle0", "networkidle2", "load")),
        {"targets": None, "plugin": {"key": "k", "params": [{"geocode": None}]}, "geo_code": "us"},
    ],
)
def test_valid_options_are_accepted(options):
    request(**options)


@pytest.mark.parametrize(
    ("key", "hint"),
    [
        ("target", "did you mean targets?"),
        ("geocode", "did you mean geo_code?"),
        ("webhook", "no field 'webhook'"),
        ("customwait", "no field 'customwait'"),
        ("custom_wait", "put this field into render"),
        ("SessionId", "did you mean session_id?"),
        ("actions", "put this field into render"),
        ("tags", "no field 'tags'; this is an option of the run: give it to enqueue(...) ["),
        ("max_credits", "no field 'max_credits'; this is an option of the run: give it to enqueue(...) ["),
        ("idempotency_key", "no field 'idempotency_key'; this is an argument of enqueue(...): give it there ["),
        ("zzz", "no field 'zzz'. A field that is newer than this package goes into extra={'Zzz': ...} ["),
    ],
)
def test_unknown_fields_name_the_nearest(key, hint):
    text = refusal(**{key: "s3cret"})
    assert hint in text
    assert "s3cret" not in text


def test_repr_shows_no_secret():
    secret = request(
        method="POST",
        body="s3cret",
        headers={"X": "s3cret"},
        webhook_url="https://hooks.example/s3cret",
        webhook_headers={"Y": "s3cret"},
        render={"play_with_browser": [{"Action": "Fill", "Selector": "#pw", "Value": "s3cret"}]},
    )
    assert "s3cret" not in repr(secret) + str(secret) + repr(request(set_cookies="a=s3cret"))
    assert "method='POST'" in repr(secret)
    assert repr(request(targets=[URL] * 5000)) == "JobCreationRequest(size=5000)"


def test_frozen():
    with pytest.raises(ValidationError):
        request().method = "POST"


def test_with_targets():
    base = request(**FULL, render=None)
    other = base.with_targets(url for url in ["http://a", "http://b"])
    assert other.targets == ["http://a", "http://b"]
    assert other.differing_fields(base) == ("targets",)
    assert request(render=RENDER).with_targets(["http://a"]).render == RenderOptions.model_validate(RENDER)
    with pytest.raises(ValidationError, match=r"targets\[0\]"):
        base.with_targets(["x"])


@given(st.integers(1, 60), st.integers(1, 25))
def test_split_keeps_all_in_order(count, size):
    urls = [f"http://a/{number}" for number in range(count)]
    parts = request(targets=urls, device="mobile").split(size)
    assert [url for part in parts for url in part.targets or ()] == urls
    assert all(1 <= part.size <= size and part.device == "mobile" for part in parts)
    params: list[Any] = [{"q": url} for url in urls]
    plugin = JobCreationRequest(plugin=PluginRequest(key="k", params=params))
    assert [one for part in plugin.split(size) if part.plugin for one in part.plugin.params] == params


def test_split_by_what_the_api_takes():
    assert [part.size for part in request(targets=[URL] * 2001).split()] == [1000, 1000, 1]
    assert MAX_TARGETS_PER_JOB == 1000
    assert request().split()[0] == request()
    with pytest.raises(ValueError, match="at least 1"):
        request().split(0)


def test_canonical():
    one = JobCreationRequest(targets=[URL], headers={"b": "2", "a": "1"}, timeout=6000)
    other = JobCreationRequest(timeout=6000, headers={"a": "1", "b": "2"}, targets=[URL], device=None)
    assert one.canonical() == other.canonical()
    assert json.loads(one.canonical()) == one.to_wire()
    assert one.differing_fields(other) == ()
    assert "null" not in one.canonical()


def test_differing_fields():
    assert request(timeout=6000, render={"custom_wait": 1}).differing_fields(
        request(session_id=1, render={"custom_wait": 2})
    ) == ("session_id", "timeout", "render")
    by_type = [JobCreationRequest(plugin=PluginRequest(key="k", params=[{"a": value}])) for value in (1, True)]
    assert by_type[0].differing_fields(by_type[1]) == ("plugin",)


@pytest.mark.parametrize(
    ("options", "credits_each"),
    [({}, 1), ({"render": {}}, 5), ({"super": True}, 10), ({"super": True, "render": {}}, 25), ({"super": False}, 1)],
)
def test_estimated_credits(options, credits_each):
    assert request(targets=[URL] * 3, **options).estimated_credits() == 3 * credits_each


def test_estimated_credits_count_the_prices_of_domains():
    assert request(targets=["https://www.linkedin.com/in/a", URL, "https://google.fr/"]).estimated_credits() == 41


def test_a_hundred_thousand_targets_are_checked_and_split():
    urls = [f"https://shop.example/p/{number}?q=ä" for number in range(100_000)]
    parts = request(targets=urls).split()
    assert [part.size for part in parts] == [1000] * 100
    assert [url for part in parts for url in part.targets] == urls


def test_later_changes_of_the_callers_data_change_no_request():
    """A request is checked once. Data that change after the check would be sent unchecked."""
    params, extra, headers = {"a": {"b": [1]}}, {"New": {"b": [1]}}, {"X-A": "1"}
    plugin = PluginRequest("foo/bar", [params])
    requests = [
        JobCreationRequest(targets=(targets := ["https://a.example/"]), extra=extra, headers=headers),
        JobCreationRequest(plugin={"key": "foo/bar", "params": [params]}, extra=extra),
        JobCreationRequest(plugin=plugin),
    ]
    before = [json.dumps(request.to_wire()) for request in requests]
    params["a"]["b"].append(2)
    extra["New"]["b"].append(2)
    headers["X-A"] = "2"
    targets.append("https://b.example/")
    assert [json.dumps(request.to_wire()) for request in requests] == before
