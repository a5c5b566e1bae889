"""Test exports as Parquet: typed columns, pages as bytes, row groups of bounded size."""

from __future__ import annotations

import io
import json
import sys
from datetime import UTC, datetime

import pytest

from scrape_do_celery import ConfigurationError

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def read_table(tmp_path):
    """Return a function that exports a run and reads its table."""

    def read(handle, **options):
        handle.export(tmp_path / "a.parquet", **options)
        return parquet.ParquetFile(tmp_path / "a.parquet")

    return read


def test_columns_have_types_and_pages_are_bytes(make_run, read_table):
    handle = make_run(
        [
            {"content": "é☂", "end_time": "2026-11-30T01:02:03Z", "scrape_do_metadata": {"Request-Cost": "2.5"}},
            {"content": "gQ==", "base64_encoded_content": True},
            {"content": None, "status": "error", "error_message": "no"},
        ],
        inputs=[
            {"url": "https://shop.example/0", "meta": {"sku": 1}},
            "https://shop.example/1",
            "https://shop.example/2",
        ],
    )
    rows = read_table(handle).read().to_pylist()
    assert [row["content"] for row in rows] == ["é☂".encode(), b"\x81", None]
    assert (rows[0]["end_time"], rows[0]["cost"]) == (datetime(2026, 11, 30, 1, 2, 3, tzinfo=UTC), 2.5)
    assert [row["number"] for row in rows] == [1, 2, 3]
    assert [json.loads(row["meta"]) if row["meta"] else None for row in rows] == [{"sku": 1}, None, None]
    assert (rows[2]["status"], rows[2]["error_message"], rows[2]["size"]) == ("error", "no", None)


def test_pages_can_be_left_out(many_pages, read_table):
    table = read_table(many_pages, content=False).read()
    assert "content" not in table.column_names
    assert table.num_rows == 7


def test_a_run_without_rows_has_the_columns(make_run, read_table):
    table = read_table(make_run([None])).read()
    assert (table.num_rows, table.column_names[0], table.column_names[-1]) == (0, "run_id", "content")


def test_a_row_group_is_written_when_it_is_large(make_run, read_table):
    handle = make_run([{"content": str(n) * 6_000_000} for n in range(7)])
    file = read_table(handle)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [3, 3, 1]
    assert [len(page) for page in file.read(["content"])["content"].to_pylist()] == [6_000_000] * 7
    statistics = file.metadata.row_group(0).column(file.schema_arrow.names.index("content")).statistics
    assert statistics is None, "statistics would hold pages once more"


def test_an_interrupted_folder_is_carried_on(many_pages, tmp_path):
    many_pages.export(tmp_path, format="parquet", rows_per_shard=3)
    (tmp_path / "shard-00002.parquet").unlink()
    many_pages.export(tmp_path, format="parquet", rows_per_shard=3)
    assert parquet.read_table(tmp_path / "shard-00002.parquet")["number"].to_pylist() == [4, 5, 6]
    assert parquet.ParquetDataset([*tmp_path.glob("shard-*.parquet")]).read().num_rows == 7


def test_an_open_file_stays_open(many_pages):
    file = io.BytesIO()
    many_pages.export(file, format="parquet")
    assert parquet.read_table(io.BytesIO(file.getvalue())).num_rows == 7


def test_an_absent_package_is_named_with_its_extra(many_pages, tmp_path, monkeypatch, names_in):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'scrape-do-celery\[parquet\]'"):
        many_pages.export(tmp_path / "new" / "a", format="parquet")
    assert names_in(tmp_path) == []
