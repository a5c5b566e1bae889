"""Test the export to a folder: shards, the manifest at the end, and the second call after an interruption."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scrape_do_celery import ResultExpiredError, RunHandle
from scrape_do_celery.export import exporter
from scrape_do_celery.export.manifest import Manifest, Shard
from scrape_do_celery.export.sinks import LocalSink
from scrape_do_celery.runs import exports
from scrape_do_celery.runs.exports import ExportRequest, export_ended_run

FORMATS = ["jsonl", "csv", "files"]


class Interruption(BaseException):
    """An end of the process, as by Ctrl-C."""


class DyingSink(LocalSink):
    """A sink whose process dies before a file is written, before the file gets its name, or after that."""

    def __init__(self, folder, lives):
        super().__init__(folder)
        self._lives = lives

    @contextmanager
    def create(self, name, **options):
        with super().create(name, **options) as file:
            self._die_later()
            yield file
            self._die_later()
        self._die_later()

    def _die_later(self):
        self._lives -= 1
        if self._lives < 0:
            raise Interruption


@pytest.fixture
def die_after(monkeypatch):
    """Return a function that lets exports die after some files."""

    def set_lives(lives):
        monkeypatch.setattr(exports, "open_sink", lambda folder, _: DyingSink(Path(folder), lives))

    return set_lives


def rows_of(folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    lines = [line for shard in manifest["shards"] for line in (folder / shard["file"]).read_bytes().splitlines()]
    return [json.loads(line) for line in lines]


def test_a_folder_has_shards_with_their_digests_in_the_manifest(many_pages, tmp_path, names_in):
    report = many_pages.export(tmp_path / "out", format="jsonl", rows_per_shard=3)
    assert names_in(tmp_path / "out") == [
        "manifest.json",
        *(f"shard-0000{n}.jsonl" for n in (1, 2, 3)),
    ]
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (manifest["run_id"], manifest["state"], manifest["has_ended"]) == ("r", "succeeded", True)
    assert (manifest["rows"], manifest["succeeded"], manifest["failed"]) == (7, 7, 0)
    for shard in manifest["shards"]:
        data = (tmp_path / "out" / shard["file"]).read_bytes()
        assert (shard["size"], shard["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert [shard["rows"] for shard in manifest["shards"]] == [3, 3, 1]
    assert [row["content"] for row in rows_of(tmp_path / "out")] == [f"page {n}" for n in range(7)]
    assert (report.rows, report.size) == (7, sum(shard["size"] for shard in manifest["shards"]))


def test_a_folder_of_files_has_an_index_with_digest_status_cost_and_meta(make_run, tmp_path, names_in):
    page = {
        "content": "<p>",
        "response_headers": {"Content-Type": "text/html"},
        "scrape_do_metadata": {"Request-Cost": "2"},
    }
    handle = make_run(
        [page, {"content": None, "status": "error"}],
        inputs=[{"url": "https://shop.example/0", "meta": 5}, "https://shop.example/1"],
    )
    handle.export(tmp_path, format="files")
    first, second = rows_of(tmp_path)
    assert (first["file"], first["status"], first["cost"], first["meta"]) == ("page-000001.html", "success", 2.0, 5)
    assert hashlib.sha256((tmp_path / first["file"]).read_bytes()).hexdigest() == first["sha256"]
    assert (second["file"], second["sha256"], second["status"]) == (None, None, "error")
    assert names_in(tmp_path) == ["manifest.json", "page-000001.html", "shard-00001.jsonl"]


def test_a_path_with_a_slash_or_an_existing_folder_gets_shards(many_pages, tmp_path, names_in):
    (tmp_path / "old").mkdir()
    for to in (f"{tmp_path}/new/", tmp_path / "old"):
        many_pages.export(to, format="csv")
        assert names_in(Path(to)) == ["manifest.json", "shard-00001.csv"]


def test_a_run_without_rows_has_an_empty_manifest(make_run, tmp_path, names_in):
    handle = make_run([None])
    assert handle.export(tmp_path, format="jsonl").rows == 0
    assert names_in(tmp_path) == ["manifest.json"]


@pytest.mark.parametrize("form", FORMATS)
def test_the_next_call_carries_on_wherever_the_process_died(make_run, tmp_path, die_after, form, read_folder):
    many_pages = make_run([{"content": f"page {n}"} for n in range(3)])
    many_pages.export(tmp_path / "whole", format=form, rows_per_shard=2)
    expected = read_folder(tmp_path / "whole")
    for lives in range(100):
        folder = tmp_path / f"died-{lives}"
        die_after(lives)
        try:
            many_pages.export(folder, format=form, rows_per_shard=2)
        except Interruption:
            died = lives
        else:
            break
        die_after(1000)
        many_pages.export(folder, format=form, rows_per_shard=2)
        assert read_folder(folder) == expected
    assert died == (17 if form != "files" else 26)


def test_finished_shards_are_kept_and_broken_ones_written_again(many_pages, tmp_path, die_after, names_in):
    die_after(12)  # the unfinished manifest, two shards, and the manifest with the first one
    with pytest.raises(Interruption):
        many_pages.export(tmp_path, format="jsonl", rows_per_shard=2)
    assert names_in(tmp_path) == ["shard-00001.jsonl", "shard-00002.jsonl", "unfinished.json"]
    before = (tmp_path / "shard-00001.jsonl").stat().st_ino
    die_after(1000)
    many_pages.export(tmp_path, format="jsonl", rows_per_shard=2)
    assert (tmp_path / "shard-00001.jsonl").stat().st_ino == before
    (tmp_path / "shard-00003.jsonl").write_text("broken")
    kept = (tmp_path / "shard-00002.jsonl").stat().st_ino
    many_pages.export(tmp_path, format="jsonl", rows_per_shard=2)
    assert (tmp_path / "shard-00002.jsonl").stat().st_ino == kept
    assert len(rows_of(tmp_path)) == 7


def test_an_export_of_an_earlier_run_with_the_same_id_is_another_one(step_harness, make_run, tmp_path, clock):
    """Callers may choose ids, and may use an id again after its record has expired."""
    folder = tmp_path / "out"
    make_run([{"content": "old"}]).export(folder, format="jsonl", rows_per_shard=10)
    step_harness.redis.flushall()
    clock.forward(60)
    handle = make_run([{"content": "new"}])
    with pytest.raises(FileExistsError, match="holds another export"):
        handle.export(folder, format="jsonl", rows_per_shard=10)
    assert [row["content"] for row in rows_of(folder)] == ["old"]
    handle.export(folder, format="jsonl", rows_per_shard=10, overwrite=True)
    assert [row["content"] for row in rows_of(folder)] == ["new"]


def test_of_two_exports_that_begin_in_a_folder_at_once_one_goes_on(make_run, tmp_path, monkeypatch):
    first, second = (make_run([{"content": f"page of {run_id}"}], run_id=run_id) for run_id in ("r", "s"))
    folder, find, others = tmp_path / "out", exporter._find_shards, iter([second])

    def find_before_another(plan):
        found = find(plan)
        for other in others:
            checked.append(other)
            with pytest.raises(Interruption):
                export_ended_run(other, f"{folder}/", ExportRequest("jsonl", carry_on=True, check=die_at_first_row))
        return found

    def die_at_first_row():
        if (folder / "unfinished.json").exists():
            raise Interruption

    checked = []
    monkeypatch.setattr(exporter, "_find_shards", find_before_another)
    with pytest.raises(FileExistsError, match=r"unfinished\.json exists already"):
        first.export(folder, format="jsonl", rows_per_shard=10)
    assert checked == [second]
    second.export(f"{folder}/", format="jsonl")
    assert [row["content"] for row in rows_of(folder)] == ["page of s"]


def test_the_next_call_after_a_finished_export_writes_nothing(many_pages, tmp_path, die_after, read_folder):
    for form in FORMATS:
        first = many_pages.export(tmp_path / form, format=form, rows_per_shard=2)
        before = read_folder(tmp_path / form)
        die_after(0)
        assert many_pages.export(tmp_path / form, format=form, rows_per_shard=2) == first
        die_after(1000)
        assert read_folder(tmp_path / form) == before


@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_a_damaged_page_of_a_finished_export_is_written_again(many_pages, tmp_path, damage, read_folder):
    many_pages.export(tmp_path, format="files", rows_per_shard=2)
    before = read_folder(tmp_path)
    page = tmp_path / "page-000004.txt"
    page.write_text("damaged") if damage == "changed" else page.unlink()
    many_pages.export(tmp_path, format="files", rows_per_shard=2)
    assert read_folder(tmp_path) == before


def test_a_folder_with_other_files_is_refused_and_their_files_stay(many_pages, tmp_path, read_folder):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="is not empty"):
        many_pages.export(tmp_path, format="jsonl")
    many_pages.export(tmp_path, format="jsonl", overwrite=True)
    assert read_folder(tmp_path)["mine.txt"] == b"mine"
    assert len(rows_of(tmp_path)) == 7


@pytest.mark.parametrize(
    ("options", "difference"),
    [
        ({"run_id": "other"}, "its run_id is r, not other"),
        ({"format": "csv"}, "its format is jsonl, not csv"),
        ({"rows_per_shard": 3}, "its rows_per_shard is 2, not 3"),
        ({"content": False}, "its with_content is True, not False"),
    ],
)
@pytest.mark.parametrize("lives", [9, 1000], ids=["unfinished", "finished"])
def test_another_export_in_the_folder_is_named_and_kept(
    make_run, many_pages, tmp_path, die_after, options, difference, lives, read_folder, names_in
):
    die_after(lives)
    with suppress(Interruption):
        many_pages.export(tmp_path, format="jsonl", rows_per_shard=2)
    before = read_folder(tmp_path)
    given_options = {"format": "jsonl", "rows_per_shard": 2, **options}
    other = make_run([{"content": "other"}], run_id="other") if given_options.pop("run_id", None) else many_pages
    die_after(1000)
    with pytest.raises(FileExistsError, match=difference):
        other.export(tmp_path, **given_options)
    assert read_folder(tmp_path) == before
    report = other.export(tmp_path, overwrite=True, **given_options)
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert names_in(tmp_path) == ["manifest.json", *(shard["file"] for shard in manifest["shards"])]
    assert report.rows == manifest["rows"]


def test_shards_of_a_live_run_are_not_carried_on(make_run, tmp_path):
    handle = make_run([{"content": "a"}, None], live=True)
    handle.export(tmp_path, format="jsonl", partial=True)
    assert json.loads((tmp_path / "manifest.json").read_text())["has_ended"] is False
    with pytest.raises(FileExistsError, match="the run had not ended then"):
        handle.export(tmp_path, format="jsonl", partial=True)
    assert handle.export(tmp_path, format="jsonl", partial=True, overwrite=True).rows == 1


def test_a_foreign_manifest_is_no_export(many_pages, tmp_path):
    for text in ("", "[]", '{"version": 9}', '{"version": 1}', '{"version": 1, "shards": [{}]}', '{"name": "my app"}'):
        (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(FileExistsError, match=r"manifest\.json in .* is no manifest of an export"):
            many_pages.export(tmp_path, format="jsonl")
        assert (tmp_path / "manifest.json").read_text() == text


@pytest.mark.parametrize("form", FORMATS)
def test_expired_pages_leave_only_shards_that_were_whole_before(
    step_harness, many_pages, tmp_path, form, die_after, names_in
):
    die_after(9 if form != "files" else 15)  # the unfinished manifest, a shard, and the manifest with the shard
    with pytest.raises(Interruption):
        many_pages.export(tmp_path / "some", format=form, rows_per_shard=2)
    die_after(1000)
    (key,) = step_harness.redis.keys("*contents*")
    step_harness.redis.hdel(key, 6)
    for folder in ("some", "none"):
        with pytest.raises(ResultExpiredError):
            many_pages.export(tmp_path / folder, format=form, rows_per_shard=2)
    assert names_in(tmp_path / "none") == []
    names = {name for name in names_in(tmp_path / "some") if not name.startswith("page-")}
    suffix = "csv" if form == "csv" else "jsonl"
    assert names == {f"shard-00001.{suffix}", "unfinished.json"}
    unfinished = Manifest.from_bytes((tmp_path / "some" / "unfinished.json").read_bytes())
    assert [shard.rows for shard in unfinished.shards] == [2]


def test_files_that_a_killed_process_left_do_not_stop_the_next_one(many_pages, tmp_path):
    (tmp_path / ".shard-00001.jsonl.0123456789abcdef.part").write_text("half")
    assert many_pages.export(tmp_path, format="jsonl").rows == 7


def test_two_exports_into_one_folder_at_once_agree(many_pages, tmp_path, monkeypatch, step_harness):
    """Let a second export run to its end after each file of the first."""
    write = exporter.write_rows
    other = RunHandle("r", app_context=step_harness.app_context)

    def write_between(*arguments):
        done = write(*arguments)
        with monkeypatch.context() as patch:
            patch.setattr(exporter, "write_rows", write)
            other.export(tmp_path, format="jsonl", rows_per_shard=2)
        return done

    monkeypatch.setattr(exporter, "write_rows", write_between)
    many_pages.export(tmp_path, format="jsonl", rows_per_shard=2)
    assert [row["number"] for row in rows_of(tmp_path)] == list(range(1, 8))
    monkeypatch.setattr(exporter, "write_rows", write)
    assert many_pages.export(tmp_path, format="jsonl", rows_per_shard=2).rows == 7


TEXTS = st.text(min_size=1, max_size=9)
SHARDS = st.lists(st.builds(Shard, TEXTS, *([st.integers(0, 10**9)] * 3), TEXTS), max_size=3)


@settings(max_examples=30)
@given(TEXTS, st.booleans(), st.integers(1, 10**6), st.floats(0, 1e9), SHARDS)
def test_a_manifest_survives_its_file(text, flag, number, credits_, shards):
    made = Manifest(text, text, "csv", number, flag, not flag, "failed", credits_, tuple(shards))
    assert Manifest.from_bytes(made.to_bytes()) == made
