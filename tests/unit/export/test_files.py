"""Test the export to one file: whole or absent, never over another file, and with clear errors."""

from __future__ import annotations

import io
import os
import resource
import stat

import pytest

from scrape_do_celery import ResultExpiredError, ResultNotReadyError, RunHandle, RunNotFoundError
from scrape_do_celery.runs.exports import ExportRequest, export_ended_run


def lines_of(path):
    return path.read_bytes().count(b"\n")


@pytest.mark.parametrize(("name", "form"), [("a.jsonl", "jsonl"), ("a.NDJSON", "jsonl"), ("a.csv", "csv")])
def test_the_suffix_chooses_the_format(many_pages, tmp_path, name, form, names_in):
    report = many_pages.export(tmp_path / "new" / name)
    assert (report.run_id, report.format, report.rows, report.to) == ("r", form, 7, str(tmp_path / "new" / name))
    assert lines_of(tmp_path / "new" / name) == 7 + (form == "csv")
    assert names_in(tmp_path / "new") == [name]


def test_a_file_in_the_current_folder(many_pages, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    many_pages.export("pages.txt", format="jsonl")
    assert lines_of(tmp_path / "pages.txt") == 7


def test_another_file_is_replaced_only_on_request(many_pages, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match=r"a\.jsonl exists already"):
        many_pages.export(path)
    assert path.read_text() == "mine"
    many_pages.export(path, overwrite=True)
    assert lines_of(path) == 7


def test_a_file_that_appears_meanwhile_stays(many_pages, tmp_path, names_in):
    """Two exports may begin at once with the same name. The second one to end must not take the place of the first."""
    path = tmp_path / "a.jsonl"
    request = ExportRequest(check=lambda: path.write_text("mine"))
    with pytest.raises(FileExistsError, match=r"a\.jsonl exists already"):
        export_ended_run(many_pages, str(path), request)
    assert (path.read_text(), names_in(tmp_path)) == ("mine", ["a.jsonl"])


def test_a_disk_without_links_gets_the_file(many_pages, tmp_path, monkeypatch, names_in):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    path = tmp_path / "a.jsonl"
    many_pages.export(path)
    assert lines_of(path) == 7
    path.unlink()
    with pytest.raises(FileExistsError, match=r"a\.jsonl exists already"):
        export_ended_run(many_pages, str(path), ExportRequest(check=lambda: path.write_text("mine")))
    assert (path.read_text(), names_in(tmp_path)) == ("mine", ["a.jsonl"])


def test_a_link_is_replaced_and_its_file_stays(many_pages, tmp_path):
    (tmp_path / "victim").write_text("mine")
    for name, victim in (("a.jsonl", "victim"), ("b.jsonl", "absent")):
        (tmp_path / name).symlink_to(tmp_path / victim)
        with pytest.raises(FileExistsError):
            many_pages.export(tmp_path / name)
        many_pages.export(tmp_path / name, overwrite=True)
        assert not (tmp_path / name).is_symlink()
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "absent").exists()


def test_a_file_has_the_mode_of_the_users_umask(many_pages, tmp_path):
    before = os.umask(0o027)
    try:
        many_pages.export(tmp_path / "a.jsonl")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.jsonl").stat().st_mode) == 0o640


def test_a_full_disk_leaves_no_file(make_run, tmp_path):
    handle = make_run([{"content": "x" * 50_000} for _ in range(4)])
    (tmp_path / "a.jsonl").write_text("older")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The system then refuses writes as on a full disk, with another number of the error.
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            handle.export(tmp_path / "a.jsonl", overwrite=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.jsonl": "older"}


def test_expired_pages_leave_no_file(step_harness, many_pages, tmp_path, names_in):
    (key,) = step_harness.redis.keys("*:contents:*") or step_harness.redis.keys("*contents*")
    step_harness.redis.hdel(key, 3)
    with pytest.raises(ResultExpiredError):
        many_pages.export(tmp_path / "a.jsonl")
    assert names_in(tmp_path) == []


def test_a_live_run_is_exported_only_on_request(make_run, tmp_path, names_in):
    handle = make_run([{"content": "a"}, None], live=True)
    with pytest.raises(ResultNotReadyError, match="its export would lack pages"):
        handle.export(tmp_path / "a.jsonl")
    assert names_in(tmp_path) == []
    assert handle.export(tmp_path / "a.jsonl", partial=True).rows == 1


def test_an_unknown_run_leaves_nothing(step_harness, tmp_path, names_in):
    with pytest.raises(RunNotFoundError):
        RunHandle("absent", app_context=step_harness.app_context).export(tmp_path / "new" / "a.jsonl")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("to", "options", "message"),
    [
        ("", {}, "to must be a path"),
        (None, {}, "to must be a path"),
        (b"a.jsonl", {}, "to must be a path"),
        ("a\0.jsonl", {}, "to must be a path"),
        ("a.txt", {}, "no suffix that names a format; .* name the format: jsonl, csv"),
        ("a.jsonl", {"format": "jsnl"}, "'jsnl'; did you mean jsonl"),
        ("a", {"format": "files", "rows_per_shard": 0}, "rows_per_shard must be a whole number from 1"),
        ("a.jsonl", {"rows_per_shard": 1.5}, "rows_per_shard must be"),
        ("a", {"format": "files", "content": False}, "files cannot leave the pages out"),
    ],
)
def test_a_wrong_argument_is_refused_before_anything_is_written(
    many_pages, tmp_path, monkeypatch, to, options, message, names_in
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        many_pages.export(to, **options)
    assert names_in(tmp_path) == []


def test_pages_in_files_of_their_own_need_a_folder(many_pages):
    with pytest.raises(ValueError, match="files needs a folder"):
        many_pages.export(io.BytesIO(), format="files")
