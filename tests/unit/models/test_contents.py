"""Test how a task's content becomes text and JSON, and the error of content that is something else."""

from __future__ import annotations

import base64
import codecs
import encodings
import json
import pickle
import re
import sys
import traceback
import warnings

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scrape_do_celery.errors import ScrapeDoError, UnreadableContentError
from scrape_do_celery.models import GoogleSearchResults, TaskDetails
from scrape_do_celery.models.contents import MAX_LEVELS, decode_base64, decode_page, parse_json

SECRET = "text-of-the-page"
RUSSIAN = "Цена: 5 €"


def make_task(content=None, *, headers=None, telemetry=None, status="success", coded=None):
    if isinstance(content, bytes):
        content, coded = base64.b64encode(content).decode(), True
    return TaskDetails.model_validate(
        {
            "TaskID": "t1",
            "JobID": "j1",
            "Status": status,
            "Content": content,
            "Base64EncodedContent": bool(coded),
            "ResponseHeaders": headers,
            "Scrape.do": telemetry,
        }
    )


def assert_names_the_task(error, expected):
    """Check the data of an error, and that neither the error nor a copy nor its chain carries the page."""
    assert (error.task_id, error.job_id, error.expected) == ("t1", "j1", expected)
    assert "task t1 (job j1)" in str(error)
    assert error.reason in str(error)
    copies = [pickle.loads(pickle.dumps(error)), ScrapeDoError.from_json(json.loads(json.dumps(error.to_json())))]
    for other in copies:
        assert (type(other), other.args) == (UnreadableContentError, error.args)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(error)) + repr(error.args)
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__) if "/tests/" not in frame.f_code.co_filename]
    assert SECRET not in repr([frame.f_locals for frame in frames])


@pytest.mark.parametrize("content", ["", "<p>grün", "a\ud800b", "\ufeff{}", "YWJj", '<meta charset="koi8-r">ж'])
def test_text_content_comes_back_unchanged(content):
    assert make_task(content).text == content
    assert make_task(content, headers={"Content-Type": "text/html; charset=koi8-r"}).text == content


def test_no_content_is_no_text():
    assert make_task().text is None
    assert make_task(coded=True).text is None
    assert make_task(b"").text == ""


META = '<meta charset="{}">'
PRAGMA = '<meta http-equiv="Content-Type" content="text/html; charset={}">'
XML = '<?xml version="1.0" encoding="{}"?>'


@pytest.mark.parametrize(
    ("page", "header"),
    [
        (codecs.BOM_UTF8 + RUSSIAN.encode(), None),
        (codecs.BOM_UTF16_LE + RUSSIAN.encode("utf-16-le"), "text/html; charset=utf-8"),
        (codecs.BOM_UTF16_BE + RUSSIAN.encode("utf-16-be"), "text/html; charset=cp1251"),
        (codecs.BOM_UTF32_LE + RUSSIAN.encode("utf-32-le"), None),
        (RUSSIAN.encode("cp1251"), "text/html; charset=windows-1251"),
        (RUSSIAN.encode("cp1251"), 'text/html; charset="Windows-1251"'),
        (RUSSIAN.encode("cp1251"), "TEXT/HTML;CHARSET=cp1251"),
        (RUSSIAN.encode(), "text/html"),
        (RUSSIAN.encode(), None),
        (RUSSIAN.encode(), "text/html; charset=no-such-encoding"),
    ],
)
def test_the_mark_then_the_header_decides(page, header):
    assert make_task(page, headers=header and {"content-TYPE": header}).text == RUSSIAN


@pytest.mark.parametrize("form", [META, PRAGMA, XML])
@pytest.mark.parametrize("header", [None, "text/html", "text/html; charset=base64", "text/html; charset=punycode"])
def test_the_page_decides_if_the_header_does_not(form, header):
    text = form.format("windows-1251") + RUSSIAN
    assert make_task(text.encode("cp1251"), headers=header and {"Content-Type": header}).text == text


def test_the_header_wins_over_the_page():
    text = META.format("koi8-r") + RUSSIAN.replace("€", "")
    page = make_task(text.encode("cp1251"), headers={"Content-Type": ["text/html; charset=cp1251", "text/plain"]})
    assert page.text == text


@pytest.mark.parametrize(("raw", "text"), [(b"gr\xfcn \x80", "grün €"), (b"\xe4\xbd\xa0", "你"), (b"a\x81", "a�")])
def test_bytes_without_a_name_are_utf_8_or_western(raw, text):
    assert make_task(raw).text == text


@pytest.mark.parametrize("name", ["utf-7", "UTF7", "unicode_escape", "raw-unicode-escape", "idna", "undefined"])
def test_an_encoding_that_no_browser_knows_is_none(name):
    assert decode_page(b"+ADw-b+AD4- \\x3cb", f"text/html; charset={name}") == "+ADw-b+AD4- \\x3cb"
    assert decode_page(META.format(name).encode() + b"\\x3c") == META.format(name) + "\\x3c"


