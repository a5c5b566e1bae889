"""The sources of targets of `run`, `enqueue` and `plan`: URLs, files and stdin, with the options of a run."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, TypeVar

import click
from click.shell_completion import CompletionItem

from scrape_do_celery.cli.group import describe_fault
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.target_lines import (
    FileFormat,
    TargetFileError,
    TargetLine,
    find_format,
    group_lines,
    read_target_lines,
    sample_items,
    show_name,
    show_value,
    why_no_url,
)
from scrape_do_celery.rules.text_files import NoTextError, decode_lines
from scrape_do_celery.store import RunSpec
from scrape_do_celery.store.options import RUN_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    Command = TypeVar("Command", bound=Callable[..., Any])

#: The options of `enqueue` that are neither fields of the request nor options of the run.
IDENTITY: Final = ("idempotency_key", "run_ids")
_STDIN: Final = "-"
_CHUNK: Final = 65_536
_SOURCES: Final = (
    click.argument(
        "sources",
        nargs=-1,
        metavar="[URL|FILE|-]...",
        # Without this line, a shell completes no names of files here.
        shell_complete=lambda _, __, incomplete: [CompletionItem(incomplete, type="file")],
    ),
    click.option(
        "--format",
        "file_format",
        type=click.Choice([one.value for one in FileFormat]),
        help="Read files and stdin in this format. Default: by the suffix (.csv, .tsv, .jsonl, .ndjson), else text.",
    ),
    click.option(
        "--column", help="Read the URLs of CSV from this column: its name, or its number from 1. Default: url."
    ),
    click.option("--sample", type=click.IntRange(1), help="Take this number of targets at random, and no others."),
    click.option(
        "--seed",
        type=int,
        default=0,
        show_default=True,
        help="Choose another sample. Equal targets and seeds give the same sample.",
    ),
)


def take_sources(command: Command) -> Command:
    """Add the argument and the options that name the targets of a command."""
    for decorate in reversed(_SOURCES):
        command = decorate(command)
    return command


def read_specs(sources: Sequence[str], request: IO[str] | None, options: dict[str, Any]) -> list[RunSpec]:
    """Return the checked specs of the sources, the request file and the options of a command.

    Lines of files with equal options are one run. The options of a line count before those of the command.

    Raises:
        click.UsageError: the call names no target, or an option that several runs cannot share.
        TargetFileError: a source cannot be read, or has a wrong line.
    """
    reading = {name: options.pop(name) for name in ("file_format", "column")}
    size, seed = options.pop("sample"), options.pop("seed")
    lines = _read_sources(sources, **reading)
    if size is not None:
        lines = sample_items(lines, size, seed)
    groups = group_lines(lines)
    run_options = {name: options.pop(name) for name in RUN_OPTIONS}
    given = _read_fields(request)
    if size is not None and (given.get("targets") is not None or given.get("plugin") is not None):
        # The rest of the request file would be bought beside the sample.
        raise click.UsageError(
            "--sample takes targets of URLs, files and stdin: leave targets and plugin out of the request file"
        )
    _check_groups(groups, given, run_options)
    fields = {**given, **{name.strip("_"): value for name, value in options.items() if value is not None}}
    if not groups and not fields.keys() & {"targets", "plugin"}:
        raise click.UsageError("no URL was given: pass URLs, a file of URLs, - for stdin, or --request")
    # An option without a value must not drop the actions of the file.
    fields = _turn_render_on(fields, given)
    return [_make_spec(group, fields, run_options) for group in groups or [[]]]


def _check_groups(
    groups: Sequence[Sequence[TargetLine]], given: Mapping[str, Any], run_options: Mapping[str, Any]
) -> None:
    """Refuse what a command cannot say for several runs at once."""
    if any(group[0].options for group in groups) and given.get("targets") is not None:
        raise click.UsageError("lines have options of their own, so the request file must not have targets")
    if len(groups) > 1 and run_options.get("max_credits") is not None:
        raise click.UsageError(
            f"the lines have {len(groups)} different sets of options, and each set is a run: --max-credits limits one "
            "run; pass the lines of each run in a file of its own, or set a budget for a tag"
        )


def _make_spec(group: Sequence[TargetLine], fields: Mapping[str, Any], run_options: Mapping[str, Any]) -> RunSpec:
    place, own = (group[0].place, group[0].options) if group else ("", "")
    fields = {**fields, **(json.loads(own) if own else {})}
    if group:
        fields["targets"] = _join_targets(fields.get("targets"), [line.target for line in group])
    try:
        return RunSpec.from_fields(fields, run_options)
    except ValueError as error:
        if not place:
            raise
        raise TargetFileError(f"{place} and each line with its options: {describe_fault(error)}") from None


def _turn_render_on(fields: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    if fields.get("render") is not True:
        return fields
    return {**fields, "render": given["render"] if isinstance(given.get("render"), dict) else {}}


def _read_sources(sources: Sequence[str], file_format: str | None, column: str | None) -> list[TargetLine]:
    if sources.count(_STDIN) > 1:
        raise click.UsageError("- is stdin, which can be read once: give - once")
    chosen = None if file_format is None else FileFormat(file_format)
    lines: list[TargetLine] = []
    for number, source in enumerate(sources, start=1):
        lines += _read_source(source, number, chosen, column)
    return lines


def _read_source(source: str, number: int, file_format: FileFormat | None, column: str | None) -> list[TargetLine]:
    """Return the targets of an argument: the argument itself, or the lines of the file that it names."""
    if source != _STDIN and "://" in source:
        if fault := why_no_url(source):
            raise TargetFileError(f"argument {number}: {fault}")
        return [TargetLine(source)]
    name = "stdin" if source == _STDIN else source
    found = find_format("" if source == _STDIN else Path(source).name, file_format, has_column=column is not None)
    try:
        lines = read_target_lines(_read_lines(source), name, found, column)
    except NoTextError as error:
        raise TargetFileError(f"{show_name(name)}: {error}") from None
    if not lines:
        raise TargetFileError(f"{show_name(name)} has no URL")
    return lines


def _read_lines(source: str) -> Iterator[str]:
    if source == _STDIN:
        if sys.stdin is None:
            raise TargetFileError("stdin is closed")
        if sys.stdin.isatty():
            click.echo("Reading URLs from the terminal, one on each line. Ctrl-D ends them.", err=True)
        yield from decode_lines(iter(partial(sys.stdin.buffer.read, _CHUNK), b""))
        return
    path = Path(source)
    if path.is_dir():
        raise TargetFileError(f"{show_name(source)} is a folder: name a file in it")
    if not path.exists():
        raise TargetFileError(
            f"{show_value(source)} is neither a URL nor a file; a URL begins with http:// or https://"
        )
    with path.open("rb") as file:
        yield from decode_lines(iter(partial(file.read, _CHUNK), b""))


def _join_targets(given: Any, targets: list[Any]) -> Any:
    # A value that is no list stays, so that its error names it.
    return [*(given or ()), *targets] if given is None or isinstance(given, list) else given


def _read_fields(request: IO[str] | None) -> dict[str, Any]:
    """Return the fields in a request file, under the names of the options.

    Raises:
        UsageError: the file holds no object, or an option of the run.
    """
    fields = {} if request is None else json.load(request)
    if not isinstance(fields, dict):
        raise click.UsageError("the request file must hold one JSON object")
    forms = {one.name: one.opts[0] for one in click.get_current_context().command.params}
    forms["run_id"] = "--run-id"
    if wrong := sorted(fields.keys() & {*RUN_OPTIONS, *IDENTITY, "run_id"}):
        options = ", ".join(forms[name] for name in wrong)
        raise click.UsageError(f"the request file has options of the run ({', '.join(wrong)}): give them as {options}")
    # The API's name of a field would stand beside the name of the option, and not be replaced by the option.
    names = {str(field.alias): name for name, field in JobCreationRequest.model_fields.items()}
    return {key if names.get(key) in fields else names.get(key, key): value for key, value in fields.items()}
