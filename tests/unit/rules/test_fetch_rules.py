"""Test whether the API or a gateway sent an answer, and how often the answer counts."""

from __future__ import annotations

import pytest

from scrape_do_celery.errors import (
    APIConnectionError,
    AsyncAPIRedirectError,
    AsyncAPIResponseError,
    AsyncAPITooLargeError,
    AsyncAPIUnparsableResponseError,
)
from scrape_do_celery.rules import fetch
from scrape_do_celery.rules.fetch import (
    UNREADABLE_ATTEMPTS,
    UNREADABLE_INTERVAL,
    UNREADABLE_RECHECK,
    AnswerFate,
    AnswerNote,
    holds_content,
)


def answer(status, *, own):
    kind = AsyncAPIResponseError.for_status(status)
    return kind(f"GET /x: {status}", status, "no" if own else None)


def unreadable(body=b"{", *, own=True):
    error = AsyncAPIUnparsableResponseError("GET /x: 200, but unreadable", 200, "{", own)
    error.body = body
    return error


@pytest.mark.parametrize(
    ("error", "fate"),
    [
        (answer(410, own=True), "gone"),
        (answer(410, own=False), "unconfirmed"),
        (answer(404, own=True), "not_found"),
        (answer(404, own=False), "unconfirmed"),
        *((answer(status, own=True), "attempt") for status in (400, 405, 406, 413, 422, 451)),
        *((answer(status, own=False), "trouble") for status in (400, 402, 405, 407, 413, 421, 422, 431, 451)),
        *((answer(status, own=True), "trouble") for status in (401, 402, 403, 408, 425, 429, 500, 503)),
        # Refusals of one job or task, after the account was found to be accepted.
        *((AsyncAPIResponseError("GET /x", status, "no"), "attempt") for status in (401, 403)),
        *((AsyncAPIResponseError("GET /x", status, None), "trouble") for status in (401, 403)),
        (unreadable(own=True), "attempt"),
        (unreadable(own=False), "trouble"),
        (AsyncAPIRedirectError("moved", 302, "", True, "login.example"), "trouble"),
        (AsyncAPITooLargeError("large", 200, "", False, 64), "too_large"),
        (APIConnectionError("cut"), "trouble"),
    ],
    ids=str,
)
def test_error_is_classified_by_its_origin(error, fate):
    assert fetch.classify_answer(error) is AnswerFate(fate)


def test_attempts_count_once_in_ten_minutes():
    first = AnswerNote().count(100.0)
    assert first.next_at == 100.0 + UNREADABLE_RECHECK
    note, asked = first, 0
    while note.next_at < 100.0 + UNREADABLE_INTERVAL:
        note, asked = note.count(note.next_at), asked + 1
    assert (note.attempts, note.counted_at, asked) == (1, 100.0, 7), "after 5, 10, 20, ... and 320 seconds"
    assert first.count(first.counted_at + UNREADABLE_INTERVAL).next_at == 100.0 + 2 * UNREADABLE_INTERVAL
    for _ in range(UNREADABLE_ATTEMPTS - 1):
        assert not note.is_used_up
        note = note.count(note.next_at)
    assert note.is_used_up
    assert AnswerNote().next_at == 0.0


def test_notes_come_back_as_they_were():
    notes = {0: AnswerNote(2, 5.5, has_end=True), 1: AnswerNote(1, 5.5, rechecks=3), 3: AnswerNote()}
    assert fetch.notes_from_json(fetch.notes_to_json(notes)) == {0: notes[0], 1: notes[1]}
    assert fetch.notes_from_json({"0": [2, 5.5, True]}) == {0: notes[0]}, "as an older version wrote them"


@pytest.mark.parametrize(
    ("body", "content", "encoded"), [("é".encode(), "é", False), (b"\xff\x00", "/wA=", True)], ids=["text", "bytes"]
)
def test_unreadable_answer_is_kept_unchanged(body, content, encoded):
    task = fetch.unusable_task("j", "t", "https://a.example/", unreadable(body))
    assert (task.content, task.base64_encoded_content, task.unreadable, task.gone) == (content, encoded, True, False)
    assert task.decoded_content() == body
    assert task.has_page


def test_a_page_that_is_too_large_names_the_limit():
    task = fetch.unusable_task("j", "t", "", AsyncAPITooLargeError("large", 200, "", False, 64))
    assert (task.too_large, task.gone, task.status) == (True, False, "error")
    assert "64 bytes" in task.error_message
    assert task.has_page


def test_a_refusal_leaves_nothing_to_be_kept(make):
    task = fetch.unusable_task("j", "t", "", answer(422, own=True))
    assert (task.gone, task.unreadable, task.content) == (True, False, None)
    assert not task.has_page
    assert not make.task(0, status="error").has_page
    assert make.task(0).has_page


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        (b'{"Status": null, "Content": "<html>"}', True),
        (b'{"Status": null, "Content": null}', False),
        (b'{"Status": null}', False),
        (b'["Content"]', False),
        (b'{"Content": "<ht', False),
    ],
)
def test_an_unreadable_answer_may_hold_content(body, holds):
    assert holds_content(body) is holds


@pytest.mark.parametrize(
    ("fields", "lacks"),
    [
        ({"content": None}, True),
        ({"content": ""}, True),
        ({"content": "<html>"}, False),
        ({"content": None, "too_large": True}, False),
        ({"content": '{"Content": "<html>"}', "unreadable": True}, False),
        ({"content": '{"Content": null}', "unreadable": True}, True),
        ({"content": None, "unreadable": True}, True),
    ],
)
def test_tasks_without_a_page_are_named(make, fields, lacks):
    assert fetch.lacks_page(make.task(0, **fields)) is lacks


@pytest.mark.parametrize(
    ("error", "is_refused"),
    [
        (answer(404, own=True), False),
        (answer(406, own=True), False),
        (answer(401, own=True), True),
        (answer(403, own=True), True),
        (answer(403, own=False), True),
        (answer(400, own=False), True),
        (APIConnectionError("cut"), True),
    ],
    ids=str,
)
def test_a_delete_is_sent_again_unless_its_job_has_ended(error, is_refused):
    assert fetch.should_retry_cancel(error) is is_refused
