"""The commands `scrape-do schedules`: list, pause and resume schedules, and start their runs now."""

from __future__ import annotations

import getpass
import uuid
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import NONE, format_moment, print_rich_table, printable
from scrape_do_celery.cli.schedule_shapes import ScheduleChangeShape, SchedulesShape, ScheduleStartShape
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.rules.schedules import TickDecision
from scrape_do_celery.runs import list_schedules, pause_schedule, resume_schedule, run_schedule

if TYPE_CHECKING:
    from scrape_do_celery.runs import Schedule, SchedulePause

_HEADER = ("schedule", "rule", "next tick", "last tick", "decision", "last run", "paused")


@click.group("schedules")
def manage_schedules() -> None:
    """List, pause and resume schedules, and start their runs now.

    NAME is the name that the code gives `scheduled_run`. `list` shows the schedules that have ticked in the last 91
    days, and those of the app: `celery -A yourapp scrape-do schedules list`.
    """


@manage_schedules.command("list")
@json_option(SchedulesShape)
def print_schedules(as_json: bool) -> None:
    """Print all schedules with their next and last tick, the decision about it, and their last run. Times are in UTC.

    The next tick is that of the rule: the store does not know whether a beat runs. A paused schedule skips the tick.
    """
    found = list_schedules()
    if as_json:
        print_json({"schedules": [_schedule_json(one) for one in found]})
    elif found:
        print_rich_table(_HEADER, [_schedule_row(one) for one in found], left=len(_HEADER))
    else:
        click.echo("no schedules: none has ticked in the last 91 days, and this app declares none")


@manage_schedules.command("pause")
@click.argument("name")
@click.option("--note", help="Say why, for `list` and `doctor`.")
@click.option("--by", help="Say who pauses the schedule. Default: the user of this machine.")
@click.option("--force", is_flag=True, help="Pause a name that neither the store nor this app knows.")
@json_option(ScheduleChangeShape)
def pause_named(name: str, note: str | None, by: str | None, force: bool, as_json: bool) -> None:
    """Let the ticks of NAME make no runs, until `resume`. Their runs are not made up for.

    Runs that were made before go on, also a run that waits for an earlier one: `scrape-do cancel` stops it.
    """
    changed = pause_schedule(name, by=by or _find_user(), note=note, force=force)
    if as_json:
        print_json({"name": name, "paused": True, "changed": changed})
        return
    shown = printable(name)
    for found in (one for one in list_schedules() if one.name == name):
        click.echo(f"{shown} is paused" if changed else f"{shown} was paused before: {_describe_pause(found.pause)}")
        if found.live_run:
            click.echo(f"its run {found.live_run} goes on; to stop it: scrape-do cancel {found.live_run}", err=True)


@manage_schedules.command("resume")
@click.argument("name")
@json_option(ScheduleChangeShape)
def resume_named(name: str, as_json: bool) -> None:
    """Let the next tick of NAME make a run again. Ticks of the pause stay without a run."""
    changed = resume_schedule(name)
    if as_json:
        print_json({"name": name, "paused": False, "changed": changed})
        return
    click.echo(f"{printable(name)} goes on" if changed else f"{printable(name)} was not paused")


@manage_schedules.command("run")
@click.argument("name")
@click.option("--idempotency-key", help="Start one run only, if the command is repeated with the same key.")
@json_option(ScheduleStartShape)
def run_named(name: str, idempotency_key: str | None, as_json: bool) -> None:
    """Start a run of NAME now, also if NAME is paused. Print its id.

    The request is that of the entry in the app: `celery -A yourapp scrape-do schedules run NAME`. If a run of NAME goes
    on, `if_running` of the entry decides; the exit code is 1 if it says `skip`.
    """
    key = idempotency_key or str(uuid.uuid4())
    try:
        start = run_schedule(name, idempotency_key=key)
    except StoreUnavailableError as error:
        advice = f"to repeat the command without a second run, add --idempotency-key {key}"
        raise click.ClickException(printable(f"{error}; {advice}")) from None
    if start.run_id is None:
        why = f"run {start.live_run} goes on" if start.live_run else "as the command with this key was skipped before"
        raise click.ClickException(printable(f"no run of {name} was started: {why}"))
    if as_json:
        print_json({"run_id": start.run_id, "decision": start.decision})
        return
    click.echo(start.run_id)
    if start.decision is TickDecision.QUEUED:
        click.echo("the run waits for the end of an earlier run (if_running=queue)", err=True)


def _find_user() -> str | None:
    # In a container, the user may have no name.
    with suppress(KeyError, OSError):
        return getpass.getuser()
    return None


def _describe_pause(pause: SchedulePause | None) -> str:
    if pause is None:
        return NONE
    by, note = f" by {pause.by}" if pause.by else "", f": {pause.note}" if pause.note else ""
    return printable(f"{format_moment(pause.at)}{by}{note}")


def _schedule_row(one: Schedule) -> tuple[str, ...]:
    ticks = (format_moment(one.next_tick), format_moment(one.last_tick))
    return (
        one.name,
        one.rule or NONE,
        *ticks,
        one.last_decision or NONE,
        one.last_run or NONE,
        _describe_pause(one.pause),
    )


def _schedule_json(one: Schedule) -> dict[str, Any]:
    fields = asdict(one)
    pause = fields.pop("pause")
    return _write_times(fields) | {"pause": pause and _write_times(pause)}


def _write_times(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: format_moment(value) if isinstance(value, datetime) else value for name, value in fields.items()}
