"""Test the warnings about questionable requests: each once, at the caller's line, and none about a refused request."""

from __future__ import annotations

import warnings

import pytest
from pydantic import ValidationError

from scrape_do_celery import JobCreationRequest, Render, ScreenShot, Wait
from scrape_do_celery.models.concerns import CallerLine, GatheredConcerns, KnownLine, note_concerns

URL = "https://a.example/"


@pytest.fixture
def said():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield found


def test_each_concern_is_said_once(said):
    waits = [{"Action": "Wait", "Timeout": -1}] * 3
    JobCreationRequest(targets=[URL] * 3, timeout=60, session_id=-1, render={"actions": waits})
    assert [str(one.message).partition(":")[0] for one in said] == ["Wait", "timeout=60", "session_id=-1"]
    assert {one.filename for one in said} == {__file__}


def test_text_says_what_happens_and_what_to_change(said):
    JobCreationRequest(targets=[URL], timeout=60)
    [one] = said
    assert str(one.message) == ("timeout=60: the API probably refuses the job; give milliseconds from 5,000 to 120,000")


def test_a_checked_model_is_not_said_again(said):
    render = Render(actions=[Wait(-1), ScreenShot(full=True, particular="#a")], custom_wait=-1, return_json=True)
    assert len(said) == 3
    one = JobCreationRequest(targets=[URL], render=render)
    assert JobCreationRequest.model_validate(one) == one.with_targets([URL]) == one
    assert len(said) == 3


def test_a_refused_request_has_no_warning(said):
    with pytest.raises(ValidationError):
        JobCreationRequest(targets=[], timeout=60, render={"custom_wait": -1})
    assert said == []


def test_the_outermost_block_says_all(said):
    with GatheredConcerns():
        for _ in range(3):
            JobCreationRequest(targets=[URL], timeout=60)
        note_concerns(["another: concern"])
        assert said == []
    assert [str(one.message).partition(":")[0] for one in said] == ["timeout=60", "another"]
    note_concerns(["at once"])
    assert len(said) == 3


def test_a_thread_says_them_at_the_line_of_its_caller(said):
    line = CallerLine.find()
    with KnownLine(line):
        note_concerns(["a concern"])
    [one] = said
    assert (one.filename, one.lineno) == (__file__, line.number)


def test_python_says_a_repeated_concern_of_a_line_once():
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("default")
        line = CallerLine.find()
        for _ in range(3):
            with KnownLine(line):
                note_concerns(["a concern of this line"])
    assert len(found) == 1
