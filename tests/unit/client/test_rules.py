from __future__ import annotations

import json
import pickle
import ssl
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery.client import (
    SubmitFailure,
    classify_submit_error,
    endpoints,
    may_resend,
    parse_response,
    resend_delay,
    retry_after,
)
from scrape_do_celery.client.attempt import connection_error
from scrape_do_celery.client.responses import RETRY_AFTER_LIMIT
from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIAuthError,
    AsyncAPIError,
    AsyncAPINotFoundError,
    AsyncAPIRateLimitError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    AsyncAPIServerError,
    AsyncAPITooLargeError,
    AsyncAPIUnparsableResponseError,
    SubmitInDoubtError,
)
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.submit import BEFORE_SEND, TOTAL_TIMEOUT, failure_kind, is_passing

GET = endpoints.get_job("j1")
TASK = endpoints.get_task("j1", "t1")
POST = endpoints.create_job(JobCreationRequest(targets=["https://a.example/"]))


def refused(status, body=b"", headers=None, secret="", endpoint=GET):
    with pytest.raises(AsyncAPIError) as caught:
        parse_response(endpoint, status, headers or {}, body, secret=secret)
    return caught.value


@pytest.mark.parametrize(
    ("identifier", "path"),
    [
        ("../me", "..%2Fme"),
        ("a?b#c", "a%3Fb%23c"),
        ("a/b!~", "a%2Fb%21~"),
        ("a%2Fb", "a%252Fb"),
        ("%2e%2e", "%252e%252e"),
        ("a" * 200, "a" * 200),
    ],
)
def test_ids_are_escaped(world, identifier, path):
    assert endpoints.get_task(identifier, identifier).path == f"/api/v1/jobs/{path}/{path}"
    world.answers = [(200, {"JobID": identifier, "Status": "queued"})]
    assert world.run(lambda client: client.get_job(identifier)).job_id == identifier
    assert world.requests[0].url.raw_path == f"/api/v1/jobs/{path}".encode()


@pytest.mark.parametrize("identifier", ["", ".", "..", "a b", "a\nb", "a\n", "ü", "a" * 201, "\x7f", None], ids=ascii)
def test_ids_that_are_none(identifier):
    for build in (endpoints.get_job, endpoints.cancel_job, lambda one: endpoints.get_task("j1", one)):
        with pytest.raises(ValueError, match="not an id"):
            build(identifier)


def test_base_url_may_have_a_path(world):
    world.answers = [(200, {"ActiveJobs": 0})]
    world.run(lambda client: client.get_user_info(), base_url="https://proxy.example/scrape/")
    assert str(world.requests[0].url) == "https://proxy.example/scrape/api/v1/me"


def test_only_the_filters_given_are_sent():
    assert endpoints.list_jobs({}).params == {}
    assert endpoints.list_jobs({"status": None, "page": 2}).params == {"page": "2"}


def test_filters_on_the_wire():
    moment = datetime(2026, 11, 23, 12, 0, 0, 999_999)  # noqa: DTZ001 (naive means UTC)
    params = endpoints.list_jobs({
        "page_size": 100,
        "page": 3,
        "status": "pending",
        "start_from": moment,
        "start_to": moment.replace(tzinfo=timezone(timedelta(hours=2))),
        "sort": "start_time_asc",
    }).params  # fmt: skip
    assert params == {
        "page_size": "100",
        "page": "3",
        "status": "pending",
        "start_from": "2026-11-23T12:00:00Z",
        "start_to": "2026-11-23T10:00:00Z",
        "sort": "start_time_asc",
    }


@pytest.mark.parametrize("wrong", [{"page_size": 0}, {"page_size": 101}, {"page": 0}, {"page": True}, {"page": "1"}])
def test_filters_out_of_bounds(wrong):
    with pytest.raises(ValueError, match="whole number"):
        endpoints.list_jobs(wrong)


def test_a_refusal_carries_what_the_api_said():
    error = refused(400, b'{"Error":"Targets must not be empty","Code":400}', {"retry-after": "3"})
    assert str(error) == "GET /api/v1/jobs/j1: 400 Targets must not be empty"
    assert (error.status_code, error.error_info) == (400, ("Targets must not be empty", 400))
    assert (error.error_info.error, error.error_info.code) == ("Targets must not be empty", 400)
    assert (error.retry_after, error.excerpt) == (3.0, '{"Error":"Targets must not be empty","Code":400}')


