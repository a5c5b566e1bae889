"""The format Parquet, by pyarrow. Pages are bytes, as the target sent them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.export.extras import load_extra
from scrape_do_celery.export.rows import FACTS

if TYPE_CHECKING:
    from scrape_do_celery.export.rows import ExportRow
    from scrape_do_celery.export.writers import OutputFile, WriterOptions

#: Pages and rows of a row group at most. A group is in memory until it is written.
_GROUP_BYTES: Final = 16 << 20
_GROUP_ROWS: Final = 1_000
_INTEGERS: Final = frozenset({"number", "status_code", "size"})
_FLAGS: Final = frozenset({"gone", "too_large", "unreadable", "given_up"})
_TIMES: Final = frozenset({"start_time", "end_time", "expires_at"})


class ParquetWriter:
    """A writer of row groups."""

    def __init__(self, file: OutputFile, options: WriterOptions) -> None:
        self._arrow = load_extra("pyarrow", "parquet")
        self._schema = _make_schema(self._arrow, with_content=options.with_content)
        self._with_content = options.with_content
        self._rows: list[dict[str, Any]] = []
        self._size, self._has_group = 0, False
        # Statistics and dictionaries would hold pages once more.
        small = [name for name in self._schema.names if name != "content"]
        self._writer = load_extra("pyarrow.parquet", "parquet").ParquetWriter(
            self._arrow.PythonFile(file, mode="w"),
            self._schema,
            compression="zstd",
            use_dictionary=small,
            write_statistics=small,
        )

    def write(self, row: ExportRow) -> None:
        """Add a row to the group. Write the group if it is full."""
        values = row.facts() | row.nested_texts()
        if self._with_content:
            values["content"] = None if row.page is None else row.page.data
        self._rows.append(values)
        self._size += row.size or 0
        if self._size >= _GROUP_BYTES or len(self._rows) >= _GROUP_ROWS:
            self._write_group()

    def close(self) -> None:
        """Write the last group and the end of the file."""
        # pyarrow 18 cannot read a file without groups.
        if self._rows or not self._has_group:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._size, self._has_group = [], 0, True


def _make_schema(arrow: Any, *, with_content: bool) -> Any:
    columns = [(name, _column_type(arrow, name)) for name in FACTS]
    return arrow.schema([*columns, *([("content", arrow.binary())] if with_content else [])])


def _column_type(arrow: Any, name: str) -> Any:
    if name in _INTEGERS:
        return arrow.int64()
    if name in _FLAGS:
        return arrow.bool_()
    if name in _TIMES:
        return arrow.timestamp("us", tz="UTC")
    return arrow.float64() if name == "cost" else arrow.string()
