"""Write the rows of a run to one file, or to a folder of shards that a later call can carry on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

from scrape_do_celery.errors import ResultExpiredError
from scrape_do_celery.export.file_names import MANIFEST, UNFINISHED, is_beyond, is_temporary, shard_name
from scrape_do_celery.export.manifest import Manifest, Shard
from scrape_do_celery.export.page_files import are_pages_whole, find_digest
from scrape_do_celery.export.rows import number_rows
from scrape_do_celery.export.sinks import exists_error

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


def do_nothing() -> None:
    """Do nothing, as the default of a call that an export makes on its way."""


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
    #: called before the folder is changed. Its error ends the export: another attempt may have finished it meanwhile
    check: Callable[[], None] = do_nothing

    def write_manifest(self, name: str, manifest: Manifest, *, replace: bool = True) -> None:
        """Write a manifest."""
        self.check()
        with self.sink.create(name, replace=replace) as file:
            file.write(manifest.to_bytes())

    def remove(self, name: str) -> None:
        """Remove a file."""
        self.check()
        self.sink.remove(name)

    def remove_beyond(self, kept: Manifest) -> None:
        """Remove the files of an export that are not part of the kept shards. Files of others stay."""
        for name in self.sink.names():
            if is_beyond(name, shards=len(kept.shards), rows=kept.rows):
                self.remove(name)


class _Start(NamedTuple):
    """The state of a folder from which an export goes on."""

    #: the manifest of the shards that are kept
    kept: Manifest
    #: whether they are a whole export
    is_finished: bool = False
    #: whether the folder is empty
    is_new: bool = False


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
    is_begun: bool = False,
    begin: Callable[[], None] = do_nothing,
) -> Shard:
    """Write all rows into one file. Call `begin` before, if the name is free.

    With `is_begun`, an earlier attempt may have written the file. Then a file of the same bytes is replaced.

    Raises:
        FileExistsError: the sink has an entry of this name, and `overwrite` is not set.
    """
    has_file = not overwrite and sink.exists(name)
    if has_file and not is_begun:
        raise exists_error(sink, name)
    begin()
    with sink.create(name, replace=overwrite or has_file) as file:
        written = write_rows(file, name, rows, open_writer)
        if has_file and find_digest(sink, name) != written.sha256:
            raise exists_error(sink, name)
    sink.sync()
    return written


def write_folder(plan: FolderPlan, tasks: Iterable[TaskDetails]) -> Manifest:
    """Write all rows into shards, and the manifest at the end. Carry on an interrupted export of the same run.

    Raises:
        FileExistsError: the folder holds other files, and `overwrite` is not set.
        ResultExpiredError: pages have expired. The shards of this call may lack pages, and are removed.
    """
    sink = plan.sink
    start = _keep_shards(plan)
    kept = start.kept
    if start.is_finished:
        # A process that dies after its last write leaves this file.
        plan.remove(UNFINISHED)
        return kept
    # Of two exports that have found the folder empty, one gets it.
    plan.write_manifest(UNFINISHED, kept, replace=not start.is_new)
    # Without its manifest, nobody takes the folder for a finished export while files of the folder change.
    plan.remove(MANIFEST)
    plan.remove_beyond(kept)
    found, rows = kept, number_rows(kept.run_id, islice(tasks, kept.rows, None), kept.rows + 1)
    try:
        for some in _split(rows, plan.empty.rows_per_shard):
            name = shard_name(len(found.shards) + 1, plan.format.suffix)
            with sink.create(name) as file:
                shard = write_rows(file, name, some, plan.open_writer)
            found = found.add(shard)
            plan.write_manifest(UNFINISHED, found)
    except ResultExpiredError:
        plan.remove_beyond(kept)
        if kept.shards:
            plan.write_manifest(UNFINISHED, kept)
        else:
            plan.remove(UNFINISHED)
        raise
    plan.write_manifest(MANIFEST, found)
    plan.remove(UNFINISHED)
    sink.sync()
    return found


def _split(rows: Iterator[ExportRow], size: int) -> Iterator[Iterator[ExportRow]]:
    """Yield the rows in shares of this size, none of them empty. A share must be read before the next one."""
    for first in rows:
        yield chain([first], islice(rows, size - 1))


def _keep_shards(plan: FolderPlan) -> _Start:
    """Return the shards that are kept.

    Raises:
        FileExistsError: the folder holds other files, and the caller does not overwrite them.
    """
    if plan.carry_on:
        try:
            return _find_shards(plan)
        except FileExistsError:
            if not plan.overwrite:
                raise
    return _Start(plan.empty)


def _find_shards(plan: FolderPlan) -> _Start:
    sink = plan.sink
    for name in (MANIFEST, UNFINISHED):
        if sink.exists(name):
            before = _read_manifest(sink, name)
            if fault := before.describe_difference(plan.empty):
                raise FileExistsError(f"{sink.label} holds another export ({fault}): {_ADVICE}")
            kept = before.keep(_count_whole(plan, before.shards))
            return _Start(kept, is_finished=name == MANIFEST and kept == before)
    if any(not is_temporary(name) for name in sink.names()):
        raise FileExistsError(f"{sink.label} is not empty: {_ADVICE}")
    return _Start(plan.empty, is_new=True)


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
