"""Test one table of scenarios three times: the pure rules, the sync client and the async client."""

from __future__ import annotations

import ssl
import zlib

import anyio
import h11
import httpx
import pytest

from scrape_do_celery.client import endpoints
from scrape_do_celery.client.attempt import connection_error
from scrape_do_celery.client.responses import parse_response
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIAuthError,
    AsyncAPIBadRequestError,
    AsyncAPIGoneError,
    AsyncAPINotAcceptableError,
    AsyncAPINotFoundError,
    AsyncAPIRateLimitError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    AsyncAPIServerError,
    AsyncAPIUnparsableResponseError,
    SubmitInDoubtError,
)
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.submit import classify_submit_error, may_resend, resend_delay

REQUEST = JobCreationRequest(targets=["https://a.example/"])
JOB = {"JobID": "j1", "Status": "success"}
CREATED = (201, {"JobID": "j1", "TaskIDs": ["t1"]})
FOUND = (200, JOB)
ME = (200, {"AvaliableCredits": 5})
LIMIT, LATER = (429, {"Error": "slow down", "Code": 429}), (429, None, {"Retry-After": "7"})
THROTTLED = (401, {"Error": "Temporarily throttled"})
DOWN = (503, b"<html>down</html>")

CALLS = {
    "create": ("create_job", (REQUEST,), endpoints.create_job(REQUEST)),
    "get": ("get_job", ("j1",), endpoints.get_job("j1")),
    "task": ("get_task", ("j1", "t1"), endpoints.get_task("j1", "t1")),
    "cancel": ("cancel_job", ("j1",), endpoints.cancel_job("j1")),
    "me": ("get_user_info", (), endpoints.get_user_info()),
    "list": ("list_jobs", (), endpoints.list_jobs({})),
}

# Call, answers in order, sleeps between (seconds), and the final error.
SCENARIOS = [
    ("create", [CREATED], [], None),
    ("create", [LIMIT, CREATED], [1], None),
    ("create", [LATER, LIMIT, CREATED], [7, 2], None),
    ("create", [LIMIT] * 4, [1, 2, 4], AsyncAPIRateLimitError),
    ("create", [httpx.ConnectError, CREATED], [1], None),
    ("create", [httpx.ConnectTimeout, httpx.PoolTimeout, CREATED], [1, 2], None),
    ("create", [httpx.UnsupportedProtocol] * 4, [1, 2, 4], APIConnectionError),
    ("create", [httpx.ConnectError, httpx.ReadTimeout], [1], SubmitInDoubtError),
    ("create", [httpx.ReadTimeout], [], SubmitInDoubtError),
    ("create", [httpx.WriteTimeout], [], SubmitInDoubtError),
    ("create", [httpx.ReadError], [], SubmitInDoubtError),
    ("create", [httpx.WriteError], [], SubmitInDoubtError),
    ("create", [httpx.RemoteProtocolError], [], SubmitInDoubtError),
    ("create", [httpx.DecodingError], [], SubmitInDoubtError),
    ("create", [(500, None)], [], SubmitInDoubtError),
    ("create", [DOWN], [], SubmitInDoubtError),
    ("create", [(408, None)], [], SubmitInDoubtError),
    ("create", [(409, None)], [], SubmitInDoubtError),
    ("create", [(425, None)], [], SubmitInDoubtError),
    ("create", [(302, None, {"Location": "https://b.example/"})], [], SubmitInDoubtError),
    ("create", [(204, None)], [], SubmitInDoubtError),
    ("create", [(200, b"<html>ok</html>")], [], SubmitInDoubtError),
    ("create", [(200, {"TaskIDs": ["t1"]})], [], SubmitInDoubtError),
    ("create", [(200, {"JobID": ""})], [], SubmitInDoubtError),
    ("create", [(400, {"Error": "no", "Code": 400})], [], AsyncAPIBadRequestError),
    ("create", [(401, None)], [], AsyncAPIAuthError),
    ("create", [(402, {"Error": "no credits"})], [], AsyncAPIResponseError),
    ("create", [(403, None)], [], AsyncAPIAuthError),
    ("create", [(404, {"Code": 404})], [], AsyncAPINotFoundError),
    ("create", [(413, {"Error": "too large"})], [], AsyncAPIResponseError),
    ("create", [(422, {"Error": "no"})], [], AsyncAPIResponseError),
    ("create", [(400, None)], [], SubmitInDoubtError),
    ("create", [(404, b"<html>no route</html>")], [], SubmitInDoubtError),
    ("create", [(413, {})], [], SubmitInDoubtError),
    ("create", [(422, {"Message": "no"})], [], SubmitInDoubtError),
    ("create", [THROTTLED, CREATED], [1], None),
    ("create", [(301, None)], [], AsyncAPIRedirectError),
    ("create", [(307, None, {"Location": "https://b.example/"})], [], AsyncAPIRedirectError),
    ("create", [(308, None)], [], AsyncAPIRedirectError),
    ("create", [(303, None)], [], SubmitInDoubtError),
    ("create", [ssl.SSLError], [], SubmitInDoubtError),
    ("create", [h11.RemoteProtocolError], [], SubmitInDoubtError),
    ("create", [anyio.EndOfStream], [], SubmitInDoubtError),
    ("create", [UnicodeError], [], SubmitInDoubtError),
    ("create", [zlib.error], [], SubmitInDoubtError),
    ("create", [OSError], [], SubmitInDoubtError),
    ("get", [FOUND], [], None),
    ("get", [LATER, httpx.ReadTimeout, DOWN, FOUND], [7, 2, 4], None),
    ("get", [(500, None), FOUND], [1], None),
    ("get", [httpx.ReadError] * 4, [1, 2, 4], APIConnectionError),
    ("get", [DOWN] * 4, [1, 2, 4], AsyncAPIServerError),
    ("get", [(404, None)], [], AsyncAPINotFoundError),
    ("get", [(200, b"<html>")], [], AsyncAPIUnparsableResponseError),
    ("get", [(200, b"")], [], AsyncAPIUnparsableResponseError),
    ("get", [(304, None)], [], AsyncAPIRedirectError),
    ("get", [THROTTLED, FOUND], [1], None),
    ("get", [ssl.SSLError, zlib.error, FOUND], [1, 2], None),
    ("get", [(200, {"JobID": "j2", "Status": "success"})], [], AsyncAPIUnparsableResponseError),
    ("task", [(410, {"Error": "Task response content is no longer available."})], [], AsyncAPIGoneError),
    ("cancel", [httpx.ReadTimeout, FOUND], [1], None),
    ("cancel", [(406, None)], [], AsyncAPINotAcceptableError),
    ("me", [(429, None, {"Retry-After": "9999"}), ME], [60], None),
    ("list", [DOWN, (200, {"Jobs": None, "TotalPages": 0})], [1], None),
]


