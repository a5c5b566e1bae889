"""The export of a run by its handle: to a file or a folder, on this machine or at a URL of fsspec."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from scrape_do_celery.export.destinations import is_url, open_sink, split_destination
from scrape_do_celery.export.exporter import ROWS_PER_SHARD, FolderPlan, write_file, write_folder, write_rows
from scrape_do_celery.export.formats import find_format
from scrape_do_celery.export.manifest import Manifest
from scrape_do_celery.export.rows import number_rows
from scrape_do_celery.export.writers import WriterOptions
from scrape_do_celery.outside_text import redact_url

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.export.exporter import OpenWriter
    from scrape_do_celery.export.formats import ExportFormat
    from scrape_do_celery.export.manifest import Shard
    from scrape_do_celery.export.writers import OutputFile
    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.runs.status import RunStatus

Destination: TypeAlias = "str | os.PathLike[str] | OutputFile"
FormatName = Literal["jsonl", "csv", "parquet", "warc", "files"]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """The figures of a finished export."""

    run_id: str
    #: the file or the folder, without the password of a URL; empty for an open file
    to: str
    format: str
    #: rows, one for each entry of the run
    rows: int
    #: rows of tasks that succeeded
    succeeded: int
    #: bytes of the files with rows; pages in files of their own are not counted
    size: int

    @property
    def failed(self) -> int:
        """Rows of tasks that did not succeed."""
        return self.rows - self.succeeded


class ExportMethods:
    """The methods of `RunHandle` that export a run."""

    if TYPE_CHECKING:

        @property
        def status(self) -> RunStatus:
            """The status, which `RunHandle` reads."""
            ...

        def iter_tasks(self, *, partial: bool = False) -> Iterator[TaskDetails]:
            """Yield tasks, as `RunHandle` does."""
            ...

    def export(  # noqa: PLR0913 (the options of an export)
        self,
        to: Destination,
        *,
        format: FormatName | None = None,  # noqa: A002 (the word that pandas, Arrow and Scrapy use)
        overwrite: bool = False,
        partial: bool = False,
        rows_per_shard: int | None = None,
        content: bool = True,
    ) -> ExportReport:
        """Write the entries of the run to a file or a folder, with few of them in memory at a time.

        A file appears under its name when it is whole, or not at all. A folder gets shards, and `manifest.json` at the
        end. If a call was interrupted, the next call with the same arguments keeps the shards whose digests are right,
        and writes the rest. If the folder holds the whole export already, the call writes nothing.

        Args:
            to: a path, or a URL of fsspec such as `s3://bucket/pages.jsonl` (extra `fsspec`). A path that ends with a
                slash, or that is a folder, is a folder of shards. A file that is open for bytes gets the rows as they
                come, and stays open.
            format: `jsonl`, `csv`, `parquet` (extra `parquet`), `warc` (extra `warc`), or `files`: a folder with a file
                for each page. None takes the format of the suffix of `to`.
            overwrite: whether a file, or the files of another export in the folder, may be replaced.
            partial: whether a live run is exported with the tasks that are fetched by now.
            rows_per_shard: the rows of a shard; a number makes `to` a folder. None takes 1,000.
            content: whether the rows have their pages. Only `jsonl`, `csv` and `parquet` can do without.

        Returns:
            The figures of the export.

        Raises:
            ValueError: an argument is wrong. Nothing is written.
            FileExistsError: `to` exists, or the folder holds other files, and `overwrite` is not set.
            ConfigurationError: the package of the format or of the URL is not installed.
            ResultNotReadyError: the run has not ended, and `partial` is not set.
            RunNotFoundError: the store has no such run (any more).
            ResultExpiredError: the pages have expired. No file that may lack pages keeps its name.
            OSError: the destination cannot be written, as with a full disk.
        """
        destination = _read_destination(to)
        form = find_format(format, destination if isinstance(destination, str) else "")
        _check_options(form, rows_per_shard, content=content)
        status = self._read_exportable(partial=partial)
        options = WriterOptions(status.run_id, status.ended or status.created, content)
        tasks = self.iter_tasks(partial=partial)
        rows = number_rows(status.run_id, tasks)
        if not isinstance(destination, str):
            done: Manifest | Shard = write_rows(destination, "", rows, _bind(form, options))
        elif form.is_folder or rows_per_shard is not None or _is_folder(destination):
            sink = open_sink(destination)
            empty = _describe_export(status, form, rows_per_shard or ROWS_PER_SHARD, content=content)
            open_writer = _bind(form, replace(options, sink=sink))
            done = write_folder(FolderPlan(sink, form, open_writer, empty, overwrite), tasks)
        else:
            folder, name = split_destination(destination)
            done = write_file(open_sink(folder), name, rows, _bind(form, options), overwrite=overwrite)
        return ExportReport(status.run_id, _show(destination), form.name, done.rows, done.succeeded, done.size)

    def _read_exportable(self, *, partial: bool) -> RunStatus:
        """Return the status of a run that can be exported now.

        Raises:
            ResultNotReadyError: the run has not ended, and `partial` is not set.
        """
        status = self.status
        if not status.has_ended and not partial:
            raise status.not_ready_error(f"is {status.state}, so its export would lack pages")
        return status


def _read_destination(to: Destination) -> str | OutputFile:
    destination = os.fspath(to) if isinstance(to, str | os.PathLike) else to
    if isinstance(destination, str) and destination and "\0" not in destination:
        return destination
    if hasattr(destination, "write"):
        return destination
    raise ValueError("to must be a path or a URL that is not empty, or a file that is open for bytes")


def _check_options(form: ExportFormat, rows_per_shard: int | None, *, content: bool) -> None:
    if rows_per_shard is not None and (not isinstance(rows_per_shard, int) or rows_per_shard < 1):
        raise ValueError(f"rows_per_shard must be a whole number from 1, not {rows_per_shard!r}")
    if not content and not form.has_content_option:
        raise ValueError(f"content: the format {form.name} cannot leave the pages out; use jsonl, csv or parquet")


def _is_folder(destination: str) -> bool:
    return destination.endswith(("/", os.sep)) or (not is_url(destination) and Path(destination).is_dir())


def _show(destination: str | OutputFile) -> str:
    """Return a destination for people. The URL of a file server may hold a password."""
    if not isinstance(destination, str):
        return ""
    return redact_url(destination) if is_url(destination) else destination


def _bind(form: ExportFormat, options: WriterOptions) -> OpenWriter:
    return lambda file: form.open_writer(file, options)


def _describe_export(status: RunStatus, form: ExportFormat, rows_per_shard: int, *, content: bool) -> Manifest:
    """Return the manifest of an export that has no shard yet."""
    return Manifest(
        run_id=status.run_id,
        format=form.name,
        rows_per_shard=rows_per_shard,
        with_content=content,
        has_ended=status.has_ended,
        state=str(status.state),
        credits=status.credits,
    )
