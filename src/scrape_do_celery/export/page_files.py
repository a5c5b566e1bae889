"""The format of a folder of pages: a file for each page, and indexes with a line of JSON for each row."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, Final

from scrape_do_celery.export.file_names import page_name
from scrape_do_celery.export.rows import json_line

if TYPE_CHECKING:
    from scrape_do_celery.export.rows import ExportRow
    from scrape_do_celery.export.sinks import Sink
    from scrape_do_celery.export.writers import OutputFile, WriterOptions

_CHUNK: Final = 1 << 20


class PageFileWriter:
    """A writer of pages into files of their own, and of their index."""

    def __init__(self, file: OutputFile, options: WriterOptions) -> None:
        if options.sink is None:
            raise ValueError("format: files needs a folder, because each page is a file")
        self._file, self._sink = file, options.sink

    def write(self, row: ExportRow) -> None:
        """Write the page of a row, and then its line in the index."""
        name = None if row.page is None else page_name(row)
        if row.page is not None and name is not None:
            with self._sink.create(name) as page:
                page.write(row.page.data)
        self._file.write(json_line({"file": name, **row.to_json(with_content=False)}))

    def close(self) -> None:
        """Do nothing, because the last line is the end."""


def are_pages_whole(sink: Sink, index: str) -> bool:
    """Return whether each page in an index has its digest."""
    with sink.open(index) as lines:
        return all(_is_page_whole(sink, json.loads(line)) for line in lines)


def _is_page_whole(sink: Sink, line: dict[str, Any]) -> bool:
    return line["file"] is None or find_digest(sink, line["file"]) == line["sha256"]


def find_digest(sink: Sink, name: str) -> str | None:
    """Return the digest of a file; None if the folder does not have it."""
    digest = hashlib.sha256()
    try:
        with sink.open(name) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except FileNotFoundError:
        return None
    return digest.hexdigest()
