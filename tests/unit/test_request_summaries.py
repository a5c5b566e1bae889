"""Test which parts of a request are shown, and which never are."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.models import JobCreationRequest, PluginRequest, RenderOptions
from scrape_do_celery.redaction import call_summary, message_reprs, schedule_summary
from scrape_do_celery.store import RunSpec

PRIVATE = "that-is-private"


def test_a_request_is_shown_by_its_hosts_and_options():
    request = JobCreationRequest(
        targets=[f"https://user:{PRIVATE}@shop.example/{PRIVATE}?key={PRIVATE}", "https://b.example/"],
        method="POST",
        body=PRIVATE,
        headers={"X-Mine": PRIVATE},
        webhook_url=f"https://hooks.example/{PRIVATE}",
        webhook_headers={"X-Auth": PRIVATE},
        super=True,
        geo_code="us",
        render=RenderOptions(),
    )
    shown = RunSpec(request, raise_on_task_failure=True, max_wait=60).request_summary()
    assert shown == {
        "host": "shop.example, ...",
        "render": True,
        "method": "POST",
        "geo_code": "us",
        "super": True,
        "raise_on_task_failure": True,
        "max_wait": 60.0,
        "headers": "***",
        "body": "***",
        "webhook_url": "***",
        "webhook_headers": "***",
    }


def test_a_plain_request_is_shown_in_a_word():
    assert RunSpec(JobCreationRequest(targets=["https://a.example/"])).request_summary() == {"host": "a.example"}
    assert RunSpec(JobCreationRequest(targets=["https://a.example/"])).request_summary(hosts=False) == {}


def test_a_plugin_is_shown_by_its_key():
    request = JobCreationRequest(plugin=PluginRequest(key="google/search", params=[{"q": PRIVATE}]))
    assert RunSpec(request).request_summary() == {"plugin": "google/search"}
    call = call_summary((), {"plugin": {"key": "google/search", "params": [{"q": PRIVATE}] * 3}})
    assert call == {"targets": 3, "plugin": "google/search"}


def test_a_call_is_shown_with_the_number_of_its_targets():
    assert call_summary((["https://a.example/"] * 3,), {"credentials": "shop"}) == {
        "targets": 3,
        "host": "a.example",
        "credentials": "shop",
    }
    assert call_summary((), {"run_id": "r"}) == {"run_id": "r"}


def test_a_tick_is_shown_with_its_schedule():
    entry = {"name": "prices", "tick": "t", "if_running": "skip", "rule": {"every": 2.0}}
    assert schedule_summary({**entry, "request": {"targets": ["https://a.example/"], "set_cookies": PRIVATE}}) == {
        "name": "prices",
        "tick": "t",
        "if_running": "skip",
        "targets": 1,
        "host": "a.example",
        "set_cookies": "***",
    }
    assert schedule_summary({"name": "prices", "request": "nonsense"}) == {"name": "prices"}


def test_shown_summary_is_searchable():
    shown = message_reprs("r", {"targets": 3})
    assert shown == {"argsrepr": "('r',)", "kwargsrepr": "{'targets': 3}"}
    assert ast.literal_eval(shown["kwargsrepr"]) == {"targets": 3}


@pytest.mark.parametrize(
    "targets", ["https://a.example/", {"https://a.example/"}, [None, 7], ["http://[broken"], [], ["nonsense"], 5]
)
def test_nothing_about_a_call_has_to_be_right(targets):
    assert "host" not in call_summary((), {"targets": targets})


def test_long_and_strange_values_are_cut_or_hidden():
    shown = call_summary((), {"geo_code": "x" * 500, "device": {"Cookie": PRIVATE}})
    assert len(shown["geo_code"]) < 80
    assert shown["device"] == "***"


@given(
    st.dictionaries(
        st.sampled_from(["headers", "set_cookies", "body", "webhook_url", "webhook_headers", "idempotency_key", "x"]),
        st.sampled_from([PRIVATE, {"X": PRIVATE}, [PRIVATE], {PRIVATE: 1}]),
    )
)
def test_private_fields_are_named_and_never_shown(fields):
    assert PRIVATE not in repr(call_summary((), fields))
