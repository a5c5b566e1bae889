from __future__ import annotations

import json

import pytest

from scrape_do_celery.models.plugins.plugin import PLUGINS
from scrape_do_sandbox.spec import ApiError, is_loopback, read_spec, targets_of

TARGETS = {"Targets": ["https://shop.example/p/1"]}


def refused(body):
    with pytest.raises(ApiError) as caught:
        read_spec(body if isinstance(body, bytes) else json.dumps(body).encode())
    assert caught.value.status == 400
    assert caught.value.body() == {"Error": caught.value.text, "Code": 400}
    return caught.value.text


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "JSON object"),
        ({}, "Exactly one"),
        ({"Targets": None}, "Exactly one"),
        ({**TARGETS, "Plugin": {"Key": "k", "Params": [{}]}}, "Exactly one"),
        ({"Targets": []}, "Targets must not be empty"),
        ({"Targets": "https://a.example"}, "must be a list"),
        ({"Targets": ["https://a.example"] * 1001}, "more than 1000"),
        ({"Targets": ["ftp://a.example"]}, "http or https"),
        ({"Targets": ["https://"]}, "http or https"),
        ({"Targets": ["http://[::1"]}, "http or https"),
        ({"Targets": [7]}, "http or https"),
        ({"Plugin": {"Params": [{}]}}, "Key"),
        ({"Plugin": "x"}, "Key"),
        ({"Plugin": {"Key": "amazon/pdp", "Params": []}}, "Plugin.Params must not be empty"),
        ({"Plugin": {"Key": "amazon/pdp", "Params": ["x"]}}, "list of objects"),
    ],
)
def test_bad_bodies_are_refused_with_what_is_wrong(body, words):
    assert words in refused(body)


@pytest.mark.parametrize(
    "option",
    [
        {"Timeout": 4999},
        {"Timeout": 120_001},
        {"Timeout": "60000"},
        {"Timeout": True},
        {"RetryTimeout": 55_001},
        {"SessionID": "1000001"},
        {"SessionID": "abc"},
        {"Method": "FETCH"},
        {"Body": 1},
        {"Headers": {"A": 1}},
        {"Headers": []},
        {"Super": "yes"},
        {"Device": "watch"},
        {"RegionalGeoCode": "mars"},
        {"Render": True},
        {"Render": {"CustomWait": 35_001}},
        {"WebhookURL": "mailto:a@b.example"},
    ],
)
def test_options_out_of_range_are_refused(option):
    assert next(iter(option)) in refused(TARGETS | option)


def test_good_options_pass_and_null_means_not_given():
    given = {"Timeout": 5000, "RetryTimeout": 55_000, "SessionID": "42", "Method": "POST", "Device": None, "Other": 1}
    spec = read_spec(json.dumps(TARGETS | given).encode())
    assert spec.targets == ("https://shop.example/p/1",)
    assert "Device" not in spec.options
    assert spec.options["SessionID"] == "42"


def test_a_plugin_makes_one_task_an_entry():
    body = json.dumps({"Plugin": {"Key": "amazon/pdp", "Params": [{"asin": "A 1"}, {"asin": "B2"}]}}).encode()
    expected = ("https://plugin.sandbox.test/amazon/pdp?asin=A+1", "https://plugin.sandbox.test/amazon/pdp?asin=B2")
    assert read_spec(body).targets == targets_of(body) == expected


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"Targets": 1}', b'{"Plugin": {"Key": "x"}}'])
def test_targets_of_a_broken_body_are_none(body):
    assert targets_of(body) == ()


@pytest.mark.parametrize(
    ("options", "cost"), [({}, 1), ({"Render": {}}, 5), ({"Super": True}, 10), ({"Super": True, "Render": {}}, 25)]
)
def test_cost(options, cost):
    spec = read_spec(json.dumps(TARGETS | options).encode())
    assert spec.cost_of(spec.targets[0]) == cost


@pytest.mark.parametrize("plugin", PLUGINS.values(), ids=PLUGINS)
def test_a_plugin_costs_its_known_price(plugin):
    params = [plugin.EXAMPLE | given for given in ({}, {"super": True}, {"super": False})]
    spec = read_spec(json.dumps({"Plugin": {"Key": plugin.KEY, "Params": params}}).encode())
    assert [spec.cost_of(target) for target in spec.targets] == [plugin.credits_of(one) or 1 for one in params]


def test_the_public_part_of_the_options_has_no_secret():
    secret = {"Headers": {"A": "s"}, "SetCookies": "s", "Body": "s", "WebhookHeaders": {"A": "s"}}
    spec = read_spec(json.dumps(TARGETS | secret | {"Super": True}).encode())
    assert spec.show_fields() == {"Super": True}


def test_loopback():
    assert all(map(is_loopback, ("http://127.8.9.1:80/", "http://localhost/", "http://[::1]:1/", "https://LOCALHOST")))
    assert not any(map(is_loopback, ("http://a.example", "http://10.0.0.1", "http://localhost.example", "nonsense")))