@pytest.mark.parametrize(
    ("body", "info"),
    [
        (b'{"Message":["a","b"]}', None),
        (b'{"message":"no"}', None),
        (b'{"Message":{}}', None),
        (b'{"Error":"","Code":true}', ("", None)),
        (b'\xef\xbb\xbf{"Error":"a\xffb"}', ("a\ufffdb", None)),
        (b'{"Code":"400","Error":7}', None),
        (b'{"Code":402}', (None, 402)),
        (b'{"Error":"\\ud800"}', ("?", None)),
        (b'{"Error":"gone:\n\texpired","Code":402}', ("gone:\n\texpired", 402)),
        (b'{"Error":"' + b"1" * 5_000 + b'","Code":' + b"1" * 5_000 + b"}", ("1" * 500, None)),
        (b"{}", None),
        (b"[1]", None),
        (b"<html>down</html>", None),
        (b"\xff\xfe\x00", None),
        (b"[" * 100_000, None),
        (b"", None),
    ],
)
def test_a_refusal_whatever_its_body(body, info):
    error = refused(402, body)
    assert error.error_info == info
    assert error.is_api_error is (info is not None)
    assert len(error.excerpt) <= 500
    json.dumps(error.to_json())


@pytest.mark.parametrize("name", ["Message", "message"])
def test_a_gateways_message_is_in_the_text_alone(name):
    error = refused(404, json.dumps({name: ["no route", "tok"]}).encode(), secret="tok")
    assert (str(error), error.is_api_error) == ("GET /api/v1/jobs/j1: 404 no route; [token]", False)


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("body", [b'{"Error":"You are Temporarily Throttled."}', b"<p>temporarily throttled</p>"])
def test_a_throttled_token_is_a_pause(status, body):
    error = refused(status, body, {"retry-after": "5"})
    assert (type(error), error.status_code, error.retry_after) == (AsyncAPIRateLimitError, status, 5.0)
    assert type(refused(404, body)) is AsyncAPINotFoundError
    assert classify_submit_error(error) is SubmitFailure.RATE_LIMITED


@pytest.mark.parametrize(
    ("location", "host"),
    [
        ("https://login.example:8443/a?token=tok#x", "login.example"),
        ("https://user:tok@Host.Example/", "host.example"),
        ("//cdn.example/x", "cdn.example"),
        ("http://[2001:db8::1]/", "2001:db8::1"),
        ("/relative", ""),
        ("http://[::1/", ""),
        ("https://b\u00fccher.example/", ""),
        ("https://tok.example/", "[token].example"),
        (None, ""),
    ],
)
def test_a_redirect_names_its_host_alone(location, host):
    error = refused(307, b"moved", {} if location is None else {"location": location}, secret="tok")
    assert (type(error), error.status_code, error.host) == (AsyncAPIRedirectError, 307, host)
    assert (error.excerpt, error.is_api_object) == ("moved", False)
    assert (host or "no host") in str(error)
    assert "tok" not in repr(error.args).replace("[token]", "")


def test_a_refusal_says_why_its_body_cannot_be_read():
    with pytest.raises(AsyncAPINotFoundError, match=r"404 Not Found \(its encoding 'br' cannot be decoded\)"):
        parse_response(GET, 404, {}, b"\x0b\x02", flaw="its encoding 'br' cannot be decoded")


def test_an_answer_over_the_limit_says_so():
    with pytest.raises(AsyncAPITooLargeError) as caught:
        parse_response(POST, 201, {}, b'{"tok', secret="tok", limit=1000)
    error = caught.value
    assert "201, but the answer has more than 1000 bytes" in str(error)
    assert (error.limit, error.excerpt, error.body, error.is_api_object) == (1000, '{"[token]', b"", False)
    assert classify_submit_error(error) is SubmitFailure.UNKNOWN


def test_a_flaw_of_a_body_makes_the_answer_unreadable():
    with pytest.raises(AsyncAPIUnparsableResponseError, match="200, but unreadable: its encoding") as caught:
        parse_response(GET, 200, {}, b"\x0b\x02", flaw="its encoding 'br' cannot be decoded")
    assert caught.value.body == b"\x0b\x02"


def test_statuses_nobody_knows():
    assert str(refused(499)).endswith("499 unknown status")
    assert isinstance(refused(600), AsyncAPIServerError)


