"""Read the targets of a file: plain text, CSV by column, or JSON lines. A fault names the line and the value."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Mapping
from enum import StrEnum
from itertools import chain
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.models.requests import ENQUEUE_ARGUMENTS, RUN_OPTION_NAMES
from scrape_do_celery.models.sendable import join_faults, why_no_text
from scrape_do_celery.models.targets import Target, why_no_meta
from scrape_do_celery.models.urls import why_no_target
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import cut_text, one_line, redact_start, redact_url, show_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scrape_do_celery.models.targets import TargetInput

T = TypeVar("T")


class FileFormat(StrEnum):
    """The format of a file of targets."""

    TEXT = "text"  #: a URL on each line
    CSV = "csv"  #: a table, with a URL in one column
    JSONL = "jsonl"  #: a JSON object, or a URL in quotes, on each line


class TargetFileError(ValueError):
    """A file of targets cannot be read. Nothing was started."""


class TargetLine(NamedTuple):
    """A target of a file, with the options of its line."""

    target: TargetInput
    #: the canonical JSON of the options that the line has for its request; empty without options
    options: str = ""
    #: the file and the line; empty for a line without options, because a million lines are held in memory
    place: str = ""


class LineFault(NamedTuple):
    """The reason that a line of a file is refused."""

    number: int
    text: str

    def __str__(self) -> str:
        return f"line {self.number:,} {self.text}"


_SUFFIXES: Final[Mapping[str, FileFormat]] = {
    ".csv": FileFormat.CSV,
    ".tsv": FileFormat.CSV,
    ".jsonl": FileFormat.JSONL,
    ".ndjson": FileFormat.JSONL,
}
_COMMENT: Final = "#"
_URL_COLUMN: Final = "url"
#: The separators of a table. The first one of them in the header is that of the file.
_SEPARATORS: Final = (",", ";", "\t")
#: The fields of the request that a line may set, under their own names and under those of the API.
_LINE_FIELDS: Final = {name: name for name in JobCreationRequest.model_fields if name not in {"targets", "plugin"}} | {
    str(field.alias): name
    for name, field in JobCreationRequest.model_fields.items()
    if name not in {"targets", "plugin"}
}


def find_format(name: str, given: FileFormat | None, *, has_column: bool) -> FileFormat:
    """Return the format of a file: the given one, else that of the suffix of its name. A column makes it a table.

    Raises:
        TargetFileError: the format has no columns, and a column was named.
    """
    suffix = name[name.rfind(".") :].lower() if "." in name else ""
    found = given or _SUFFIXES.get(suffix) or (FileFormat.CSV if has_column else FileFormat.TEXT)
    if has_column and found is not FileFormat.CSV:
        raise TargetFileError(f"{show_name(name)} is read as {found}, which has no columns: leave --column out")
    return found


def read_target_lines(
    lines: Iterable[str], name: str, file_format: FileFormat, column: str | None = None
) -> list[TargetLine]:
    """Return the targets in the lines of a file. Blank lines do not count.

    Args:
        lines: the lines, with their ends.
        name: the name of the file, for errors.
        file_format: the format of the file.
        column: the name of the column of a table, or its number from 1. None takes the column `url`, or the only one.

    Raises:
        TargetFileError: a line is wrong. The text names the first wrong lines.
    """
    readers = {FileFormat.TEXT: _read_text, FileFormat.JSONL: _read_json_lines}
    found = _read_table(lines, name, column) if file_format is FileFormat.CSV else readers[file_format](lines, name)
    good: list[TargetLine] = []
    faults: list[LineFault] = []
    for one in found:
        if isinstance(one, LineFault):
            faults.append(one)
        else:
            good.append(one)
    if faults:
        raise TargetFileError(
            f"{show_name(name)}: {join_faults(faults)}; nothing was bought: correct the file, and repeat the command"
        )
    return good


def group_lines(lines: Iterable[TargetLine]) -> list[list[TargetLine]]:
    """Return the lines with equal options together, in the order of the first line of each group."""
    groups: dict[str, list[TargetLine]] = {}
    for line in lines:
        groups.setdefault(line.options, []).append(line)
    return list(groups.values())


def sample_items(items: Sequence[T], size: int, seed: int) -> list[T]:
    """Return `size` items at random, in their order. Equal items, sizes and seeds give the same sample."""
    if size >= len(items):
        return list(items)
    chosen = random.Random(seed).sample(range(len(items)), size)
    return [items[index] for index in sorted(chosen)]


def show_name(name: str) -> str:
    """Return the name of a file for a message: in quotes, on one line."""
    return f"'{one_line(name)}'"


def show_value(value: Any) -> str:
    """Return a value of a line for a message: in quotes, on one line, cut, and without credentials."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return f"'{cut_text(one_line(redact_url(redact_start(text))))}'"


def why_no_url(url: Any) -> str | None:
    """Return why a value is no target, with the value; None for a good target."""
    fault = why_no_text(url) or why_no_target(url)
    return None if fault is None else f"{show_value(url)} {fault}"


