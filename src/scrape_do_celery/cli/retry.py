"""The command `scrape-do retry`: buy the missing pages of runs again, after a look at what they cost."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.bulk import BulkWords, act_on_runs, describe_options
from scrape_do_celery.cli.filters import RunChoice, choose_runs
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import printable
from scrape_do_celery.cli.shapes import BulkShape, RetryShape
from scrape_do_celery.errors import ScrapeDoError
from scrape_do_celery.runs.bulk_actions import RetryAction
from scrape_do_celery.runs.retry import draft_child

if TYPE_CHECKING:
    from scrape_do_celery.store.options import RunOptions


@click.command("retry")
@choose_runs
@click.option(
    "--trust-order",
    is_flag=True,
    help="For a plugin: take the order of the job's tasks as that of the parameter sets, although nothing proves it.",
)
@click.option("--max-credits", type=float, help="Limit the credits of each new run. Default: as for the run.")
@json_option(RetryShape, BulkShape)
@click.pass_context
def retry_run(  # noqa: PLR0913 (one argument for each option of the command)
    ctx: click.Context,
    *,
    run_id: str | None,
    choice: RunChoice,
    trust_order: bool,
    max_credits: float | None,
    as_json: bool,
) -> None:
    """Start a run for the inputs that have no page, and print its id; or one for each run that the filters find.

    RUN_ID may be any run of a lineage. The command first prints the cost, and asks. If the run has a live child, the
    command prints the id of the child, and buys nothing. With filters, each lineage gets one child at most, and the
    command leaves live runs alone, and runs that may have bought a job which nobody found.
    """
    if run_id is None:
        words = BulkWords("retry", "retried", describe_options(trust_order=trust_order, max_credits=max_credits))
        make_action = partial(RetryAction, trust_order=trust_order, max_credits=max_credits)
        act_on_runs(ctx, choice, words, make_action, as_json=as_json)
        return
    choice.check_answer("retry")
    options: RunOptions = {} if max_credits is None else {"max_credits": max_credits}
    draft = draft_child(run_id, trust_order=trust_order, **options)
    if isinstance(draft, runs.RunHandle):
        click.echo(f"run {printable(draft.run_id)} is the live child; nothing more is bought", err=True)
        child, parent, targets = draft, None, 0
    else:
        plan = runs.plan_runs(runs.AppContext.for_app(), [draft.spec])[0]
        if plan.refusal is not None:
            raise ScrapeDoError(plan.refusal)
        click.echo(f"tasks to buy again: {plan.bought:,}; {plan.estimate}", err=True)
        if not choice.yes and not click.confirm("Buy them again?", err=True):
            ctx.abort()
        child, parent, targets = draft.start(), draft.parent, draft.spec.request.size
    if as_json:
        print_json({"run_id": child.run_id, "parent": parent, "targets": targets})
    else:
        click.echo(child.run_id)
