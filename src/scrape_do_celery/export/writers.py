"""The interface of the writers of all formats, and the formats with a line for each row: JSON lines and CSV."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from scrape_do_celery.export.rows import FACTS, json_line
from scrape_do_celery.outside_text import csv_line

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from scrape_do_celery.export.rows import ExportRow
    from scrape_do_celery.export.sinks import Sink

_CONTENT: Final = ("is_base64", "content")


class OutputFile(Protocol):
    """A file that a writer fills. The writer does not close the file."""

    def write(self, data: bytes, /) -> int:
        """Write bytes."""
        ...

    def flush(self) -> None:
        """Hand written bytes on."""
        ...


class RowWriter(Protocol):
    """A writer of rows into one file."""

    def write(self, row: ExportRow) -> None:
        """Write a row."""
        ...

    def close(self) -> None:
        """Write the end of the file."""
        ...


@dataclass(frozen=True, slots=True)
class WriterOptions:
    """The facts that the writers of all formats get."""

    run_id: str
    #: the time of a page that has none of its own
    time: datetime
    with_content: bool
    #: the folder for further files; None if the rows go to a stream
    sink: Sink | None = None


class LineWriter:
    """A writer of a line for each row."""

    def __init__(self, file: OutputFile, to_line: Callable[[ExportRow], bytes], header: bytes = b"") -> None:
        self._file, self._to_line = file, to_line
        file.write(header)

    def write(self, row: ExportRow) -> None:
        """Write the line of a row."""
        self._file.write(self._to_line(row))

    def close(self) -> None:
        """Do nothing, because the last line is the end."""


def open_jsonl(file: OutputFile, options: WriterOptions) -> RowWriter:
    """Return a writer of JSON lines."""
    return LineWriter(file, lambda row: json_line(row.to_json(with_content=options.with_content)))


def open_csv(file: OutputFile, options: WriterOptions) -> RowWriter:
    """Return a writer of CSV with a header."""
    header = csv_header(with_content=options.with_content)
    return LineWriter(file, lambda row: csv_row(row, with_content=options.with_content), header)


def csv_header(*, with_content: bool) -> bytes:
    """Return the line of the names of the columns."""
    return csv_line([*FACTS, *(_CONTENT if with_content else ())]).encode()


def csv_row(row: ExportRow, *, with_content: bool) -> bytes:
    """Return the line of a row."""
    values = row.to_json(with_content=with_content) | row.nested_texts()
    return csv_line(str(value).lower() if isinstance(value, bool) else value for value in values.values()).encode()


def csv_fault(run_id: str, text: str) -> bytes:
    """Return the line of a run whose pages cannot be read."""
    return csv_line({**dict.fromkeys(FACTS), "run_id": run_id, "error_message": text}.values()).encode()