NAMES = sorted({*encodings.aliases.aliases, *encodings.aliases.aliases.values(), "idna", "punycode", "undefined"})
claims = st.one_of(
    st.none(),
    st.sampled_from(NAMES).map("text/html; charset={}".format),
    st.sampled_from(NAMES).map('text/html; charset="{}"'.format),
    st.text(max_size=30),
)
marks = st.sampled_from([b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF32_BE, b"\xff", b"\x00"])
metas = st.sampled_from(NAMES).map(lambda name: META.format(name).encode()) | st.just(b"")


@given(marks, metas, st.binary(max_size=200), claims | st.lists(st.text(max_size=20), max_size=3))
@example(b"", b"", b"\xff" * 3, "text/html; charset=idna")
@example(b"", META.format("hex").encode(), b"zz", None)
def test_no_bytes_are_refused_as_text(mark, meta, body, claim):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = make_task(mark + meta + body, headers={"Content-Type": claim} if claim is not None else None).text
    assert isinstance(text, str)


def test_every_encoding_of_python_may_be_named():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in NAMES:
            assert isinstance(decode_page(bytes(range(256)) * 4, f"text/html; charset={name}"), str), name


# A mark of UTF-16 before a null character is the mark of UTF-32.
@given(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=80),
    st.sampled_from(["utf-8", "utf-16", "utf-32", "utf-8-sig"]),
)
def test_a_marked_text_comes_back(text, encoding):
    marked = text.encode(encoding) if encoding != "utf-8" else codecs.BOM_UTF8 + text.encode()
    assert make_task(marked).text == text


@pytest.mark.parametrize("read", ["text", "decoded_content", "json_content", "screenshots", "rendered"])
def test_content_that_is_no_base64_names_its_task(read):
    task = make_task(f"%{SECRET}ü", coded=True)
    with pytest.raises(UnreadableContentError) as caught:
        getattr(task, read)() if read.endswith("content") else getattr(task, read)
    assert_names_the_task(caught.value, "base64")
    assert isinstance(caught.value, ValueError)
    assert task.content == f"%{SECRET}ü"


@given(st.text(max_size=60))
def test_base64_gives_bytes_or_a_value_error(text):
    broken = None
    try:
        assert isinstance(decode_base64(text), bytes)
    except ValueError as error:
        broken = error
    assert broken is None or broken.__context__ is None


@pytest.mark.parametrize(
    ("content", "data"),
    [
        ('{"a": [1, null]}', {"a": [1, None]}),
        ("\ufeff[1]", [1]),
        ('"\\ud800"', "\ud800"),
        ('["\ud800"]', ["\ud800"]),
        ('{"a": 1, "a": 2}', {"a": 2}),
        (" 7\n", 7),
        ("null", None),
        (b'{"a": "\xc3\xbc"}', {"a": "ü"}),
        (codecs.BOM_UTF16_LE + '{"a": "ü"}'.encode("utf-16-le"), {"a": "ü"}),
    ],
)
def test_json_content(content, data):
    assert make_task(content).json_content() == data


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f"<html>{SECRET}", "it is HTML or XML"),
        (f"{SECRET} as text", "line 1, column 1"),
        ("", "the page is empty"),
        (b"\x89PNG\r\n\x1a\n\x00" + SECRET.encode(), "it is binary data, not text. Read `decoded_content()`"),
        (f'{{"a": "{SECRET}', "Unterminated"),
        (f'{{"a": "{SECRET}"}} x', "Extra data"),
        (f'"{SECRET}\x01"', "control character"),
        (f'"{SECRET}\ud800', "Unterminated"),
        ("1" * 5000, "too many digits"),
        (b"\xff\xfe\x00" + SECRET.encode(), "line 1, column 1"),
        ("[" * 300 + "]" * 300, "200 levels"),
        ('{"a":' * 100_000, "200 levels"),
        ('["\\ud800",' * 100_000, "200 levels"),
        ('["\\ud800",' + "[" * 300 + "]" * 300 + "]", "200 levels"),
        (None, "the page is empty"),
    ],
)
def test_content_that_is_no_json_names_its_task(content, reason):
    task = make_task(content)
    with pytest.raises(UnreadableContentError) as caught:
        task.json_content()
    assert_names_the_task(caught.value, "JSON")
    assert reason.lower() in str(caught.value).lower()
    assert task.content == make_task(content).content


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"Status": "error"}, "the task ended as error and has no page. Read `error_message`"),
        ({"Status": "canceled", "Content": ""}, "the task ended as canceled and has no page. Read `error_message`"),
        ({"Status": "error", "Content": "<p>no"}, "it is HTML or XML, and the task ended as error. Read `text`"),
        ({"Status": "error", "gone": True}, "the API has deleted the page. Buy the page again"),
        ({"Status": "error", "too_large": True}, "the page was longer than the limit and was not fetched. Raise"),
        ({"Status": "pending"}, "the task is pending and has no page yet. Read the task again after its end."),
        ({"Status": "reticulating"}, "the task is reticulating and has no page yet."),
        ({"Status": "success", "Content": ""}, "the page is empty. Read `status_code`"),
    ],
)
def test_a_task_without_a_json_page_says_why_and_what_to_do(fields, text):
    task = TaskDetails.model_validate({"TaskID": "t1", "JobID": "j1", **fields})
    with pytest.raises(UnreadableContentError) as caught:
        task.json_content()
    assert_names_the_task(caught.value, "JSON")
    assert f"The content of task t1 (job j1) cannot be read as JSON: {text}" in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"Content": "<p>"},
        {"Content": "{}"},
        {"Content": "[1]"},
        {"Content": '{"frames": 1}'},
        {"Content": "{}", "return_json": False},
        {"Content": "ü", "Base64EncodedContent": True},
    ],
)
def test_errors_about_content_are_whole_sentences(fields):
    task = TaskDetails.model_validate({"TaskID": "t1", "JobID": "j1", "Status": "success", **fields})
    for read in (lambda: task.frames, lambda: GoogleSearchResults.from_task(task)):
        with pytest.raises(UnreadableContentError) as caught:
            read()
        sentence = r"The content of task t1 \(job j1\) cannot be read as [^:]+: [^.]+\. (Read|Set) [^.]+\."
        assert re.fullmatch(sentence, str(caught.value)), str(caught.value)