def test_the_token_is_redacted_before_the_cut():
    secret = "a/b" * 20
    for text in (secret, "a%2Fb" * 20):
        body = json.dumps({"Error": f"bad token {text}", "Pad": "x" * 380 + text}).encode()
        error = refused(401, body, secret=secret)
        assert str(error).endswith("bad token [token]")
        assert "a/b" not in repr(error.args)
        assert "a%2Fb" not in repr(error.args)


def test_unparsable_says_where_and_quotes_nothing():
    error = refused(200, b'{"JobID":"secret!","Status":7,"TaskIDs":["x",1]}', secret="secret!")
    assert isinstance(error, AsyncAPIUnparsableResponseError)
    assert "secret!" not in repr(error.args)
    assert "Status" in str(error) or "TaskIDs" in str(error)
    assert error.__context__ is None


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"[" * 100_000, b"\xff", b'{"JobID":"j1","Status":"succ'])
def test_unparsable_whatever_the_body(body):
    error = refused(200, body)
    assert isinstance(error, AsyncAPIUnparsableResponseError)
    assert (error.body, error.is_api_object) == (body, False)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b'{"JobID":"j1","Status":7,"Status":{}}', True),
        (b'\xef\xbb\xbf{"Status":[],"TaskID":"t1"}', True),
        (b'{"Status":[],"EndTime":null}', True),
        (b'{"Status":"Error","Message":"upstream unavailable"}', False),
        (b'{"Status":"Success","Data":null}', False),
        (b'{"Status":"error","StatusCode":502,"ErrorMessage":"down","URL":"/api","TraceID":"1"}', False),
        (b'{"Status":[]}', False),
        (b'{"Content":"\xff","TaskID":[]}', True),
        (b'{"Tasks":1}', True),
        (b'{"Error":"task expired","Code":410}', True),
        (b'{"Code":410}', True),
        (b'{"Error":"down:\nretry"}', True),
        (b'{"Error":7,"Code":true}', False),
        (b'{"status":"ok"}', False),
        (b'{"Message":"ok"}', False),
        (b"{}", False),
        (b"[{}]", False),
        (b'"Status"', False),
        (b"7", False),
    ],
)
def test_an_unreadable_answer_says_whether_the_api_wrote_it(body, told):
    assert refused(200, body, endpoint=TASK).is_api_object is told


def test_error_body_under_status_200_is_quoted_without_token():
    error = refused(200, b'{"Error":"tok expired","Code":410}', endpoint=TASK, secret="tok")
    assert str(error).endswith("200, but unreadable: the answer is an error body: [token] expired")


@pytest.mark.parametrize("endpoint", [endpoints.get_user_info(), endpoints.list_jobs({})], ids=["me", "list"])
@pytest.mark.parametrize("body", [b"{}", b'{"message":"ok"}', b'{"Status":"ok"}'])
def test_a_gateways_object_is_no_empty_answer(endpoint, body):
    error = refused(200, body, endpoint=endpoint)
    assert str(error).endswith("unreadable: the answer has no field that the API documents")


def test_an_empty_list_is_an_answer():
    assert parse_response(endpoints.list_jobs({}), 200, {}, b'{"Jobs":null}').jobs == []
    assert parse_response(endpoints.list_jobs({}), 200, {}, b'{"TotalCount":0}').jobs == []


def test_the_raw_body_stays_in_its_process():
    error = refused(200, b'{"JobID":"j1","Status":[],"Pad":"a/b a%2Fb"}', secret="a/b")
    assert error.body == b'{"JobID":"j1","Status":[],"Pad":"[token] [token]"}'
    assert pickle.loads(pickle.dumps(error)).body == b""
    error.body = b"other"
    assert (error.body, vars(error)) == (b"other", {})


def test_a_readers_own_error_is_an_unreadable_answer():
    def reader(body):
        raise OverflowError(body)

    error = refused(200, b"{}", endpoint=endpoints.Endpoint(method="POST", path="/", reader=reader))
    assert (str(error), error.body) == ("POST /: 200, but unreadable: not JSON in the documented format", b"{}")


@pytest.mark.parametrize(
    "ids", [{}, {"JobID": None, "TaskID": ""}, {"JobID": "J1", "TaskID": "T1"}, {"JobID": "", "TaskID": None}], ids=str
)
def test_a_missing_id_is_the_one_that_was_asked_for(ids):
    task = parse_response(TASK, 200, {}, json.dumps({**ids, "Status": "success", "Content": "x"}).encode())
    assert (task.job_id, task.task_id, task.content) == ("j1", "t1", "x")


