"""The options that choose runs: those of `scrape-do list`, and those of the commands that act on the chosen runs."""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import wraps
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from scrape_do_celery.cli.output import is_terminal, printable
from scrape_do_celery.rules.run_filters import STATE_WORDS
from scrape_do_celery.runs.bulk import RunFilters, find_narrowing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from scrape_do_celery.runs import BulkReport

    Command = TypeVar("Command", bound=Callable[..., Any])

_AGO: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_NARROWING: Final = "--state, --label, --tag or --since"


def _read_moment(_: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return the time that a text means: ISO 8601, in UTC without a zone, or how long ago, such as `2h`."""
    if value is None:
        return None
    try:
        if ago := _AGO.fullmatch(value):
            return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        found = datetime.fromisoformat(value)
    except (ValueError, OverflowError):
        form = "should be a time, such as 2026-11-30T12:00, or how long ago, such as 30m, 2h or 7d"
        raise click.BadParameter(f"{printable(value)!r} {form}", param=param) from None
    return found if found.tzinfo else found.replace(tzinfo=UTC)


_FILTERS: Final = (
    click.option("--state", type=click.Choice(STATE_WORDS), metavar="STATE", help=f"One of {', '.join(STATE_WORDS)}."),
    click.option("--label", help="Take the runs with this label."),
    click.option("--tag", help="Take the runs with this tag."),
    click.option(
        "--since",
        callback=_read_moment,
        metavar="TIME",
        help="Take runs from this time on, such as 2026-11-30T12:00 (UTC) or 2h ago.",
    ),
    click.option("--until", callback=_read_moment, metavar="TIME", help="Take runs before this time."),
    click.option("--cursor", help="Go on behind the last run of an earlier call with the same filters."),
)
_CHOICE: Final = (
    click.option("--all", "everything", is_flag=True, help="Take all runs of the store, in place of filters."),
    click.option("--limit", type=click.IntRange(1), help="Look at this number of runs, the newest first."),
    click.option("--dry-run", is_flag=True, help="Print the number of the runs and what it costs, and change nothing."),
    click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
)


def filter_options(command: Command) -> Command:
    """Add the options that filter runs to a command."""
    return _add_options(command, _FILTERS)  # type: ignore[no-any-return]


def _add_options(command: Any, options: tuple[Callable[[Any], Any], ...]) -> Any:
    # The help lists the options in the order of decorators, and the last decorator comes first.
    for option in reversed(options):
        command = option(command)
    return command


@dataclass(frozen=True, slots=True)
class RunChoice:
    """The runs that the options of a command choose, and how the command goes about them."""

    filters: RunFilters
    everything: bool
    limit: int | None
    cursor: str | None
    dry_run: bool
    yes: bool

    def check_answer(self, name: str) -> None:
        """Refuse a command that nobody can confirm.

        Raises:
            click.UsageError: the command asks, and stdin is no terminal.
        """
        if not (self.yes or self.dry_run or has_terminal()):
            raise click.UsageError(f"if stdin is not a terminal, {name} needs --yes")

    def count_left(self, report: BulkReport) -> int | None:
        """Return how many runs of the limit follow after a report; None without a limit."""
        return None if self.limit is None else self.limit - report.found

    def words_to_carry_on(self, report: BulkReport) -> str:
        """Return the arguments of the command that carries on after a report."""
        left = self.count_left(report)
        words: dict[str, Any] = {**self.filters, "until": report.until, "cursor": report.cursor, "limit": left}
        given = ["--all"] if self.everything else []
        given += [f"--{name}={_show(value)}" for name, value in words.items() if value is not None]
        return shlex.join(given)


def choose_runs(command: Command) -> Command:
    """Add the argument RUN_ID, and the options that choose many runs in place of it.

    The command gets `run_id` and `choice`; `run_id` is None if the options choose the runs.
    """

    @wraps(command)
    def call(*args: Any, run_id: str | None, **values: Any) -> Any:
        filters: Any = {name: values.pop(name) for name in ("state", "label", "tag", "since", "until")}
        names = ("everything", "limit", "cursor", "dry_run", "yes")
        choice = RunChoice(filters, **{name: values.pop(name) for name in names})
        _check_choice(run_id, choice)
        return command(*args, run_id=run_id, choice=choice, **values)

    argument = click.argument("run_id", required=False)
    return argument(_add_options(call, (*_FILTERS, *_CHOICE)))  # type: ignore[no-any-return]


def _check_choice(run_id: str | None, choice: RunChoice) -> None:
    """Refuse a command that does not say which runs it means.

    Raises:
        click.UsageError: neither RUN_ID nor a filter nor `--all` is given; or several of them.
    """
    narrowing = find_narrowing(choice.filters)
    if run_id is not None:
        if _is_given(choice):
            raise click.UsageError("RUN_ID names one run: leave out the options that choose many, and --dry-run")
    elif bool(narrowing) == choice.everything:
        given = "not both --all and a filter" if narrowing else "one of them is needed"
        raise click.UsageError(f"name a RUN_ID, filters ({_NARROWING}), or --all: {given}")


def _is_given(choice: RunChoice) -> bool:
    values: Mapping[str, Any] = choice.filters
    options = (choice.everything, choice.dry_run, choice.limit is not None, choice.cursor is not None)
    return any(options) or any(one is not None for one in values.values())


def _show(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def has_terminal() -> bool:
    """Return whether a person can answer a question."""
    return is_terminal(sys.stdin)