def test_json_of_a_thousand_levels_is_refused_from_any_depth_of_the_stack():
    def call_from(depth):
        if depth:
            return call_from(depth - 1)
        with pytest.raises(ValueError, match="levels"):
            parse_json('["\\ud800",' + "[" * 900 + "]" * 900 + "]")
        return None

    for depth in (0, 300, sys.getrecursionlimit() - 250):
        call_from(depth)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(json_values, st.booleans())
def test_every_json_value_comes_back(value, ascii_only):
    assert parse_json(json.dumps(value, ensure_ascii=ascii_only)) == value


@pytest.mark.parametrize("levels", [1, MAX_LEVELS, MAX_LEVELS + 40])
@pytest.mark.parametrize("leaf", ["1", '"\\ud800"'])
def test_the_limit_of_levels_holds_for_both_parsers(levels, leaf):
    text = "[" * levels + leaf + "]" * levels
    if levels <= MAX_LEVELS:
        assert parse_json(text)
    else:
        with pytest.raises(ValueError, match="200 levels"):
            parse_json(text)


@pytest.mark.parametrize("key", ["Resolved-Url", "scrape.do-resolved-url", "Scrape.do-Resolved-Url", "RESOLVED-URL "])
def test_telemetry_in_any_spelling(key):
    assert make_task("x", telemetry={"Rid": "1", key: "https://b/"}).resolved_url == "https://b/"


def test_values_of_telemetry():
    telemetry = {
        "Scrape.do-Request-Cost": "10",
        "remaining-credits": "481230.5",
        "Scrape.do-Initial-Status-Code": "301",
        "Resolved-Url": "",
    }
    task = make_task("<p>", telemetry=telemetry)
    assert (task.cost, task.remaining_credits, task.initial_status_code) == (10, 481230.5, 301)
    assert task.resolved_url is None


@pytest.mark.parametrize("value", ["", "free", "-1", "1e999", "1e16", "nan"])
def test_telemetry_that_is_no_amount(value):
    telemetry = dict.fromkeys(("Request-Cost", "Remaining-Credits", "Initial-Status-Code"), value)
    task = make_task("<p>", telemetry=telemetry)
    assert (task.cost, task.remaining_credits, task.initial_status_code) == (None, None, None)


@pytest.mark.parametrize(
    ("content", "url"),
    [
        ('{"screenShots": [], "resolvedURL": "https://c/"}', "https://c/"),
        (b' {"screenShots": [], "ResolvedUrl": "https://c/"}'.strip(), "https://c/"),
        ('{"screenShots": [], "resolvedURL": null}', None),
        ('{"resolvedURL": "https://c/"}', None),
        ('{"screenShots": ', None),
        ("<html>", None),
        (b"e\xff", None),
        ("", None),
        (None, None),
    ],
)
def test_the_resolved_url_of_a_render(content, url):
    known = {"return_json": True}
    assert make_task(content).model_copy(update=known).resolved_url == url
    told = make_task(content, telemetry={"Resolved-Url": "https://b/"})
    assert told.resolved_url == told.model_copy(update=known).resolved_url == "https://b/"
    # A page that is JSON may look like the answer to a render. So may the page of a failed task.
    for other in (make_task(content), make_task(content).model_copy(update={"return_json": False})):
        assert other.resolved_url is None
    assert make_task(content, status="error").model_copy(update=known).resolved_url is None


def test_reading_changes_nothing_of_the_task():
    task = make_task('{"screenShots": [], "content": "x"}')
    before = (task.model_dump(), pickle.dumps(task), dict(task.__dict__))
    assert task.text
    assert task.json_content()
    assert task.screenshots == ()
    assert (task.model_dump(), pickle.dumps(task), dict(task.__dict__)) == before
    assert pickle.loads(pickle.dumps(task)) == task
