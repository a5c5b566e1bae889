"""Test that errors do not repeat private parts of a request that the API quotes."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery.errors import AsyncAPIBadRequestError, AsyncAPIServerError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.redaction import redact_error

REQUEST = JobCreationRequest(
    targets=["https://a.example/"],
    method="POST",
    headers={"X-Mine": 'secret "quoted" value', "Accept": "a"},
    body="body-of-it",
    webhook_headers={"X-Auth": "webhook-secret"},
)


def test_values_are_taken_out_wherever_they_stand():
    body = json.dumps({"Error": REQUEST.headers["X-Mine"], "of": ["body-of-it"]})
    error = redact_error(
        AsyncAPIBadRequestError(f"400: {body} webhook-secret", 400, "body-of-it", 7, None, body), REQUEST
    )
    assert type(error) is AsyncAPIBadRequestError
    assert str(error) == '400: {"Error": "***", "of": ["***"]} ***'
    assert error.error_info == ("***", 7)
    assert error.excerpt == '{"Error": "***", "of": ["***"]}'


def test_an_error_that_quotes_nothing_stays_the_same():
    error = AsyncAPIServerError("a is a letter of Accept", 500)
    assert redact_error(error, REQUEST) is error


def test_a_cookie_is_known_by_its_value_alone():
    request = JobCreationRequest(targets=["https://a.example/"], set_cookies="session=cookie-secret; b=2")
    assert str(redact_error(AsyncAPIBadRequestError("cookie-secret, 2"), request)) == "***, 2"


def test_secret_in_the_url_of_a_webhook_is_redacted():
    url = "https://chat.example/services/B00/abcdefghijklmnopqrst?room=7"
    request = JobCreationRequest(targets=["https://a.example/"], webhook_url=url)
    error = AsyncAPIBadRequestError(f"{url} or /abcdefghijklmnopqrst, see https://chat.example/services/B00")
    assert str(redact_error(error, request)) == "https://chat.example/*** or /***, see https://chat.example/***"
    short = JobCreationRequest(targets=["https://a.example/"], webhook_url="https://a.example/scraped")
    unchanged = AsyncAPIBadRequestError("nothing was scraped at https://a.example/scraped")
    assert redact_error(unchanged, short) is unchanged


def test_nested_values_are_redacted():
    error = AsyncAPIBadRequestError("x", 400, {"a": ["body-of-it", 5]})
    assert redact_error(error, REQUEST).args[2] == {"a": ["***", 5]}


def test_value_that_was_cut_off_is_redacted():
    request = JobCreationRequest(targets=["https://a.example/"], headers={"Authorization": "Bearer " + "k" * 700})
    assert str(redact_error(AsyncAPIBadRequestError("bad: Bearer " + "k" * 400), request)) == "bad: ***"


def test_value_in_other_json_spellings_is_redacted():
    request = JobCreationRequest(targets=["https://a.example/"], method="POST", body="user=joe&password=hunter2x")
    error = AsyncAPIBadRequestError(r"bad: user=joe\u0026password=hunter2x")
    assert str(redact_error(error, request)) == "bad: ***"


def test_parts_of_cookie_and_authorization_headers_are_found():
    headers = {"Cookie": "session=cookie-secret; b=2", "Authorization": "Bearer bearer-secret"}
    request = JobCreationRequest(targets=["https://a.example/"], headers=headers)
    assert str(redact_error(AsyncAPIBadRequestError("cookie-secret bearer-secret"), request)) == "*** ***"


@pytest.mark.parametrize(
    ("body", "quoted", "shown"),
    [
        ("user=joe&password=hunter2x", "bad password: hunter2x", "bad password: ***"),
        ("password=p%40ss+word&user=joe", "p%40ss+word is p@ss word", "*** is ***"),
        ("user=joe&password=p@ss word", "p@ss word", "***"),
        ('{"user": "joe", "deep": [{"password": "hunter2x"}]}', "hunter2x", "***"),
        (json.dumps({"password": 'a "é" b'}), r'a \"\u00e9\" b or a \"é\" b or a "é" b', "*** or *** or ***"),
        ('"hunter2x"', "hunter2x", "***"),
        ("[" * 100_000 + "&password=hunter2x", "hunter2x", "***"),
    ],
)
def test_a_value_of_the_body_is_found_alone(body, quoted, shown):
    request = JobCreationRequest(targets=["https://a.example/"], method="POST", body=body)
    said = str(redact_error(AsyncAPIBadRequestError(f"{quoted}, and joe"), request))
    assert said == f"{shown}, and joe"
