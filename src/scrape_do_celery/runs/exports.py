"""The export of a run by its handle: to a file or a folder, on this machine or at a URL of fsspec."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from scrape_do_celery.config.secrets import read_storage
from scrape_do_celery.export.destinations import is_url, open_sink, split_destination
from scrape_do_celery.export.exporter import (
    ROWS_PER_SHARD,
    FolderPlan,
    do_nothing,
    write_file,
    write_folder,
    write_rows,
)
from scrape_do_celery.export.formats import find_format
from scrape_do_celery.export.manifest import Manifest
from scrape_do_celery.export.rows import number_rows
from scrape_do_celery.export.writers import WriterOptions
from scrape_do_celery.local_variables import without_locals
from scrape_do_celery.outside_text import redact_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scrape_do_celery.export.exporter import OpenWriter
    from scrape_do_celery.export.formats import ExportFormat
    from scrape_do_celery.export.manifest import Shard
    from scrape_do_celery.export.options import FormatName
    from scrape_do_celery.export.sinks import Sink
    from scrape_do_celery.export.writers import OutputFile
    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.runs.status import RunStatus

Destination: TypeAlias = "str | os.PathLike[str] | OutputFile"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What an export writes, and what it asks on its way."""

    format: FormatName | None = None
    overwrite: bool = False
    partial: bool = False
    rows_per_shard: int | None = None
    content: bool = True
    #: whether an export of the same run goes on, also if it may be replaced
    carry_on: bool = False
    #: whether an earlier attempt may have written the file
    is_begun: bool = False
    #: called before the first byte of a file is written, if its name is free
    begin: Callable[[], None] = do_nothing
    #: called before each row, and before a folder is changed. Its error ends the export
    check: Callable[[], None] = do_nothing


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
        _app_context: AppContext

        @property
        def status(self) -> RunStatus:
            """The status, which `RunHandle` reads."""
            ...

        def iter_tasks(self, *, partial: bool = False) -> Iterator[TaskDetails]:
            """Yield tasks, as `RunHandle` does."""
            ...

    @without_locals
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
        request = ExportRequest(format, overwrite, partial, rows_per_shard, content, carry_on=not overwrite)
        return self._write_export(_read_destination(to), request)

    def _write_export(self, destination: str | OutputFile, request: ExportRequest) -> ExportReport:
        """Export as `export` does."""
        form = find_format(request.format, destination if isinstance(destination, str) else "")
        form.check_options(request.rows_per_shard, content=request.content)
        status = self._read_exportable(partial=request.partial)
        options = WriterOptions(status.run_id, status.ended or status.created, request.content)
        tasks = _check_each(self.iter_tasks(partial=request.partial), request.check)
        rows = number_rows(status.run_id, tasks)
        if not isinstance(destination, str):
            done: Manifest | Shard = write_rows(destination, "", rows, _bind(form, options))
        elif form.is_folder or request.rows_per_shard is not None or _is_folder(destination):
            sink = self._open_sink(destination)
            empty = _describe_export(status, form, request)
            open_writer = _bind(form, replace(options, sink=sink))
            plan = FolderPlan(sink, form, open_writer, empty, request.overwrite, request.carry_on, request.check)
            done = write_folder(plan, tasks)
        else:
            folder, name = split_destination(destination)
            bound = _bind(form, options)
            sink = self._open_sink(folder)
            some = {"overwrite": request.overwrite, "is_begun": request.is_begun}
            done = write_file(sink, name, rows, bound, **some, begin=request.begin)
        return ExportReport(status.run_id, _show(destination), form.name, done.rows, done.succeeded, done.size)

    def _open_sink(self, folder: str) -> Sink:
        return open_sink(folder, read_storage(self._app_context.settings.export_storage))

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


def _check_each(tasks: Iterable[TaskDetails], check: Callable[[], None]) -> Iterator[TaskDetails]:
    for task in tasks:
        check()
        yield task


def _is_folder(destination: str) -> bool:
    return destination.endswith(("/", os.sep)) or (not is_url(destination) and Path(destination).is_dir())


def _show(destination: str | OutputFile) -> str:
    """Return a destination for people. The URL of a file server may hold a password."""
    if not isinstance(destination, str):
        return ""
    return redact_url(destination) if is_url(destination) else destination


def _bind(form: ExportFormat, options: WriterOptions) -> OpenWriter:
    return lambda file: form.open_writer(file, options)


def _describe_export(status: RunStatus, form: ExportFormat, request: ExportRequest) -> Manifest:
    """Return the manifest of an export that has no shard yet."""
    return Manifest(
        run_id=status.run_id,
        created=status.created.isoformat(),
        format=form.name,
        rows_per_shard=request.rows_per_shard or ROWS_PER_SHARD,
        with_content=request.content,
        has_ended=status.has_ended,
        state=str(status.state),
        credits=status.credits,
    )


def export_ended_run(run: ExportMethods, to: str, request: ExportRequest) -> ExportReport:
    """Export a run for a step, which says by `request` how its own earlier attempt is carried on.

    Raises:
        Exception: as `RunHandle.export` raises.
    """
    return run._write_export(to, request)  # noqa: SLF001 (the method is not for callers of the package)