def _read_text(lines: Iterable[str], _: str) -> Iterator[TargetLine | LineFault]:
    for number, line in enumerate(lines, start=1):
        url = line.strip()
        if url and not url.startswith(_COMMENT):
            fault = why_no_url(url)
            yield TargetLine(url) if fault is None else LineFault(number, f"{fault}{_hint_at_format(url)}")


def _hint_at_format(text: str) -> str:
    return " (read JSON lines with --format jsonl)" if text.startswith(("{", '"')) else ""


def _read_table(lines: Iterable[str], name: str, column: str | None) -> Iterator[TargetLine | LineFault]:
    lines = iter(lines)
    first = next(lines, "")
    rows = csv.reader(chain([first], lines), delimiter=_find_separator(first, name), strict=True)
    index: int | None = None
    number = 1
    width = 0
    while True:
        try:
            row = next(rows, None)
        except csv.Error as error:
            yield LineFault(number, f"begins a row that is no CSV: {error}")
            return
        if row is None:
            return
        if row and index is None:
            index, fault = _find_column(row, column)
            if fault:
                yield LineFault(number, fault)
                return
            width = len(row)
            # A table of URLs may have no header: its first row would be lost.
            row = row if why_no_target(row[index].strip()) is None else []
        if row:
            yield _read_cell(row, number, index or 0, width)
        number = rows.line_num + 1


def _find_separator(header: str, name: str) -> str:
    # A table with one column has no separator in its header, and its URLs may hold commas.
    default = "\t" if name.lower().endswith(".tsv") else ","
    return min((one for one in _SEPARATORS if one in header), key=header.find, default=default)


def _find_column(header: Sequence[str], column: str | None) -> tuple[int, str]:
    """Return the index of a column in the header, and the fault of the header or of the wanted column."""
    names = [name.strip() for name in header]
    wanted = column or _URL_COLUMN
    same = [index for index, name in enumerate(names) if name == wanted]
    found = same or [index for index, name in enumerate(names) if name.lower() == wanted.lower()]
    if len(found) == 1:
        return found[0], ""
    if len(found) > 1:
        return 0, f"has the column {show_value(wanted)} {len(found)} times: give its number, such as --column 1"
    if column is None and len(names) == 1:
        return 0, ""
    if column is not None and column.isdecimal() and 0 < int(column) <= len(names):
        return int(column) - 1, ""
    known = ", ".join(map(show_value, names))
    return 0, f"has no column {show_value(wanted)}: name the column of the URLs by --column; the columns are {known}"


def _read_cell(row: Sequence[str], number: int, index: int, width: int) -> TargetLine | LineFault:
    # The separator may be part of a URL: the start of such a URL is another page, which would be paid for.
    if any(map(str.strip, row[width:])):
        text = f"has {len(row)} columns, and the first row has {width}: put a URL that holds the separator in quotes"
        return LineFault(number, text)
    if index >= len(row):
        return LineFault(number, f"has {len(row)} columns, and no column {index + 1} with a URL")
    url = row[index].strip()
    if not url:
        return LineFault(number, f"has no URL in column {index + 1}")
    fault = why_no_url(url)
    return TargetLine(url) if fault is None else LineFault(number, fault)


def _read_json_lines(lines: Iterable[str], name: str) -> Iterator[TargetLine | LineFault]:
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if text:
            found = _read_json_line(text, f"{name}, line {number:,}")
            yield LineFault(number, found) if isinstance(found, str) else found


def _read_json_line(text: str, place: str) -> TargetLine | str:
    """Return the target of a line, or why the line is refused."""
    try:
        value = json.loads(text)
    except ValueError as error:
        return f"{show_value(text)} is not JSON ({error})"
    except RecursionError:
        return "is nested too deeply"
    if isinstance(value, str):
        return why_no_url(value) or TargetLine(value)
    if not isinstance(value, Mapping):
        return f"{show_value(text)} is neither an object nor a URL in quotes"
    return _read_object(value, place)


def _read_object(fields: Mapping[str, Any], place: str) -> TargetLine | str:
    if "url" not in fields:
        return f"has no url{suggest_name('url', fields)}"
    if fault := why_no_url(fields["url"]):
        return fault
    options: dict[str, Any] = {}
    for name, value in fields.items():
        if name in {"url", "meta"}:
            continue
        if name not in _LINE_FIELDS:
            return _explain_name(name)
        if value is not None:
            options[_LINE_FIELDS[name]] = value
    target = Target(fields["url"], fields.get("meta"))
    if fault := why_no_meta(target):
        return f"has data that is refused: {fault}"
    plain = fields["url"] if target.meta is None else target
    return TargetLine(plain, json.dumps(options, sort_keys=True), place) if options else TargetLine(plain)


def _explain_name(name: str) -> str:
    if name in {*RUN_OPTION_NAMES, *ENQUEUE_ARGUMENTS}:
        return f"has {show_key(name)}, an option of the whole run: give it to the command"
    if name.lower() in {"plugin", "targets"}:
        return f"has {show_key(name)}, which a line cannot have: put it into a file for --request"
    return f"has no field {show_key(name)}{suggest_name(name, _LINE_FIELDS.values())}"