@pytest.mark.parametrize("endpoint", [GET, TASK, endpoints.cancel_job("j1")], ids=["job", "task", "cancel"])
@pytest.mark.parametrize("body", [{"Status": "Error", "Message": "upstream unavailable"}, {"Status": "Success"}])
def test_a_gateways_status_is_no_job_and_no_task(endpoint, body):
    error = refused(200, json.dumps(body).encode(), endpoint=endpoint)
    assert str(error).endswith("unreadable: the answer has a Status, but no other field of the API")
    assert not error.is_api_object


@pytest.mark.parametrize(
    ("endpoint", "field"),
    [(GET, {"Tasks": None}), (GET, {"TaskIDs": ["t1"]}), (GET, {"StartTime": None}), (TASK, {"Content": ""})],
)
def test_an_answer_without_ids_is_known_by_another_field(endpoint, field):
    assert parse_response(endpoint, 200, {}, json.dumps({"Status": "queued", **field}).encode()).status == "queued"


OWN = {"TaskID": "T1", "JobID": "j1", "Status": "success", "StatusCode": 404, "Content": "<html>"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410, 429, 500, 502])
@pytest.mark.parametrize("more", [{}, {"Error": "not found"}, {"Content": None}], ids=str)
def test_task_under_its_target_status_is_a_task(status, more):
    task = parse_response(TASK, status, {}, json.dumps({**OWN, **more}).encode())
    assert (task.task_id, task.status, task.content) == ("t1", "success", more.get("Content", "<html>"))


def test_unreadable_task_under_another_status_keeps_its_body():
    body = json.dumps({**OWN, "Status": ["success"]}).encode()
    error = refused(404, body, endpoint=TASK)
    assert isinstance(error, AsyncAPIUnparsableResponseError)
    assert (error.body, error.is_api_object) == (body, True)


@pytest.mark.parametrize(
    "body",
    [
        {"Error": "gone", "Code": 410, "TaskID": "t1", "Status": "error"},
        {**OWN, "TaskID": "t2"},
        {**OWN, "TaskID": 7},
        {name: OWN[name] for name in ("TaskID", "Content")},
        {name: OWN[name] for name in ("Status", "Content")},
        [OWN],
        '"TaskID":',
    ],
    ids=str,
)
def test_another_body_under_a_status_of_refusal_is_refused(body):
    raw = (body if isinstance(body, str) else json.dumps(body)).encode()
    assert isinstance(refused(404, raw, endpoint=TASK), AsyncAPINotFoundError)


def test_a_job_under_a_status_of_refusal_is_refused():
    assert isinstance(refused(404, b'{"JobID":"j1","Status":"success"}'), AsyncAPINotFoundError)


@pytest.mark.parametrize(
    ("endpoint", "ids", "named"),
    [
        (GET, {"JobID": "j2"}, "job"),
        (endpoints.cancel_job("j1"), {"JobID": "j2"}, "job"),
        (TASK, {"JobID": "j2", "TaskID": "t1"}, "job"),
        (TASK, {"JobID": "j1", "TaskID": "t2"}, "task"),
        (TASK, {"TaskID": "t2"}, "task"),
    ],
)
def test_another_id_is_unreadable(endpoint, ids, named):
    error = refused(200, json.dumps({**ids, "Status": "success"}).encode(), endpoint=endpoint)
    assert str(error).endswith(f"unreadable: the answer is about another {named} than the request")
    assert error.is_api_object


@pytest.mark.parametrize("body", [b"[]", b'{"JobID":"j1"}', b'{"JobID":', b"[" * 100_000, b'{"JobID":["j1"]}'])
def test_answer_lacking_more_than_ids_is_unreadable(body):
    assert isinstance(refused(200, body), AsyncAPIUnparsableResponseError)


@pytest.mark.parametrize("job_id", ["", ".", "a b", "a" * 201, "\u00fc"])
def test_a_purchase_needs_a_good_id(job_id):
    error = refused(201, json.dumps({"JobID": job_id}).encode(), endpoint=POST)
    assert "unreadable: JobID: " in str(error)
    assert error.is_api_object
    assert classify_submit_error(error) is SubmitFailure.UNKNOWN


