"""The command `scrape-do forget`: delete ended runs and their pages, after a look at what is lost."""

from __future__ import annotations

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.bulk import BulkWords, act_on_runs
from scrape_do_celery.cli.filters import RunChoice, choose_runs
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import printable
from scrape_do_celery.cli.reports import read_record
from scrape_do_celery.cli.shapes import BulkShape, ForgetShape
from scrape_do_celery.runs.bulk_actions import ForgetAction, count_pages


@click.command("forget")
@choose_runs
@json_option(ForgetShape, BulkShape)
@click.pass_context
def forget_run(ctx: click.Context, *, run_id: str | None, choice: RunChoice, as_json: bool) -> None:
    """Delete an ended run and its pages, or all ended runs that the filters find.

    The command first prints what is lost, and asks. With filters, it leaves live runs alone, runs that may have bought
    a job which nobody found, and runs that begin while it works.
    """
    if run_id is None:
        act_on_runs(ctx, choice, BulkWords("forget", "forgotten"), ForgetAction, as_json=as_json)
        return
    choice.check_answer("forget")
    handle = runs.RunHandle(run_id)
    pages = count_pages(runs.AppContext.for_app().store, read_record(run_id))
    click.echo(f"run {printable(run_id)} ({handle.state}) is deleted; stored pages: {pages:,}", err=True)
    if not choice.yes and not click.confirm("Forget the run?", err=True):
        ctx.abort()
    handle.forget()
    if as_json:
        print_json({"run_id": run_id, "pages": pages})
    else:
        click.echo("forgotten")
