"""Test the rows of an export: each entry of a run has one, with its page as text or bytes."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scrape_do_celery import Target
from scrape_do_celery.export.file_names import page_name
from scrape_do_celery.export.rows import ExportRow, make_row
from scrape_do_celery.models import TaskDetails
from scrape_do_celery.outside_text import escape_formula

PNG = b"\x89PNG\r\n\x1a\n\x00\xff"


def encoded(data, media=None, **fields):
    """Return the fields of a task whose page the API sent as base64."""
    headers = {"Content-Type": media} if media else {}
    content = base64.b64encode(data).decode()
    return {"content": content, "base64_encoded_content": True, "response_headers": headers, **fields}


def row_of(**fields):
    given_fields = {"task_id": "t", "job_id": "j", "url": "https://a.example/", "status": "success", **fields}
    return make_row("r", 1, TaskDetails(**given_fields))


PAGES = {
    "text": ({"content": "<p>é☂"}, "<p>é☂", "<p>é☂".encode(), "txt"),
    "empty text": ({"content": ""}, "", b"", "txt"),
    "bytes in a charset": (encoded("é".encode("cp1252"), "text/html; charset=windows-1252"), "é", b"\xe9", "html"),
    "bytes without a type": (encoded(b"plain"), "plain", b"plain", "txt"),
    "JSON as bytes": (encoded(b"{}", "application/problem+json"), "{}", b"{}", "json"),
    "an image": (encoded(PNG, "image/png"), None, PNG, "png"),
    "bytes without a type that are no text": (encoded(PNG), None, PNG, "bin"),
    "NUL bytes without a type": (encoded(b"a\0b"), None, b"a\0b", "bin"),
    "text with bytes outside of its charset": (encoded(b"a\xff", "text/plain; charset=utf-8"), None, b"a\xff", "bin"),
    "lone surrogates": ({"content": "a\ud800"}, None, b"a\xed\xa0\x80", "bin"),
    "a type of a program": (encoded(PNG, "application/x-msdownload"), None, PNG, "bin"),
    "a type with a path": (encoded(b"x", "text/../../x"), "x", b"x", "txt"),
    "a failed task with a page": ({"content": "no", "status": "error"}, "no", b"no", "txt"),
}


@pytest.mark.parametrize("name", PAGES)
def test_page_is_text_if_nothing_is_lost_and_bytes_otherwise(name):
    fields, text, data, suffix = PAGES[name]
    row = row_of(**fields)
    shown = row.to_json()
    assert (row.page.text, row.page.data, row.content_error) == (text, data, None)
    assert (shown["size"], shown["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert shown["is_base64"] is (text is None)
    assert shown["content"] == (base64.b64encode(data).decode() if text is None else text)
    assert page_name(row) == f"page-000001.{suffix}"


@pytest.mark.parametrize("fields", [{"content": None}, {"content": "", "status": "error"}])
def test_task_without_a_page_is_a_row_without_content(fields):
    shown = row_of(**fields).to_json()
    assert [shown[name] for name in ("size", "sha256", "is_base64", "content")] == [None, None, False, None]


def test_content_that_should_be_base64_and_is_not_is_kept_with_the_fault():
    row = row_of(content="é, no base64", base64_encoded_content=True)
    assert (row.page.text, row.page.data) == ("é, no base64", "é, no base64".encode())
    assert "outside ASCII" in row.content_error


def test_a_row_for_each_input_with_its_meta_and_failed_tasks_among_them(make_run):
    inputs = [
        Target("https://shop.example/0", {"sku": 1}),
        "https://shop.example/1",
        Target("https://shop.example/0", 2),
    ]
    handle = make_run(
        [{"content": "page"}, {"content": None, "status": "error", "error_message": "no answer", "gone": True}],
        inputs=inputs,
        dedupe=True,
    )
    file = io.BytesIO()
    report = handle.export(file, format="jsonl")
    rows = [json.loads(line) for line in file.getvalue().splitlines()]
    assert [(row["number"], row["url"][-1], row["meta"], row["content"]) for row in rows] == [
        (1, "0", {"sku": 1}, "page"),
        (2, "1", None, None),
        (3, "0", 2, "page"),
    ]
    assert (rows[1]["status"], rows[1]["error_message"], rows[1]["gone"]) == ("error", "no answer", True)
    assert (report.rows, report.succeeded, report.failed, report.size) == (3, 2, 1, len(file.getvalue()))


def test_times_cost_and_headers_are_in_the_row():
    row = row_of(
        content="x",
        end_time="2026-11-30T01:02:03Z",
        scrape_do_metadata={"Request-Cost": "25", "Resolved-Url": "https://b.example/"},
        response_headers={"content-type": "text/html", "Set-Cookie": ["a=1", "b=2"]},
    ).to_json()
    assert (row["end_time"], row["cost"], row["resolved_url"]) == (
        "2026-11-30T01:02:03+00:00",
        25,
        "https://b.example/",
    )
    assert (row["content_type"], row["response_headers"]["Set-Cookie"]) == ("text/html", ["a=1", "b=2"])


@given(st.text(), st.recursive(st.none() | st.text() | st.integers(-5, 5), lambda inner: st.lists(inner, max_size=3)))
@example("a\u2028b\x85c\r\n\u2029", "\u2028")
def test_a_line_of_json_is_one_line_for_any_reader(content, meta):
    from scrape_do_celery.export.rows import json_line

    values = {"content": content, "meta": meta}
    line = json_line(values)
    assert len(line.decode().splitlines()) == 1
    assert json.loads(line) == values


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_no_cell_of_csv_begins_with_a_formula(make_run, start):
    formula = f"{start}HYPERLINK(1)"
    handle = make_run([{"content": formula, "error_message": formula}], inputs=[Target("https://shop.example/0", -1)])
    file = io.BytesIO()
    handle.export(file, format="csv")
    (row,) = csv.DictReader(io.StringIO(file.getvalue().decode(), newline=""))
    assert (row["content"], row["meta"]) == (f"'{formula}", "'-1")
    assert [name for name, cell in row.items() if cell.startswith(start)] == []
    assert escape_formula("plain") == "plain"


def test_csv_has_the_columns_of_json_and_quotes_what_pages_hold(make_run):
    page = 'a,"b"\r\nc;☂'
    handle = make_run([{"content": page, "response_headers": {"A": "b"}}, encoded(PNG, "image/png")])
    lines, table = io.BytesIO(), io.BytesIO()
    handle.export(lines, format="jsonl")
    handle.export(table, format="csv")
    rows = list(csv.DictReader(io.StringIO(table.getvalue().decode(), newline="")))
    assert [row["content"] for row in rows] == [page, base64.b64encode(PNG).decode()]
    assert [row["is_base64"] for row in rows] == ["false", "true"]
    assert json.loads(rows[0]["response_headers"]) == {"A": "b"}
    assert list(rows[0]) == list(json.loads(lines.getvalue().splitlines()[0]))


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_pages_can_be_left_out(many_pages, form):
    file = io.BytesIO()
    many_pages.export(file, format=form, content=False)
    assert b"page 3" not in file.getvalue()
    assert file.getvalue().count(hashlib.sha256(b"page 3").hexdigest().encode()) == 1


@given(st.sampled_from(["..", "/etc/passwd", "a\nb", "text/html\r\nX: 1", "x" * 300, "\0", "☂"]), st.integers(1, 10**7))
def test_names_of_pages_have_no_text_of_a_page_or_a_target(text, number):
    fields = {"url": text, "task_id": "t", "job_id": "j", "status": "success", "content": "x"}
    row = make_row("r", number, TaskDetails(**fields, response_headers={"Content-Type": text}))
    assert page_name(row) in {f"page-{number:06d}.txt", f"page-{number:06d}.html"}
    assert isinstance(row, ExportRow)
