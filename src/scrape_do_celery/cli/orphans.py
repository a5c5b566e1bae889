"""The command `scrape-do orphans`: running jobs that cost credits, and that no run owns."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click
from redis.exceptions import ResponseError

from scrape_do_celery.cli.exit_codes import ExitCode
from scrape_do_celery.cli.filters import has_terminal
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.money_shapes import OrphansShape
from scrape_do_celery.cli.orphan_guards import refuse_foreign_store
from scrape_do_celery.cli.output import NONE, format_moment, print_table, printable
from scrape_do_celery.cli.progress import track_items
from scrape_do_celery.config.accounts import account_fingerprints
from scrape_do_celery.config.urls import masked
from scrape_do_celery.errors import ConfigurationError, ScrapeDoError
from scrape_do_celery.figures import format_figure
from scrape_do_celery.runs import AppContext
from scrape_do_celery.store.register import find_neighbours, find_owner

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from scrape_do_celery.config import Settings
    from scrape_do_celery.steps.orphans import NotAnOrphan, OrphanFinder, OrphanJob

_HEADER = ("job", "status", "started", "note", "tasks", "done", "credits")
STOPPED, ALREADY_ENDED, NOT_STOPPED = "stopped", "already ended", "not stopped"


@click.command("orphans")
@click.argument("job_ids", nargs=-1, metavar="[JOB_ID]...")
@click.option("--cancel", is_flag=True, help="Stop the listed jobs at Scrape.do; with JOB_ID, only these jobs.")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option(OrphansShape)
@click.pass_context
def list_orphans(ctx: click.Context, job_ids: tuple[str, ...], cancel: bool, yes: bool, as_json: bool) -> None:
    """List the account's running jobs that no run owns. Ended jobs are not listed.

    The list includes jobs that other programs bought with this token, without this package or with another store or key
    prefix. The list also includes a job whose run ended before the API answered the cancel of the job. `credits` is
    the possible cost of a job, computed from a finished task if the job has one.

    With --cancel, the jobs of ended runs of this store are stopped. Any other job is stopped only if you name the job:
    another application may have bought it, or a run that searched for such a job and found none. A job that a run may
    still adopt, or that a run of another store on the server owns, is never stopped. No run collects the pages of a
    stopped job.

    Without ids, --cancel refuses a store that never bought for this account, or that another application's workers
    serve. The runs of the jobs are then probably in another store.

    The command needs the token. The exit code is 1 if a job could not be stopped.
    """
    settings = AppContext.for_app().settings
    _check_call(settings, job_ids, cancel=cancel, yes=yes)
    if cancel and not job_ids:
        refuse_foreign_store(AppContext.for_app())
    with _orphan_finder(settings) as orphan_finder:
        found, others = orphan_finder.find_chosen(job_ids) if job_ids else (orphan_finder.find_all(track_items), [])
        if not as_json:
            _show_orphans(found, named=bool(job_ids))
        for one in others:
            click.echo(f"{printable(one.job_id)}: {printable(one.why)}", err=True)
        ends = _cancel_orphans(orphan_finder, found, named=bool(job_ids), yes=yes, quiet=as_json) if cancel else {}
    if as_json:
        print_json(_as_json(found, others, ends))
    if NOT_STOPPED in ends.values() or (cancel and not all(one.ended for one in others)):
        ctx.exit(ExitCode.FAILURE)


def _check_call(settings: Settings, job_ids: Sequence[str], *, cancel: bool, yes: bool) -> None:
    """Refuse wrong calls, and warn of a shared account, before the first request to the API."""
    if settings.api_key is None:
        raise ConfigurationError("SCRAPE_DO_API_KEY is not set: set it, because the job list needs the account's token")
    if settings.shared_account:
        click.echo(
            "The account is shared (SCRAPE_DO_SHARED_ACCOUNT): the list includes the jobs of other buyers.", err=True
        )
        if cancel and not (yes and job_ids):
            raise click.UsageError("on a shared account, --cancel needs --yes and the ids of the jobs to stop")
    if cancel and not yes and not has_terminal():
        raise click.UsageError("if stdin is not a terminal, --cancel needs --yes")


@contextmanager
def _orphan_finder(settings: Settings) -> Iterator[OrphanFinder]:
    # Import late: both load an HTTP library, which no command needs before its call.
    from scrape_do_celery.client import ScrapeDoAsyncAPIClient
    from scrape_do_celery.client.routes import network_arguments
    from scrape_do_celery.steps.orphans import OrphanFinder

    with ScrapeDoAsyncAPIClient(
        settings.api_key,
        base_url=settings.api_url,
        timeout=settings.request_timeout,
        **network_arguments(settings),
    ) as client:
        yield OrphanFinder(client, AppContext.for_app().store, settings.account_id)


def _cancel_orphans(
    orphan_finder: OrphanFinder, found: Sequence[OrphanJob], *, named: bool, yes: bool, quiet: bool
) -> dict[str, str]:
    """Cancel jobs, and return what became of each. Without names, cancel only what a run of this store has bought."""
    ends = {} if named else _refuse_unproven(found)
    wanted = [one for one in found if named or one.previous_owner]
    if not wanted or not (yes or click.confirm(_cancel_question(len(wanted)), err=True)):
        return ends
    for one in track_items(wanted, len(wanted), "stop jobs"):
        ends[one.job.job_id] = _cancel_orphan(orphan_finder, one, quiet=quiet)
    return ends


def _cancel_orphan(orphan_finder: OrphanFinder, one: OrphanJob, *, quiet: bool) -> str:
    from scrape_do_celery.steps.orphans import StillOwnedError

    job_id = one.job.job_id
    try:
        _refuse_owned_elsewhere(job_id)
        end = STOPPED if orphan_finder.cancel_orphan(one) else ALREADY_ENDED
    except (StillOwnedError, ScrapeDoError) as error:
        click.echo(f"{NOT_STOPPED}  {printable(job_id)}: {printable(str(error))}", err=True)
        return NOT_STOPPED
    click.echo(f"{end}  {printable(job_id)}", err=quiet)
    return end


def _refuse_unproven(found: Sequence[OrphanJob]) -> dict[str, str]:
    """Refuse jobs that no run of this store is known to have bought: another application may be at work on them."""
    refused = [one.job.job_id for one in found if not (one.previous_owner or one.claimant or one.searched_by)]
    for job_id in refused:
        text = "no run of this store has bought the job; another application may own it. To stop it, give its id"
        click.echo(f"{NOT_STOPPED}  {printable(job_id)}: {text}", err=True)
    return dict.fromkeys(refused, NOT_STOPPED)


def _refuse_owned_elsewhere(job_id: str) -> None:
    """Refuse the job of a run in another store of the server.

    Raises:
        StillOwnedError: a run of another store owns the job, or owned it.
    """
    from scrape_do_celery.steps.orphans import StillOwnedError

    app_context = AppContext.for_app()
    try:
        places = find_neighbours(app_context.store, account_fingerprints(app_context.settings))
        owner = find_owner(app_context.store, places, job_id)
    except ResponseError:
        return  # the user of the store may not read other stores; `doctor` says so
    if owner:
        raise StillOwnedError(
            f"the job belongs to a run of another application (SCRAPE_DO_KEY_PREFIX={owner.prefix}, database "
            f"{owner.database} of this server); stop it there"
        )


def _show_orphans(found: Sequence[OrphanJob], *, named: bool) -> None:
    if found:
        print_table(_HEADER, [_orphan_row(one) for one in found], left=4)
    elif not named:
        click.echo("no orphans: each running job belongs to a run")


def _orphan_row(one: OrphanJob) -> tuple[str, ...]:
    return (
        *(
            printable(one.job.job_id),
            printable(str(one.job.status)),
            format_moment(one.job.start_time),
            _ownership_note(one),
        ),
        *(format_figure(one.tasks), format_figure(one.done), _credits_text(one)),
    )


def _ownership_note(one: OrphanJob) -> str:
    if one.previous_owner:
        return f"run {printable(one.previous_owner.run_id)} ended without this job"
    if one.claimant:
        return f"may belong to run {printable(one.claimant.run_id)}"
    if one.searched_by:
        return f"run {printable(one.searched_by[0].run_id)} searched for such a job and found none"
    return "is being canceled" if one.job.canceled else NONE


def _credits_text(one: OrphanJob) -> str:
    least, most = one.credits
    return format_figure(least) if least == most else f"{format_figure(least)} to {format_figure(most)}"


def _as_json(found: Sequence[OrphanJob], others: Sequence[NotAnOrphan], ends: dict[str, str]) -> dict[str, Any]:
    return {
        "orphans": [
            {
                "job_id": one.job.job_id,
                "status": str(one.job.status),
                "start_time": None if one.job.start_time is None else format_moment(one.job.start_time),
                "tasks": one.tasks,
                "done": one.done,
                "credits": list(one.credits),
                "may_belong_to": one.claimant and one.claimant.run_id,
                "previous_owner": one.previous_owner and one.previous_owner.run_id,
                "searched_by": [part_id.run_id for part_id in one.searched_by],
                "end": ends.get(one.job.job_id),
            }
            for one in found
        ],
        "others": [{"job_id": one.job_id, "why": one.why} for one in others],
    }


def _cancel_question(number: int) -> str:
    where = masked(AppContext.for_app().settings.redis_url)
    return f"Stop {number} job{'s' * (number > 1)} at Scrape.do that no run of the store at {where} owns?"