def pure(endpoint, answers):
    """Return the number of calls, the sleeps between, and the final error by the rules alone."""
    sleeps = []
    for attempt, answer in enumerate(answers):
        try:
            if isinstance(answer, type):
                raise connection_error(endpoint, answer("broke"), bytes_sent=True, secret="")  # noqa: TRY301 (as a client meets it)
            status, body, headers = (*answer, {})[:3]
            content = httpx.Response(status, json=body).content if isinstance(body, dict) else body or b""
            parse_response(endpoint, status, httpx.Headers(headers), content)
        except Exception as error:  # noqa: BLE001 (the rules judge every error)
            if attempt == 3 or not may_resend(error, idempotent=endpoint.idempotent):
                in_doubt = not endpoint.idempotent and classify_submit_error(error) == "unknown"
                return attempt + 1, sleeps, SubmitInDoubtError if in_doubt else type(error)
            sleeps.append(resend_delay(error, attempt, lambda: 0.0))
        else:
            return attempt + 1, sleeps, None
    raise AssertionError("the rules ask for more than the scenario has")


def ids(scenario):
    name, answers, _, end = scenario
    steps = "-".join(one.__name__ if isinstance(one, type) else str(one[0]) for one in answers)
    return f"{name}:{steps}:{end.__name__ if end else 'ok'}"


@pytest.mark.parametrize(("name", "answers", "sleeps", "end"), SCENARIOS, ids=map(ids, SCENARIOS))
def test_rules(name, answers, sleeps, end):
    assert pure(CALLS[name][2], answers) == (len(answers), sleeps, end)


@pytest.mark.parametrize(("name", "answers", "sleeps", "end"), SCENARIOS, ids=map(ids, SCENARIOS))
def test_clients(world, name, answers, sleeps, end):
    method, arguments, endpoint = CALLS[name]
    world.answers = list(answers)
    if end is None:
        assert world.run(lambda client: getattr(client, method)(*arguments)) is not None
    else:
        with pytest.raises(end) as caught:
            world.run(lambda client: getattr(client, method)(*arguments))
        assert type(caught.value) is end
    assert world.sleeps == sleeps
    assert len(world.requests) == len(answers)
    first = world.requests[0]
    assert (first.method, first.url.path) == (endpoint.method, endpoint.path)
    assert first.headers["X-Token"] == world.token
    assert first.headers["User-Agent"].startswith("scrape-do-celery/")


def test_a_purchase_in_doubt_names_its_cause_and_its_targets(world):
    world.answers = [httpx.ReadTimeout]
    with pytest.raises(SubmitInDoubtError) as caught:
        world.run(lambda client: client.create_job(targets=["https://a.example/"] * 3))
    assert caught.value.targets == 3
    assert isinstance(caught.value.__cause__, APIConnectionError)
    assert isinstance(caught.value.__cause__.__cause__, httpx.ReadTimeout)


