"""The commands `scrape-do run` and `watch`."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.exit_codes import ExitCode, find_exit_code, find_gravest
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import find_program, print_facts
from scrape_do_celery.cli.progress import choose_view
from scrape_do_celery.cli.reports import RunReport
from scrape_do_celery.cli.runs import parameters_of_enqueue, print_report, start_runs, status_facts
from scrape_do_celery.cli.shapes import ResultsShape, StatusesShape
from scrape_do_celery.cli.sources import IDENTITY, read_specs
from scrape_do_celery.cli.watching import CommandStage, WatchedRuns, explained_interrupts, watch_runs

if TYPE_CHECKING:
    from collections.abc import Sequence

_quiet = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")


@click.command("run")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Write each page to this folder.")
@_quiet
@json_option(ResultsShape)
@click.pass_context
def run_targets(
    ctx: click.Context,
    /,
    sources: tuple[str, ...],
    out: Path | None,
    *,
    quiet: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Start a run, watch it until its end, and print its outcome with one line per task.

    The sources and options are those of `enqueue`. The exit code is that of the outcome. A terminal shows progress; a
    pipe gets none.

    Ctrl-C ends the command, and not the run: workers go on, and `watch` shows the progress again.
    """
    watched = WatchedRuns(find_program())
    key, run_ids, request = (options.pop(name) for name in (*IDENTITY, "request"))
    with explained_interrupts(watched):
        specs = read_specs(sources, request, options)
        # The ids are known before the start, so that an interruption can name them.
        watched.run_ids, watched.stage = run_ids or [str(uuid.uuid4()) for _ in specs], CommandStage.STARTING
        handles = start_runs(specs, idempotency_key=key, run_ids=watched.run_ids)
        watched.run_ids, watched.stage = [one.run_id for one in handles], CommandStage.WATCHING
        watch_runs(handles, choose_view(quiet=quiet))
        watched.stage = CommandStage.SAVING
        ctx.exit(_print_results(watched.run_ids, out, as_json=as_json))


run_targets.params += parameters_of_enqueue()


def _print_results(run_ids: Sequence[str], out: Path | None, *, as_json: bool) -> ExitCode:
    """Print the outcomes of ended runs, and write their pages. Return the exit code of the gravest one."""
    reports: list[RunReport] = []
    for run_id in run_ids:
        report = RunReport.read(run_id, out, sum(len(one.tasks) for one in reports))
        if not as_json:
            click.echo("\n" * bool(reports), nl=False)
            print_report(report, out)
        reports.append(report)
    if as_json:
        print_json({"runs": [one.to_json() for one in reports]})
    return find_gravest(one.exit_code for one in reports)


@click.command("watch")
@click.argument("run_ids", nargs=-1, required=True, metavar="RUN_ID...")
@click.option("--wait", type=click.FloatRange(0), help="Stop watching after this number of seconds. The runs go on.")
@_quiet
@json_option(StatusesShape)
@click.pass_context
def watch_run(ctx: click.Context, run_ids: Sequence[str], wait: float | None, quiet: bool, as_json: bool) -> None:
    """Watch runs until their end, and print their states.

    The exit code is that of the outcome. Ctrl-C ends the command, and not the runs.
    """
    watched = WatchedRuns(find_program())
    watched.run_ids, watched.stage = list(dict.fromkeys(run_ids)), CommandStage.WATCHING
    with explained_interrupts(watched):
        handles = [runs.RunHandle(run_id) for run_id in watched.run_ids]
        statuses = watch_runs(handles, choose_view(quiet=quiet), wait=wait)
        if as_json:
            print_json({"runs": [one.to_json() for one in statuses]})
        else:
            for number, run_id in enumerate(watched.run_ids):
                click.echo("\n" * bool(number), nl=False)
                print_facts(status_facts(run_id))
        ctx.exit(find_exit_code(one.state for one in statuses))
