"""Test the filters for text that came from outside: one line, and no secrets."""

from __future__ import annotations

import logging
from importlib import import_module

import pytest

from scrape_do_celery import TaskDetails, TaskFailedError
from scrape_do_celery.errors import AsyncAPIBadRequestError, ScrapeDoError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.outside_text import one_line, redact_answer, redact_text, redact_url
from scrape_do_celery.redaction import redact_error

HOSTILE = "ok\r\n[2026-01-01 00:00:00] ERROR paid twice\x1b]0;owned\x07\x1b[31m\u2028\u202e\x9b2J\x00end"


def test_text_stays_on_one_line_and_controls_no_terminal():
    shown = one_line(HOSTILE)
    assert shown.isprintable()
    assert shown.startswith("ok [2026-01-01 00:00:00] ERROR paid twice")
    assert one_line("Ünïcode text, 12 %") == "Ünïcode text, 12 %"


@pytest.mark.parametrize("kind", sorted(ScrapeDoError.registry.values(), key=lambda kind: kind.__name__))
def test_each_error_shows_its_text_on_one_line(kind):
    assert "__str__" not in vars(kind)
    wire = {"TaskID": HOSTILE, "JobID": HOSTILE, "URL": HOSTILE, "Status": HOSTILE, "ErrorMessage": HOSTILE}
    for first in (HOSTILE, wire):
        try:
            error = kind(first)
        except (TypeError, ValueError, AttributeError):
            continue
        assert str(error).isprintable()
        assert repr(error).isprintable()


def test_records_of_the_package_stay_on_one_line(caplog):
    log = get_logger("scrape_do_celery.test_of_records")
    assert get_logger(log.name) is log
    assert len(log.filters) == 1
    with caplog.at_level(logging.INFO):
        log.info("run %s: %s in %.2f s, %d", HOSTILE, ValueError(HOSTILE), 1.5, 7, extra=log_fields("tried"))
        log.info("nothing from outside", extra=log_fields("tried"))
    assert [record.getMessage().isprintable() for record in caplog.records] == [True, True]
    assert caplog.records[0].getMessage().endswith("in 1.50 s, 7")


def test_each_module_has_a_filtered_logger():
    import_module("scrape_do_celery.worker.lifecycle")
    loggers = [
        one
        for name, one in logging.root.manager.loggerDict.items()
        if name.startswith("scrape_do_celery.") and isinstance(one, logging.Logger) and one.filters
    ]
    assert len(loggers) > 10


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://user:pass@a.example/x", "https://***@a.example/x"),
        ("https://token@a.example/?q=1&api_key=k-1#top", "https://***@a.example/?q=1&api_key=***#top"),
        ("https://a.example/?key=k1&page=2&sig=s", "https://a.example/?key=***&page=2&sig=***"),
        ("https://user:p@ss@a.example/@x", "https://***@a.example/@x"),
        ("see https://a.example/ or mail me@b.example", "see https://a.example/ or mail me@b.example"),
        ("bad header X-Token: abc, go away", "bad header X-Token: ***, go away"),
        ("Authorization: Bearer abc.def.ghi", "Authorization: Bearer ***"),
        ("Basic dXNlcjpwYXNz is refused", "Basic *** is refused"),
        ('{"password": "p@ss", "page": 2}', '{"password": "***", "page": 2}'),
        ("session=1; Set-Cookie: id=secret; Path=/", "session=***; Set-Cookie: ***"),
        ("sent Cookie: a=secret; b=secret, and failed", "sent Cookie: ***, and failed"),
        ("Authorization: Token 9944b091", "Authorization: ***"),
        ("target answered 404 after 3 tries", "target answered 404 after 3 tries"),
        ("monkey=1 keyboard: ok", "monkey=1 keyboard: ok"),
    ],
)
def test_credentials_in_a_text_are_hidden(text, shown):
    assert redact_text(text) == shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@a.example/x?y=1", "https://***@a.example/x?y=1"),
        ("https://user:p@s's \"w@a.example/", "https://***@a.example/"),
        (
            "https://a.example/@y?token=t&z=https://u:p@b.example",
            "https://a.example/@y?token=***&z=https://***@b.example",
        ),
        ("not a url", "not a url"),
    ],
)
def test_credentials_in_a_url_are_hidden(url, shown):
    assert redact_url(url) == shown


@pytest.mark.parametrize("word", ["token", "api-", "cookie=a;", "://x@", "bearer ", "a.", "token: "])
def test_a_megabyte_from_outside_is_read_once(word):
    """With backtracking, one such answer of the API would hold up every step of a process for an hour."""
    text = word * (1_000_000 // len(word))
    assert redact_text(text)
    assert redact_url(text)


def test_error_of_a_task_travels_without_secrets():
    task = TaskDetails.model_validate(
        {
            "TaskID": "t",
            "JobID": "j",
            "URL": "https://user:that-is-private@a.example/?api_key=that-is-private&page=2",
            "Status": "error",
            "Content": "that-is-private",
            "WebhookURL": "https://hook.example/that-is-private",
            "ErrorMessage": "refused X-Token: that-is-private\nand more",
            "ResponseHeaders": {"Set-Cookie": "that-is-private", "X-Auth-Token": "that-is-private", "Server": "a"},
        }
    )
    error = TaskFailedError(task, "r-1")
    assert "that-is-private" not in f"{error.args} {error!r} {error.to_json()}"
    assert error.task.webhook_url == "https://hook.example/***"
    assert error.task.response_headers == {"Set-Cookie": "***", "X-Auth-Token": "***", "Server": "a"}
    assert error.task.url == "https://***@a.example/?api_key=***&page=2"
    assert str(error).isprintable()
    # A second process rebuilds the same error.
    assert ScrapeDoError.from_json(error.to_json()).args == error.args
    assert task.url.startswith("https://user:that-is-private@")


def test_answer_that_is_no_url_shows_nothing():
    assert redact_answer({"WebhookURL": "no url", "Jobs": [{"WebhookURL": "http://[", "Count": 1}]}) == {
        "WebhookURL": "***",
        "Jobs": [{"WebhookURL": "***", "Count": 1}],
    }


def test_token_is_taken_out_of_an_error():
    request = JobCreationRequest(targets=["https://a.example/"])
    assert str(redact_error(AsyncAPIBadRequestError("bad tok-5ecret"), request, "tok-5ecret")) == "bad ***"
