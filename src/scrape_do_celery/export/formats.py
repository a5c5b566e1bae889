"""The formats of an export by name, and the format that a path asks for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scrape_do_celery.export.extras import load_extra
from scrape_do_celery.export.page_files import PageFileWriter
from scrape_do_celery.export.parquet import ParquetWriter
from scrape_do_celery.export.warc import WarcWriter
from scrape_do_celery.export.writers import open_csv, open_jsonl
from scrape_do_celery.name_hints import suggest_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.export.writers import OutputFile, RowWriter, WriterOptions


@dataclass(frozen=True, slots=True)
class ExportFormat:
    """A format of files."""

    name: str
    #: the suffix of a file, or of a shard
    suffix: str
    open_writer: Callable[[OutputFile, WriterOptions], RowWriter]
    #: further suffixes that mean this format
    aliases: tuple[str, ...] = ()
    #: module and extra of the package that writes the format
    package: tuple[str, str] | None = None
    #: whether the format is a folder in any case
    is_folder: bool = False
    #: whether the pages can be left out
    has_content_option: bool = True

    def check_options(self, rows_per_shard: int | None, *, content: bool) -> None:
        """Check the options of an export in this format.

        Raises:
            ValueError: an option is wrong.
        """
        is_number = isinstance(rows_per_shard, int) and not isinstance(rows_per_shard, bool)
        if rows_per_shard is not None and (not is_number or rows_per_shard < 1):
            raise ValueError(f"rows_per_shard must be a whole number from 1, not {rows_per_shard!r}")
        if not content and not self.has_content_option:
            raise ValueError(f"content: the format {self.name} cannot leave the pages out; use jsonl, csv or parquet")


FORMATS: Final = {
    one.name: one
    for one in (
        ExportFormat("jsonl", ".jsonl", open_jsonl, aliases=(".ndjson",)),
        ExportFormat("csv", ".csv", open_csv),
        ExportFormat("parquet", ".parquet", ParquetWriter, package=("pyarrow.parquet", "parquet")),
        ExportFormat("warc", ".warc.gz", WarcWriter, package=("warcio.warcwriter", "warc"), has_content_option=False),
        ExportFormat("files", ".jsonl", PageFileWriter, is_folder=True, has_content_option=False),
    )
}


def choose_format(name: str | None, to: str) -> ExportFormat:
    """Return the format of this name; without a name, that of the suffix of a path.

    Raises:
        ValueError: there is no such format, or no format has the suffix.
    """
    found = _format_of_suffix(to) if name is None else FORMATS.get(name)
    if found is None:
        names = ", ".join(FORMATS)
        if name is None:
            raise ValueError(
                "format: the destination has no suffix that names a format; "
                f"end it with a suffix such as .jsonl, or name the format: {names}"
            )
        raise ValueError(f"format must be one of {names}: {name!r}{suggest_name(str(name), FORMATS)}")
    return found


def find_format(name: str | None, to: str) -> ExportFormat:
    """Return the format as `choose_format` does, if this process can write it.

    Raises:
        ValueError: there is no such format, or no format has the suffix.
        ConfigurationError: the package that writes the format is not installed.
    """
    found = choose_format(name, to)
    if found.package:
        load_extra(*found.package)
    return found


def _format_of_suffix(to: str) -> ExportFormat | None:
    for one in FORMATS.values():
        if not one.is_folder and to.lower().endswith((one.suffix, *one.aliases)):
            return one
    return None
