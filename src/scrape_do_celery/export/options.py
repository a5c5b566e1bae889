"""The options of an export that a run makes at its end, and the template of its destination."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, Final, Literal, Required, cast, get_args

from typing_extensions import TypedDict

from scrape_do_celery.export.destinations import find_file_system, is_url
from scrape_do_celery.export.formats import choose_format, find_format
from scrape_do_celery.name_hints import suggest_name
from scrape_do_celery.outside_text import redact_text, show_key

if TYPE_CHECKING:
    from datetime import datetime

FormatName = Literal["jsonl", "csv", "parquet", "warc", "files"]


class ExportOptions(TypedDict, total=False, closed=True):
    """The export of a run at its end."""

    #: an absolute path, or a URL of fsspec, with the fields `{run_id}`, `{schedule}`, `{time}` and `{date}`
    to: Required[str]
    #: as in `RunHandle.export`; None, the default, takes the format of the suffix of `to`
    format: FormatName | None
    #: whether a file, or the files of another export in the folder, may be replaced; False by default
    overwrite: bool
    #: the rows of a shard; a number makes `to` a folder
    rows_per_shard: int | None
    #: whether the rows have their pages; True by default
    content: bool


@dataclass(frozen=True, slots=True)
class TemplateValues:
    """The facts about a run that the template of a destination may name."""

    run_id: str
    #: the name of the schedule; empty for a run without one
    schedule: str
    #: the time of the tick, or the time when the run was written
    time: datetime


_DEFAULTS: Final[dict[str, Any]] = {"format": None, "overwrite": False, "rows_per_shard": None, "content": True}
_FIELD: Final = re.compile(r"\{([^{}]*)\}")
_FIELDS: Final = ("run_id", "schedule", "time", "date")
#: The fields that differ between the runs of a schedule.
_OF_ONE_RUN: Final = {"run_id", "time"}
_LONGEST: Final = 2_000
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
#: Characters of a name in a path, and of the digest that tells changed names apart.
_LONGEST_NAME, _DIGEST = 80, 8
_PASSWORD: Final = re.compile(r"://[^/?#]*:[^/?#]*@")


def read_export(value: Any) -> ExportOptions | None:
    """Return the checked options of an export. Options with their default values are left out.

    Args:
        value: the destination, a mapping with the keys of `ExportOptions`, or None.

    Raises:
        ValueError: an option is wrong.
    """
    if value is None:
        return None
    given = {"to": value} if not isinstance(value, Mapping) else dict(value)
    known = ExportOptions.__annotations__
    for name in given:
        if name not in known:
            raise ValueError(f"export has no option {show_key(name)}{suggest_name(str(name), known)}")
    options = _DEFAULTS | given
    _check_destination(options.get("to"))
    _check_values(options)
    kept = {name: value for name, value in options.items() if name == "to" or value != _DEFAULTS[name]}
    return cast("ExportOptions", kept)


def _check_destination(to: Any) -> None:
    if not isinstance(to, str):
        raise ValueError(f"export: to must be a text, not {type(to).__name__}")  # noqa: TRY004
    if not to or not to.isprintable() or len(to) > _LONGEST:
        raise ValueError(f"export: to must be printable and have 1 to {_LONGEST:,} characters")
    if _PASSWORD.search(to) or redact_text(query := to.partition("?")[2]) != query:
        raise ValueError(
            "export: the URL in to holds credentials, which the store, brokers and beat would keep: leave them out, "
            "and set SCRAPE_DO_EXPORT_STORAGE for the workers"
        )
    for name in _FIELD.findall(to):
        if name not in _FIELDS:
            fields = ", ".join(f"{{{one}}}" for one in _FIELDS)
            raise ValueError(f"export: to has the unknown field {show_key(name)}; use {fields}")
    if set(_FIELD.sub("", to)) & set("{}"):
        raise ValueError("export: to has a brace that belongs to no field, such as {run_id}")
    if not is_url(to) and not (PurePosixPath(to).is_absolute() or PureWindowsPath(to).is_absolute()):
        raise ValueError("export: to must be a URL or an absolute path, because a worker writes the files")
    if is_url(to) and "{" in to.partition("://")[0]:
        raise ValueError("export: the scheme of the URL in to must be no field")


def _check_values(options: Mapping[str, Any]) -> None:
    for name in ("overwrite", "content"):
        if not isinstance(options[name], bool):
            raise ValueError(f"export: {name} must be True or False, not {type(options[name]).__name__}")  # noqa: TRY004
    if options["format"] not in (None, *get_args(FormatName)):
        names = ", ".join(get_args(FormatName))
        raise ValueError(f"export: format must be one of {names}, not {show_key(options['format'])}")
    try:
        choose_format(options["format"], options["to"]).check_options(
            options["rows_per_shard"], content=options["content"]
        )
    except ValueError as error:
        raise ValueError(f"export: {error}") from None


def check_new_export(options: ExportOptions, *, is_scheduled: bool) -> None:
    """Check that this process has the packages of an export, and that its destination fits the kind of run.

    A worker without the packages could not carry the export out, and the pages would be paid for by then.

    Raises:
        ValueError: two runs of a schedule would have the same destination, or a run without a schedule names one.
        ConfigurationError: a package is not installed, or no such kind of URL exists.
    """
    to, fields = options["to"], set(_FIELD.findall(options["to"]))
    if is_scheduled and not options.get("overwrite") and not fields & _OF_ONE_RUN:
        raise ValueError(
            "export: each run of the schedule has the same destination: put {time} or {run_id} into to, or set "
            "overwrite"
        )
    if not is_scheduled and "schedule" in fields:
        raise ValueError("export: the field {schedule} in to is for schedules only: write a name in its place")
    find_format(options.get("format"), to)
    if is_url(to):
        find_file_system(to)


def fill_template(to: str, values: TemplateValues) -> str:
    """Return a destination with the values of its fields. No value is more than a part of one name of a file."""
    moment = values.time.astimezone(UTC)
    texts = {
        "run_id": make_safe_name(values.run_id),
        "schedule": make_safe_name(values.schedule),
        "time": f"{moment:%Y%m%dT%H%M%SZ}",
        "date": f"{moment:%Y-%m-%d}",
    }
    return _FIELD.sub(lambda found: texts[found[1]], to)


def make_safe_name(text: str) -> str:
    """Return a text as a part of the name of a file. A text that changes gets a digest, so that no two are equal."""
    plain = _UNSAFE.sub("_", text).lstrip("-")[:_LONGEST_NAME]
    if plain and plain == text:
        return plain
    return f"{plain or '_'}-{hashlib.sha256(text.encode()).hexdigest()[:_DIGEST]}"