def test_task_ids_that_are_none_are_dropped():
    body = json.dumps({"JobID": "j1", "TaskIDs": ["t1", "", "..", "a b", "t2"]}).encode()
    assert parse_response(POST, 201, {}, body).task_ids == ["t1", "t2"]


def test_a_page_with_a_lone_surrogate_is_not_lost():
    body = b'{"JobID":"j1","TaskID":"t1","Status":"success","Content":"a\\ud800b \\ud83d\\ude00"}'
    assert parse_response(TASK, 200, {}, body).content == "a\ud800b \U0001f600"


def test_a_page_with_broken_utf8_is_not_lost():
    body = b'{"JobID":"j1","TaskID":"t1","Status":"success","Content":"a\xffb"}'
    assert parse_response(TASK, 200, {}, body).content == "a\ufffdb"


def test_a_body_with_a_byte_order_mark():
    assert parse_response(GET, 200, {}, b'\xef\xbb\xbf{"JobID":"j1","Status":"queued"}').job_id == "j1"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("", None),
        ("0", 0.0),
        (" 120 ", 120.0),
        ("1.5", 1.5),
        ("-3", None),
        ("nan", None),
        ("1e3", None),
        ("٣", None),
        ("9" * 400, RETRY_AFTER_LIMIT),
        ("Mon, 23 Nov 2026 10:00:30 GMT", 30.0),
        ("Mon, 23 Nov 2026 10:00:30 -0000", 30.0),
        ("Mon, 23 Nov 2026 09:00:00 GMT", 0.0),
        ("Mon, 23 Nov 2099 09:00:00 GMT", RETRY_AFTER_LIMIT),
        ("soon", None),
    ],
)
def test_retry_after(value, seconds):
    headers = httpx.Headers({"Retry-After": value.encode(), "Date": "Mon, 23 Nov 2026 10:00:00 GMT"})
    assert retry_after(headers) == seconds


def test_retry_after_as_a_date_needs_the_servers_clock():
    assert retry_after({"retry-after": "Mon, 23 Nov 2026 10:00:30 GMT"}) is None
    assert retry_after({}) is None


@given(st.text(), st.text())
def test_retry_after_takes_anything(value, date):
    seconds = retry_after({"retry-after": value, "date": date})
    assert seconds is None or 0 <= seconds <= RETRY_AFTER_LIMIT


@given(st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)), st.integers(-(10**6), 10**6))  # noqa: DTZ001
def test_retry_after_counts_from_the_answers_date(now, seconds):
    now = now.replace(microsecond=0, tzinfo=UTC)
    then = now + timedelta(seconds=seconds)
    headers = {"retry-after": format_datetime(then, usegmt=True), "date": format_datetime(now, usegmt=True)}
    assert retry_after(headers) == min(max(seconds, 0), RETRY_AFTER_LIMIT)


@given(
    st.none() | st.floats(0, RETRY_AFTER_LIMIT),
    st.integers(0, 10**6),
    st.floats(0, 1, exclude_max=True),
)
def test_wait_obeys_within_its_cap(asked, attempt, drawn):
    error = AsyncAPIRateLimitError("", 429, None, None, asked)
    assert min(asked or 0, 60) <= resend_delay(error, attempt, lambda: drawn) <= 60


def test_wait_without_an_error():
    assert resend_delay(None, 0, lambda: 0.0) == 1.0


