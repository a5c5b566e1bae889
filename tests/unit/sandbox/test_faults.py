from __future__ import annotations

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request
from pydantic import ValidationError

from scrape_do_sandbox.calls import ApiCall, make_fingerprint, read_call, read_request
from scrape_do_sandbox.faults import FaultRule, FaultRules
from scrape_do_sandbox.options import SandboxOptions
from scrape_do_sandbox.response_faults import HTML, fault_response
from scrape_do_sandbox.state import SandboxState
from scrape_do_sandbox.timers import SandboxClock

JSON = {"Content-Type": "application/json"}
GET_JOB = ApiCall("GET", "/api/v1/jobs/j", "get_job", "j", targets=("https://a.example/1",))


def fired(rule, call=GET_JOB, times=1):
    return [rule.fires_on(call) for _ in range(times)]


@pytest.mark.parametrize(
    ("match", "meant"),
    [
        ({}, True),
        ({"kind": "get_job"}, True),
        ({"kind": "get_task"}, False),
        ({"method": "get"}, True),
        ({"method": "POST"}, False),
        ({"job_id": "j"}, True),
        ({"job_id": "k"}, False),
        ({"target": "a.example"}, True),
        ({"target": "b.example"}, False),
    ],
)
def test_a_rule_fires_on_the_calls_it_is_meant_for(match, meant):
    assert fired(FaultRule(action="status", **match)) == [meant]


def test_times_and_after():
    rule = FaultRule(action="status", times=2, after=1)
    assert fired(rule, times=5) == [False, True, True, False, False]
    assert (rule.seen, rule.fired) == (3, 2)


def test_probability_is_the_same_for_the_same_seed():
    first, second = (fired(FaultRule(action="status", probability=0.5, seed=7), times=50) for _ in range(2))
    assert first == second
    assert {True, False} == set(first)


def test_actions_keep_to_the_calls_where_they_make_sense():
    assert fired(FaultRule(action="accept_late")) == [False]
    assert fired(FaultRule(action="status"), ApiCall("POST", "", "webhook")) == [False]
    assert fired(FaultRule(action="webhook_lose"), ApiCall("POST", "", "webhook")) == [True]


def test_an_unknown_field_or_action_is_refused():
    with pytest.raises(ValidationError):
        FaultRule(action="status", tmies=1)
    with pytest.raises(ValidationError):
        FaultRule(action="explode")


def test_rules_get_ids_and_are_noted_on_the_call():
    faults, call = FaultRules(), ApiCall("GET", "", "me")
    assert faults.find_firing(call) == []
    assert faults.add_rules([FaultRule(action="slow"), FaultRule(action="nulls", id="mine")]) == ["fault-1", "mine"]
    assert [rule.id for rule in faults.find_firing(call)] == ["fault-1", "mine"]
    assert call.applied == ["slow", "nulls"]
    faults.clear()
    assert faults.find_firing(call) == []


def test_later_rule_applies_to_calls_of_its_kind():
    faults, call = FaultRules(), ApiCall("GET", "", "me")
    faults.add_rules([FaultRule(action="job_urls", value="go"), FaultRule(action="slow", kind="get_job")])
    assert faults.find_firing(call) == []
    faults.add_rules([FaultRule(action="slow", id="mine")])
    assert [rule.id for rule in faults.find_firing(call)] == ["mine"]


def response_for(age=None, **rule):
    return fault_response([FaultRule(**rule)], age)


def test_a_status_comes_with_what_is_asked_for():
    plain = response_for(action="status", status=429, retry_after=2)
    assert (plain.status, plain.headers) == (429, {**JSON, "Retry-After": "2"})
    assert b'"Code":429' in plain.body
    page = response_for(action="status", status=502, html=True)
    assert page.content_type == "text/html"
    assert b"<html" in page.body
    text = response_for(action="status", status=500, body="x", headers={"A": "b"})
    assert (text.body, text.headers, text.content_type) == (b"x", {**JSON, "A": "b"}, "application/json")


@pytest.mark.parametrize(
    ("kind", "content_type", "body"),
    [
        ("api", "application/json", b'{"Error":"The sandbox was asked to fail","Code":402}'),
        ("html", "text/html", HTML),
        ("gateway", "application/json", b'{"message":"no Route matched with those values","request_id":"3b1f"}'),
        ("empty_object", "application/json", b"{}"),
        ("empty_list", "application/json", b"[]"),
        ("null", "application/json", b"null"),
        ("text", "text/plain", b"upstream connect error or disconnect/reset before headers"),
        ("empty", "application/json", b""),
    ],
)
def test_a_status_comes_with_each_kind_of_body(kind, content_type, body):
    answer = response_for(action="status", status=402, body_kind=kind, headers={"A": "b"}, html=True)
    assert (answer.status, answer.body) == (402, body)
    assert answer.headers == {"Content-Type": content_type, "A": "b"}


@pytest.mark.parametrize(("action", "word"), [("mutate", "missing, null"), ("encoding", "gzip"), ("write_urls", "go")])
def test_a_name_that_does_not_exist_is_refused(action, word):
    with pytest.raises(ValidationError, match=f"value of {action} must be one of .*{word}"):
        FaultRule(action=action, value="nonsense")


def test_other_fault_responses():
    assert (response_for(action="html").status, response_for(action="html", body="<p>").body) == (200, b"<p>")
    assert response_for(action="empty_204").status == 204
    assert response_for(action="redirect_302").headers["Location"] == "/login"
    assert response_for(action="redirect_302", value="/x").headers["Location"] == "/x"
    assert b"no longer available" in response_for(action="gone").body
    assert response_for(action="slow") is None


def test_a_job_is_not_found_only_while_it_is_young():
    assert response_for(age=0.5, action="not_found_at_first", seconds=1).status == 404
    assert response_for(age=1.5, action="not_found_at_first", seconds=1) is None
    assert response_for(age=None, action="not_found_at_first", seconds=1) is None


@pytest.mark.parametrize(
    ("method", "path", "kind"),
    [
        ("POST", "/api/v1/jobs", "create_job"),
        ("GET", "/api/v1/jobs?page=1", "list_jobs"),
        ("GET", "/api/v1/jobs/j", "get_job"),
        ("DELETE", "/api/v1/jobs/j", "cancel_job"),
        ("GET", "/api/v1/jobs/j/t", "get_task"),
        ("GET", "/api/v1/me", "me"),
        ("GET", "/api/v1/me/x", "other"),
        ("PUT", "/api/v1/jobs", "other"),
        ("GET", "/api/v1/jobs/j/t/u", "other"),
        ("GET", "/jobs", "other"),
    ],
)
def test_routes(method, path, kind):
    request = asyncio.run(read_request(make_mocked_request(method, path, headers={"X-Token": " secret "})))
    request.body = b'{"Targets": ["https://a.example"]}'
    call = read_call(request, SandboxState(SandboxOptions(), SandboxClock()).find_targets)
    assert call.kind == kind
    assert call.targets == (("https://a.example",) if kind == "create_job" else ())
    assert call.token == make_fingerprint("secret")
    assert "secret" not in repr(call)
