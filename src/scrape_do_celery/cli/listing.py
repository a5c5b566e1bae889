"""The command `scrape-do list`: the runs of the store, by state, label, tag and time."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import click

from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import NONE, format_moment, print_rich_table, printable
from scrape_do_celery.cli.shapes import RunListShape
from scrape_do_celery.figures import format_figure
from scrape_do_celery.rules.run_filters import STATE_WORDS
from scrape_do_celery.runs import list_runs
from scrape_do_celery.runs.listing import MAX_LIMIT

if TYPE_CHECKING:
    from scrape_do_celery.runs import RunStatus

    _Found = tuple[list[RunStatus], list[str], str | None]

_HEADER: Final = ("run", "label", "tags", "hosts", "state", "created", "done", "failed", "tasks", "credits")
_LEFT: Final = 6
#: Ids that a line for people names at most.
_SHOWN_IDS: Final = 3
_AGO: Final = re.compile(r"(\d+)([smhd])")
_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


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


@click.command("list")
@click.option("--state", type=click.Choice(STATE_WORDS), metavar="STATE", help=f"One of {', '.join(STATE_WORDS)}.")
@click.option("--label", help="Show the runs with this label.")
@click.option("--tag", help="Show the runs with this tag.")
@click.option(
    "--since",
    callback=_read_moment,
    metavar="TIME",
    help="Show runs from this time on, such as 2026-11-30T12:00 (UTC) or 2h ago.",
)
@click.option("--until", callback=_read_moment, metavar="TIME", help="Show runs before this time.")
@click.option(
    "--limit", type=click.IntRange(1, MAX_LIMIT), default=50, show_default=True, help="Show this number of runs."
)
@click.option("--cursor", help="Go on behind the last run of an earlier list.")
@json_option(RunListShape)
def print_runs(limit: int, cursor: str | None, as_json: bool, **filters: Any) -> None:
    """Print the runs of the store, the newest first."""
    found, newer, cursor = _read_runs(limit, cursor, filters)
    if newer:
        click.echo(_tell_newer(newer), err=True)
    if as_json:
        print_json({"runs": [_run_json(one) for one in found], "newer": newer, "cursor": cursor})
        return
    if found:
        print_rich_table(_HEADER, [_run_row(one) for one in found], left=_LEFT)
    else:
        click.echo("no run has these properties" if any(filters.values()) else "the store has no run", err=True)
    if cursor and sys.stdout.isatty():
        click.echo(f"more runs follow: add --cursor {cursor}", err=True)


def _read_runs(limit: int, cursor: str | None, filters: dict[str, Any]) -> _Found:
    """Return up to `limit` runs, the ids of those that cannot be read, and the cursor.

    A page of the store may be short although more runs follow.
    """
    page = list_runs(limit=limit, cursor=cursor, **filters)
    found, newer = list(page.runs), list(page.newer)
    while page.cursor is not None and len(found) < limit:
        page = list_runs(limit=limit - len(found), cursor=page.cursor, **filters)
        found += page.runs
        newer += page.newer
    return found, newer, page.cursor


def _tell_newer(run_ids: list[str]) -> str:
    shown = ", ".join(run_ids[:_SHOWN_IDS]) + (", ..." if len(run_ids) > _SHOWN_IDS else "")
    return f"{len(run_ids)} run(s) of a newer version of scrape-do-celery are left out ({shown}): upgrade this process"


def _run_json(one: RunStatus) -> dict[str, Any]:
    return {name: value for name, value in one.to_json().items() if name != "waiting_for"}


def _run_row(one: RunStatus) -> tuple[str, ...]:
    return (
        *(one.run_id, one.label or NONE, ", ".join(one.tags) or NONE, one.hosts or NONE, one.state.value),
        format_moment(one.created),
        *map(format_figure, (one.done, one.failed, one.total, one.credits)),
    )