FATES = [
    (APIConnectionError("", "POST", "/", "ConnectError"), SubmitFailure.NOT_SENT),
    (APIConnectionError("", "POST", "/", "ConnectTimeout"), SubmitFailure.NOT_SENT),
    (APIConnectionError("", "POST", "/", "PoolTimeout"), SubmitFailure.NOT_SENT),
    (APIConnectionError("", "POST", "/", "UnsupportedProtocol"), SubmitFailure.NOT_SENT),
    (APIConnectionError("", "POST", "/", BEFORE_SEND), SubmitFailure.NOT_SENT),
    (APIConnectionError("", "POST", "/", TOTAL_TIMEOUT), SubmitFailure.UNKNOWN),
    (APIConnectionError("", "POST", "/", "ReadTimeout"), SubmitFailure.UNKNOWN),
    (APIConnectionError("", "POST", "/"), SubmitFailure.UNKNOWN),
    (AsyncAPIRateLimitError("", 429), SubmitFailure.RATE_LIMITED),
    (AsyncAPIResponseError("", 302), SubmitFailure.UNKNOWN),
    (AsyncAPIServerError("", 500), SubmitFailure.UNKNOWN),
    (AsyncAPIUnparsableResponseError("", 200), SubmitFailure.UNKNOWN),
    (SubmitInDoubtError("", 1), SubmitFailure.UNKNOWN),
    (KeyboardInterrupt(), SubmitFailure.UNKNOWN),
    (AsyncAPIAuthError("", 401), SubmitFailure.REJECTED),
    (AsyncAPIAuthError("", 403, "no"), SubmitFailure.REJECTED),
    (AsyncAPIRateLimitError("", 401), SubmitFailure.RATE_LIMITED),
    (AsyncAPITooLargeError("", 201), SubmitFailure.UNKNOWN),
    (AsyncAPIUnparsableResponseError("", 307), SubmitFailure.UNKNOWN),
    *[
        (
            AsyncAPIRedirectError("", status),
            SubmitFailure.REDIRECTED if status in (301, 307, 308) else SubmitFailure.UNKNOWN,
        )
        for status in range(300, 310)
    ],
    *[
        (
            AsyncAPIResponseError("", status, "no"),
            SubmitFailure.UNKNOWN if status in (408, 409, 425) else SubmitFailure.REJECTED,
        )
        for status in range(400, 500)
        if status != 429
    ],
    *[(AsyncAPIResponseError("", status), SubmitFailure.UNKNOWN) for status in range(400, 500) if status != 429],
    (AsyncAPIResponseError("", 400, None, 400), SubmitFailure.REJECTED),
]


@pytest.mark.parametrize(("error", "fate"), FATES, ids=lambda one: str(getattr(one, "args", one)))
def test_fate_of_a_post(error, fate):
    assert classify_submit_error(error) is fate
    sendable = fate in (SubmitFailure.NOT_SENT, SubmitFailure.RATE_LIMITED)
    assert may_resend(error, idempotent=POST.idempotent) is sendable


@pytest.mark.parametrize("error", [httpx.ReadError("x"), httpx.InvalidURL("x"), TimeoutError()], ids=repr)
def test_an_error_before_the_bytes_left_is_not_sent(error):
    made = connection_error(POST, error, bytes_sent=False, secret="")
    assert (failure_kind(made), classify_submit_error(made)) == (BEFORE_SEND, SubmitFailure.NOT_SENT)


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (APIConnectionError(""), True),
        (AsyncAPIRateLimitError("", 401), True),
        (AsyncAPIServerError("", 503), True),
        (AsyncAPIResponseError("", 404), True),
        (AsyncAPIResponseError("", 404, "no"), False),
        (AsyncAPIAuthError("", 403), False),
        (AsyncAPIRedirectError("", 307), True),
        (AsyncAPIUnparsableResponseError("", 200), True),
        (AsyncAPIUnparsableResponseError("", 200, "", True), False),
        (AsyncAPITooLargeError("", 200), False),
        (SubmitInDoubtError(""), False),
    ],
    ids=repr,
)
def test_trouble_on_the_way_passes(error, passes):
    assert is_passing(error) is passes


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (ssl.SSLError("bad record mac"), "ssl.SSLError"),
        (ConnectionResetError("reset"), "builtins.ConnectionResetError"),
        (httpcore.ConnectError("x"), "httpcore.ConnectError"),
        (TimeoutError(), TOTAL_TIMEOUT),
    ],
    ids=repr,
)
def test_any_error_after_the_first_byte_is_in_doubt(error, name):
    made = connection_error(POST, error, bytes_sent=True, secret="")
    assert (failure_kind(made), classify_submit_error(made)) == (name, SubmitFailure.UNKNOWN)
    assert str(made).endswith(str(error) or "TimeoutError")


def test_a_connection_errors_text_is_bounded():
    assert len(str(connection_error(POST, ValueError("x" * 10_000), bytes_sent=True, secret=""))) < 600


def test_connection_error_says_what_but_never_the_token():
    error = httpx.ReadError("tok reset", request=httpx.Request("GET", "https://q/", headers={"X-Token": "tok"}))
    made = connection_error(POST, error, bytes_sent=True, secret="tok")
    assert made.args == ("POST /api/v1/jobs: no answer: [token] reset", "POST", "/api/v1/jobs", "ReadError")
    assert "X-Token" not in error.request.headers
    assert str(connection_error(GET, TimeoutError(), bytes_sent=True, secret="")).endswith("no answer: TimeoutError")
