"""Test exports to URLs of fsspec: no file under its name before it is whole, as on a disk."""

from __future__ import annotations

import json

import pytest

from scrape_do_celery import ConfigurationError, ResultExpiredError
from scrape_do_celery.export.destinations import split_destination
from scrape_do_celery.runs.exports import ExportRequest, export_ended_run

fsspec = pytest.importorskip("fsspec")


@pytest.fixture
def bucket():
    """Return an empty file system in memory."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    return files


def names_of(bucket):
    return sorted(bucket.store)


@pytest.mark.parametrize("scheme", ["memory:/", "file://"])
def test_a_file_at_a_url(many_pages, bucket, tmp_path, scheme):
    url = f"{scheme}{tmp_path}/new/a.jsonl"
    assert many_pages.export(url).rows == 7
    with fsspec.open(url, "rb") as file:
        assert file.read().count(b"\n") == 7
    with pytest.raises(FileExistsError, match=r"a\.jsonl exists already"):
        many_pages.export(url)
    many_pages.export(url, overwrite=True)


def test_a_service_that_cannot_tell_whether_a_file_exists_keeps_it(many_pages, bucket, monkeypatch):
    """fsspec answers "absent" after any error. A service that is overloaded for a moment must not cost a file."""
    bucket.pipe("/bucket/a.jsonl", b"mine")
    info, errors = type(bucket).info, [PermissionError("denied"), OSError("503 slow down")]

    def fail_once(files, path, **options):
        if errors and path.endswith("a.jsonl"):
            raise errors.pop()
        return info(files, path, **options)

    monkeypatch.setattr(type(bucket), "info", fail_once)
    for fault in (OSError, PermissionError, FileExistsError):
        with pytest.raises(fault):
            many_pages.export("memory://bucket/a.jsonl")
        assert bucket.store["/bucket/a.jsonl"].getvalue() == b"mine"


def test_a_file_that_appears_meanwhile_at_a_url_stays(many_pages, bucket):
    def add(data=b"mine"):
        bucket.pipe("/bucket/a.jsonl", data)

    request = ExportRequest(check=add)
    with pytest.raises(FileExistsError, match=r"a\.jsonl exists already"):
        export_ended_run(many_pages, "memory://bucket/a.jsonl", request)
    assert names_of(bucket) == ["/bucket/a.jsonl"]
    assert bucket.cat("/bucket/a.jsonl") == b"mine"


@pytest.mark.parametrize("folder", ["a[b]", "what?", "all*"])
def test_a_folder_with_signs_of_patterns(many_pages, bucket, folder):
    many_pages.export(f"memory://{folder}/a.jsonl")
    assert names_of(bucket) == [f"/{folder}/a.jsonl"]


@pytest.mark.parametrize("form", ["jsonl", "csv", "files"])
def test_a_folder_at_a_url_is_carried_on(many_pages, bucket, form):
    many_pages.export("memory://bucket/out", format=form, rows_per_shard=2)
    before = {name: bucket.cat(name) for name in names_of(bucket)}
    assert json.loads(bucket.cat("/bucket/out/manifest.json"))["rows"] == 7
    bucket.rm_file("/bucket/out/manifest.json")
    broken = f"/bucket/out/shard-00003.{'csv' if form == 'csv' else 'jsonl'}"
    bucket.pipe("/bucket/out/unfinished.json", before["/bucket/out/manifest.json"])
    bucket.pipe(broken, b"broken")
    many_pages.export("memory://bucket/out/", format=form, rows_per_shard=2)
    assert {name: bucket.cat(name) for name in names_of(bucket)} == before


def test_an_error_leaves_nothing(step_harness, many_pages, bucket):
    (key,) = step_harness.redis.keys("*contents*")
    step_harness.redis.hdel(key, 3)
    for url in ("memory://bucket/a.jsonl", "memory://bucket/folder/"):
        with pytest.raises(ResultExpiredError):
            many_pages.export(url, format="jsonl")
    assert names_of(bucket) == []


def test_another_export_and_other_files_are_refused(many_pages, bucket):
    bucket.pipe("/bucket/mine/a.txt", b"mine")
    with pytest.raises(FileExistsError, match="memory://bucket/mine/ is not empty"):
        many_pages.export("memory://bucket/mine/", format="csv")
    many_pages.export("memory://bucket/mine/", format="csv", overwrite=True)
    assert bucket.cat("/bucket/mine/a.txt") == b"mine"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nosuch://anna:green@host/a.jsonl", "nosuch"),
        ("s3://bucket/a.jsonl", "s3fs"),
    ],
)
def test_a_url_of_an_unknown_kind_is_named_without_its_password(many_pages, url, message):
    with pytest.raises(ConfigurationError, match=message) as caught:
        many_pages.export(url)
    assert "green" not in str(caught.value)


def test_an_absent_fsspec_is_named(many_pages, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'scrape-do-celery\[fsspec\]'"):
        many_pages.export("memory://a.jsonl")


def test_a_report_has_no_password(many_pages, bucket):
    assert many_pages.export("memory://anna:green@bucket/a.jsonl").to == "memory://***@bucket/a.jsonl"


@pytest.mark.parametrize(
    ("destination", "folder", "name"),
    [
        ("a.jsonl", "", "a.jsonl"),
        ("/a.jsonl", "/", "a.jsonl"),
        ("x/y/a.jsonl", "x/y", "a.jsonl"),
        ("memory://a.jsonl", "memory://", "a.jsonl"),
        ("s3://bucket/x/a.jsonl", "s3://bucket/x", "a.jsonl"),
    ],
)
def test_the_folder_of_a_destination(destination, folder, name):
    assert split_destination(destination) == (folder, name)
