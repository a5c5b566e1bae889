"""Test exports as WARC: a `resource` record for each page, and the facts beside it."""

from __future__ import annotations

import io
import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scrape_do_celery import ConfigurationError
from scrape_do_celery.export.rows import make_row
from scrape_do_celery.export.warc import page_type, target_uri
from scrape_do_celery.models import TaskDetails

archive = pytest.importorskip("warcio.archiveiterator")


def records_of(handle):
    file = io.BytesIO()
    handle.export(file, format="warc")
    found = archive.ArchiveIterator(io.BytesIO(file.getvalue()), check_digests="raise")
    return [(one.rec_type, dict(one.rec_headers.headers), one.content_stream().read()) for one in found]


def test_a_page_is_a_resource_and_each_row_is_metadata(make_run):
    handle = make_run(
        [
            {
                "content": "gf8=",
                "base64_encoded_content": True,
                "response_headers": {"Content-Type": "image/png; x=1"},
                "end_time": "2026-11-30T01:02:03.5Z",
            },
            {"content": None, "status": "error", "error_message": "no"},
        ]
    )
    info, page, facts, failed = records_of(handle)
    assert (info[0], info[2].splitlines()[-1]) == ("warcinfo", b"isPartOf: r")
    assert (page[0], page[2]) == ("resource", b"\x81\xff")
    assert (page[1]["WARC-Target-URI"], page[1]["Content-Type"]) == ("https://shop.example/0", "image/png")
    assert page[1]["WARC-Date"] == "2026-11-30T01:02:03.500000Z"
    assert (facts[0], facts[1]["WARC-Concurrent-To"]) == ("metadata", page[1]["WARC-Record-ID"])
    assert (failed[0], json.loads(failed[2])["error_message"]) == ("metadata", "no")
    assert "WARC-Concurrent-To" not in failed[1]


def test_warcio_finds_no_fault(many_pages, tmp_path):
    many_pages.export(tmp_path / "a.warc.gz")
    done = subprocess.run(
        [sys.executable, "-m", "warcio.cli", "check", "-v", tmp_path / "a.warc.gz"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "fail" not in done.stdout


def test_equal_exports_are_equal_files(many_pages):
    assert len({export_bytes(many_pages) for _ in range(2)}) == 1


def export_bytes(handle):
    file = io.BytesIO()
    handle.export(file, format="warc")
    return file.getvalue()


@given(st.text() | st.just("x\r\nWARC-Type: request"), st.booleans())
def test_no_text_of_a_target_begins_a_header(text, is_url):
    url = f"https://shop.example/{text}" if is_url else text
    fields = {"task_id": "t:1", "job_id": "j", "status": "success", "content": "x"}
    row = make_row("r", 1, TaskDetails(**fields, url=url, response_headers={"content-type": text}))
    for value in (target_uri(row), page_type(row)):
        assert value.isascii()
        assert value.isprintable()
        assert " " not in value
    assert page_type(row).strip()


def test_a_target_that_is_no_url_has_the_ids_of_its_task():
    row = make_row("r", 1, TaskDetails(task_id="t1", job_id="j1", status="success", url='{"q": "x"}', content="x"))
    assert target_uri(row) == "urn:scrape-do:j1:t1"


def test_an_absent_package_is_named_with_its_extra(many_pages, tmp_path, monkeypatch, names_in):
    monkeypatch.setitem(sys.modules, "warcio.warcwriter", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'scrape-do-celery\[warc\]'"):
        many_pages.export(tmp_path / "new" / "a", format="warc")
    assert names_in(tmp_path) == []
