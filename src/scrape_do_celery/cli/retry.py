"""The command `scrape-do retry`: buy the missing pages of a run again, after a look at what they cost."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import printable
from scrape_do_celery.cli.shapes import RetryShape
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.runs.retry import draft_child

if TYPE_CHECKING:
    from scrape_do_celery.store.options import RunOptions


@click.command("retry")
@click.argument("run_id")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option(
    "--trust-order",
    is_flag=True,
    help="For a plugin: take the order of the job's tasks as that of the parameter sets, although nothing proves it.",
)
@click.option("--max-credits", type=float, help="Limit the credits of the new run. Default: as for the run.")
@json_option(RetryShape)
@click.pass_context
def retry_run(  # noqa: PLR0913 (one argument for each option of the command)
    ctx: click.Context, run_id: str, *, yes: bool, trust_order: bool, max_credits: float | None, as_json: bool
) -> None:
    """Start a run for the inputs that have no page, and print its id.

    RUN_ID may be any run of a lineage. The command first prints the cost, and asks. If the run has a live child, the
    command prints the id of the child, and buys nothing.
    """
    if not yes and not has_terminal():
        raise click.UsageError("if stdin is not a terminal, retry needs --yes")
    options: RunOptions = {} if max_credits is None else {"max_credits": max_credits}
    draft = draft_child(run_id, trust_order=trust_order, **options)
    if draft.spec is None:
        click.echo(f"run {printable(draft.parent)} is the live child; nothing more is bought", err=True)
    else:
        plan = runs.plan_runs(runs.AppContext.for_app(), [draft.spec])[0]
        if plan.refusal is not None:
            raise ScrapeDoError(plan.refusal)
        click.echo(f"tasks to buy again: {plan.bought:,}; {plan.estimate}", err=True)
        if not yes and not click.confirm("Buy them again?", err=True):
            ctx.abort()
    child = draft.start()
    if as_json:
        parent, targets = (None, 0) if draft.spec is None else (draft.parent, draft.spec.request.size)
        print_json({"run_id": child.run_id, "parent": parent, "targets": targets})
    else:
        click.echo(child.run_id)


def has_terminal() -> bool:
    """Return whether a person can answer a question."""
    return sys.stdin.isatty()
