"""Write the rows of a run to one file, or to a folder of shards that a later call can carry on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, TypeAlias

from scrape_do_celery.errors import ResultExpiredError
from scrape_do_celery.export.file_names import MANIFEST, UNFINISHED, is_beyond, is_temporary, shard_name
from scrape_do_celery.export.manifest import Manifest, Shard
from scrape_do_celery.export.page_files import are_pages_whole, find_digest
from scrape_do_celery.export.rows import number_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from scrape_do_celery.export.formats import ExportFormat
    from scrape_do_celery.export.rows import ExportRow
    from scrape_do_celery.export.sinks import Sink
    from scrape_do_celery.export.writers import OutputFile, RowWriter
    from scrape_do_celery.models import TaskDetails

OpenWriter: TypeAlias = "Callable[[OutputFile], RowWriter]"
#: Rows of a shard, by default.
ROWS_PER_SHARD: Final = 1_000
_ADVICE: Final = "choose another folder, or overwrite the files of exports in it (overwrite=True, --overwrite)"


class DigestFile:
    """A file that counts and digests the bytes that pass through."""

    def __init__(self, file: OutputFile) -> None:
        self._file, self._digest, self.size, self.closed = file, hashlib.sha256(), 0, False

    def write(self, data: bytes, /) -> int:
        """Write bytes."""
        self._digest.update(data)
        self.size += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        """Hand written bytes on."""
        self._file.flush()

    @property
    def sha256(self) -> str:
        """The digest of all bytes."""
        return self._digest.hexdigest()


@dataclass(frozen=True, slots=True)
class FolderPlan:
    """An export of a folder that the caller asks for."""

    sink: Sink
    format: ExportFormat
    open_writer: OpenWriter
    #: the manifest without shards
    empty: Manifest
    overwrite: bool
    #: whether an export of the same run goes on, also if it may be replaced
    carry_on: bool = True


def _begin_nothing() -> None:
    """Do nothing before the first byte is written."""


def write_rows(file: OutputFile, name: str, rows: Iterable[ExportRow], open_writer: OpenWriter) -> Shard:
    """Write rows into an open file. Return the description of the file."""
    digested, count, succeeded = DigestFile(file), 0, 0
    writer = open_writer(digested)
    for row in rows:
        writer.write(row)
        count, succeeded = count + 1, succeeded + row.is_success
    writer.close()
    return Shard(name, count, succeeded, digested.size, digested.sha256)


def write_file(  # noqa: PLR0913 (the file, its content and how it is written)
    sink: Sink,
    name: str,
    rows: Iterable[ExportRow],
    open_writer: OpenWriter,
    *,
    overwrite: bool,
    begin: Callable[[], None] = _begin_nothing,
) -> Shard:
    """Write all rows into one file. Call `begin` before, if the name is free.

    Raises:
        FileExistsError: the sink has an entry of this name, and `overwrite` is not set.
    """
    if not overwrite and sink.exists(name):
        raise FileExistsError(
            f"{name} exists already in {sink.label}: choose another name, or overwrite it (overwrite=True, --overwrite)"
        )
    begin()
    with sink.create(name) as file:
        written = write_rows(file, name, rows, open_writer)
    sink.sync()
    return written


def write_folder(plan: FolderPlan, tasks: Iterable[TaskDetails]) -> Manifest:
    """Write all rows into shards, and the manifest at the end. Carry on an interrupted export of the same run.

    Raises:
        FileExistsError: the folder holds other files, and `overwrite` is not set.
        ResultExpiredError: pages have expired. The shards of this call may lack pages, and are removed.
    """
    sink = plan.sink
    kept, is_finished = _keep_shards(plan)
    if is_finished:
        # A process that dies after its last write leaves this file.
        sink.remove(UNFINISHED)
        return kept
    _write_manifest(sink, UNFINISHED, kept)
    # Without its manifest, nobody takes the folder for a finished export while files of the folder change.
    sink.remove(MANIFEST)
    _remove_beyond(sink, kept)
    found, rows = kept, number_rows(kept.run_id, islice(tasks, kept.rows, None), kept.rows + 1)
    try:
        for some in _split(rows, plan.empty.rows_per_shard):
            name = shard_name(len(found.shards) + 1, plan.format.suffix)
            with sink.create(name) as file:
                shard = write_rows(file, name, some, plan.open_writer)
            found = found.add(shard)
            _write_manifest(sink, UNFINISHED, found)
    except ResultExpiredError:
        _remove_beyond(sink, kept)
        if kept.shards:
            _write_manifest(sink, UNFINISHED, kept)
        else:
            sink.remove(UNFINISHED)
        raise
    _write_manifest(sink, MANIFEST, found)
    sink.remove(UNFINISHED)
    sink.sync()
    return found


def _write_manifest(sink: Sink, name: str, manifest: Manifest) -> None:
    """Write a manifest."""
    with sink.create(name) as file:
        file.write(manifest.to_bytes())


def _split(rows: Iterator[ExportRow], size: int) -> Iterator[Iterator[ExportRow]]:
    """Yield the rows in shares of this size, none of them empty. A share must be read before the next one."""
    for first in rows:
        yield chain([first], islice(rows, size - 1))


def _keep_shards(plan: FolderPlan) -> tuple[Manifest, bool]:
    """Return the manifest of the shards that are kept, and whether they are a whole export.

    Raises:
        FileExistsError: the folder holds other files, and the caller does not overwrite them.
    """
    if plan.carry_on:
        try:
            return _find_shards(plan)
        except FileExistsError:
            if not plan.overwrite:
                raise
    return plan.empty, False


def _find_shards(plan: FolderPlan) -> tuple[Manifest, bool]:
    sink = plan.sink
    for name in (MANIFEST, UNFINISHED):
        if sink.exists(name):
            before = _read_manifest(sink, name)
            if fault := before.describe_difference(plan.empty):
                raise FileExistsError(f"{sink.label} holds another export ({fault}): {_ADVICE}")
            kept = before.keep(_count_whole(plan, before.shards))
            return kept, name == MANIFEST and kept == before
    if any(not is_temporary(name) for name in sink.names()):
        raise FileExistsError(f"{sink.label} is not empty: {_ADVICE}")
    return plan.empty, False


def _read_manifest(sink: Sink, name: str) -> Manifest:
    with sink.open(name) as file:
        raw = file.read()
    try:
        return Manifest.from_bytes(raw)
    except ValueError as error:
        message = f"{name} in {sink.label} is no manifest of an export ({error}): {_ADVICE}"
        raise FileExistsError(message) from None


def _count_whole(plan: FolderPlan, shards: Iterable[Shard]) -> int:
    """Return the number of the first shards whose files have their digests."""
    sink, count = plan.sink, 0
    for shard in shards:
        if shard.file != shard_name(count + 1, plan.format.suffix) or find_digest(sink, shard.file) != shard.sha256:
            break
        if plan.format.is_folder and not are_pages_whole(sink, shard.file):
            break
        count += 1
    return count


def _remove_beyond(sink: Sink, kept: Manifest) -> None:
    """Remove the files of an export that are not part of the kept shards. Files of others stay."""
    for name in sink.names():
        if is_beyond(name, shards=len(kept.shards), rows=kept.rows):
            sink.remove(name)
