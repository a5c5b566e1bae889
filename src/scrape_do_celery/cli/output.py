"""The formats of output on a terminal and in a pipe."""

from __future__ import annotations

import os
import sys
from datetime import UTC
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final, TextIO

import click

from scrape_do_celery.figures import format_figure
from scrape_do_celery.outside_text import one_line, redact_text, redact_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from scrape_do_celery.models import TaskDetails

TASK_COLUMNS = ("URL", "status", "target", "bytes", "cost")
NONE = "-"
#: The width that a folded column keeps at least.
_LEAST_FOLDED: Final = 24
#: The width that rich adds to each column: a line and two spaces.
_BORDER: Final = 3


def printable(text: str) -> str:
    """Return the text without line breaks and terminal controls: it may come from pages and targets."""
    return one_line(text)


def printable_url(url: str) -> str:
    """Return the URL of a target as output names it: `printable`, and without passwords and tokens."""
    return printable(redact_url(url))


def format_moment(at: datetime | None) -> str:
    """Return a time in UTC, to the second."""
    return NONE if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def find_program() -> str:
    """Return the words before the name of the present command, such as `scrape-do` or `manage.py scrape_do`."""
    parent = click.get_current_context().parent
    return parent.command_path if parent else "scrape-do"


def wants_color() -> bool:
    """Return whether the user and the terminal take colors. click itself leaves them out of pipes."""
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def size_of(task: TaskDetails) -> int | None:
    """Return the bytes of the task's page, or None if the task has no readable page."""
    try:
        content = task.decoded_content()
    except ValueError:
        return None
    return None if content is None else len(content)


def describe_task(number: int, task: TaskDetails, file: Path | None = None) -> dict[str, Any]:
    """Return the task without its page, in the form of `TaskShape`. `file` has the page."""
    return {
        "number": number,
        "url": printable_url(task.url),
        "status": "gone" if task.gone else printable(str(task.status)),
        "status_code": task.status_code or None,
        "bytes": size_of(task),
        "credits": task.cost,
        "meta": task.meta,
        "error": redact_text(one_line(task.error_message)) if task.error_message else None,
        "file": None if file is None else str(file),
    }


def task_row(task: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the cells of a described task, in the order of `TASK_COLUMNS`."""
    figures = (NONE if task[name] is None else format_figure(task[name]) for name in ("bytes", "credits"))
    return (task["url"], task["status"], str(task["status_code"] or NONE), *figures)


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a standard stream leads to a terminal. A stream that the shell has closed is None."""
    return stream is not None and stream.isatty()


def print_rich_table(
    header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 2, folds_first: bool = False
) -> None:
    """Print a table with the first `left` columns left-aligned: with rich if installed and if stdout is a terminal.

    rich cuts cells that do not fit, so a table that is wider than the terminal is printed as plain text. With
    `folds_first`, the cells of the first column may be folded.
    """
    is_rich = is_terminal(sys.stdout) and find_spec("rich") is not None
    if not (is_rich and _print_with_rich(header, rows, left, folds_first=folds_first)):
        print_table(header, rows, left=left)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]], *, left: int = 2) -> None:
    """Print a table as plain text. Lines are never cut to the width of a terminal, so that ids can be copied."""
    rows = [[printable(text) for text in row] for row in rows]
    widths = [max(len(row[n]) for row in (header, *rows)) for n in range(len(header))]
    for row in (header, ["-" * width for width in widths], *rows):
        cells = (
            text.ljust(width) if n < left else text.rjust(width)
            for n, (text, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join(cells).rstrip())


def _print_with_rich(header: Sequence[str], rows: Sequence[Sequence[str]], left: int, *, folds_first: bool) -> bool:
    """Print a table with borders. Return False, and print nothing, if the terminal is too narrow for it."""
    from rich.cells import cell_len
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    texts = [[printable(text) for text in row] for row in rows]
    widths = [max(cell_len(row[n]) for row in (header, *texts)) for n in range(len(header))]
    if folds_first:
        widths[0] = min(widths[0], _LEAST_FOLDED)
    console = Console()
    if sum(widths) + _BORDER * len(widths) + 1 > console.width:
        return False
    made = Table(header_style="bold")
    for n, name in enumerate(header):
        made.add_column(name, justify="left" if n < left else "right", overflow="fold", no_wrap=n > 0)
    for row in texts:
        made.add_row(*map(Text, row))
    console.print(made)
    return True


def print_facts(pairs: Sequence[tuple[str, str]], *, err: bool = False) -> None:
    """Print names with their values, one pair per line."""
    width = max((len(name) for name, _ in pairs), default=0)
    for name, text in pairs:
        click.echo(f"{name.ljust(width)}  {printable(text)}", err=err)