def test_a_purchase_in_doubt_tells_its_cause_in_its_text(world):
    def broken(_):
        raise ssl.SSLError(1, "bad record mac")

    world.answers = [broken]
    with pytest.raises(SubmitInDoubtError, match=r"may have been bought: POST .*bad record mac"):
        world.run(lambda client: client.create_job(REQUEST))


def test_interrupt_is_raised_unchanged(world):
    def interrupted(_):
        raise KeyboardInterrupt

    world.answers = [interrupted]
    with pytest.raises(KeyboardInterrupt):
        world.run(lambda client: client.create_job(REQUEST))


def test_a_purchase_in_doubt_by_its_answer_names_its_cause(world):
    world.answers = [DOWN]
    with pytest.raises(SubmitInDoubtError) as caught:
        world.run(lambda client: client.create_job(REQUEST))
    assert isinstance(caught.value.__cause__, AsyncAPIServerError)


def test_max_retries_of_none(world):
    world.answers = [LIMIT]
    with pytest.raises(AsyncAPIRateLimitError):
        world.run(lambda client: client.create_job(REQUEST), max_retries=0)
    assert len(world.requests) == 1


def test_a_job_takes_a_thousand_targets(world):
    world.answers = [CREATED]
    world.run(lambda client: client.create_job(targets=["https://a.example/"] * 1000))
    with pytest.raises(ValueError, match="1000 targets"):
        world.run(lambda client: client.create_job(targets=["https://a.example/"] * 1001))
    assert len(world.requests) == 1


def test_create_job_takes_a_request_or_fields(world):
    world.answers = [CREATED]
    world.run(lambda client: client.create_job(targets=["https://a.example/ü"], super=True))
    assert world.requests[0].read() == b'{"Targets":["https://a.example/\\u00fc"],"Super":true}'
    assert world.requests[0].headers["Content-Type"] == "application/json"
    for arguments, fields in [((), {}), ((REQUEST,), {"super": True})]:
        with pytest.raises(TypeError, match="not both"):
            world.run(lambda client, a=arguments, f=fields: client.create_job(*a, **f))


@pytest.mark.parametrize("timeout", [0, -1, 30_000, float("nan")])
def test_timeout_is_in_seconds(world, timeout):
    with pytest.raises(ValueError, match="seconds"):
        world.run(lambda client: client.get_job("j1", timeout=timeout))
    with pytest.raises(ValueError, match="seconds"):
        world.run(lambda client: client.get_job("j1"), timeout=timeout)


def test_before_send_runs_once_an_attempt(world):
    happened = []
    world.answers = [LIMIT, CREATED]
    hook = world.hook(lambda: happened.append(len(world.requests)))
    world.run(lambda client: client.create_job(REQUEST, before_send=hook))
    assert happened == [0, 1]


@pytest.mark.parametrize(
    "error",
    [KeyError("mine"), AsyncAPIRateLimitError("mine"), TimeoutError("mine"), httpx.ConnectError("mine")],
    ids=repr,
)
def test_before_send_error_stops_the_call(world, error):
    def refuse():
        raise error

    world.answers = [CREATED]
    with pytest.raises(type(error)) as caught:
        world.run(lambda client: client.create_job(REQUEST, before_send=world.hook(refuse)))
    assert caught.value is error
    assert (world.requests, world.sleeps) == ([], [])


def test_on_response_hears_status_and_headers(world):
    heard = []
    world.answers = [LATER, (200, JOB, {"Date": "Mon, 23 Nov 2026 10:00:00 GMT"})]
    world.run(lambda client: client.get_job("j1"), on_response=lambda *args: heard.append(args))
    assert [status for status, _ in heard] == [429, 200]
    assert heard[1][1]["date"] == "Mon, 23 Nov 2026 10:00:00 GMT"


def test_on_response_cannot_lose_a_job(world, caplog):
    world.answers = [CREATED]
    created = world.run(lambda client: client.create_job(REQUEST), on_response=lambda *_: 1 / 0)
    assert created.job_id == "j1"
    assert "on_response failed" in caplog.text


def test_logs_one_line_a_request(world, caplog):
    caplog.set_level("DEBUG", "scrape_do_celery.client")
    world.answers = [httpx.ReadError, FOUND]
    world.run(lambda client: client.get_job("j1"))
    lines = [record.message for record in caplog.records if record.name == "scrape_do_celery.client"]
    assert lines == ["GET /api/v1/jobs/j1 ReadError 0.000 s", "GET /api/v1/jobs/j1 200 0.000 s"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"max_retries": -1},
        {"concurrency": 0},
        {"concurrency": 50},
        {"base_url": "ftp://q.example"},
        {"base_url": "https://"},
        {"base_url": "https://user:pw@q.example"},
        {"base_url": "https://q.example/?token=1"},
    ],
)
def test_refuses_settings(world, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        world.run(lambda _: None, **wrong)
