"""The command `scrape-do`, also as a plugin of `celery`."""

from __future__ import annotations

import click

from scrape_do_celery.cli.account import print_account
from scrape_do_celery.cli.audit import audit_spend
from scrape_do_celery.cli.budgets import manage_budgets
from scrape_do_celery.cli.doctor import run_doctor
from scrape_do_celery.cli.exit_codes import describe_exit_codes
from scrape_do_celery.cli.export import export_run
from scrape_do_celery.cli.forget import forget_run
from scrape_do_celery.cli.group import CommandGroup
from scrape_do_celery.cli.ledger import print_ledger
from scrape_do_celery.cli.listing import print_runs
from scrape_do_celery.cli.metrics import serve_metrics
from scrape_do_celery.cli.orphans import list_orphans
from scrape_do_celery.cli.plans import print_plan
from scrape_do_celery.cli.redis import run_redis
from scrape_do_celery.cli.refetch import refetch_pages
from scrape_do_celery.cli.retry import retry_run
from scrape_do_celery.cli.run import run_targets, watch_run
from scrape_do_celery.cli.runs import cancel_run, enqueue_run, print_result, print_status
from scrape_do_celery.cli.sandbox import sandbox
from scrape_do_celery.cli.schedules import manage_schedules
from scrape_do_celery.cli.webhook import serve_webhooks
from scrape_do_celery.cli.worker import start_worker


@click.group(
    "scrape-do",
    cls=CommandGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=describe_exit_codes(),
)
@click.version_option(package_name="scrape-do-celery")
def main() -> None:
    """Manage runs of the Scrape.do Async API in Celery.

    Settings come from SCRAPE_DO_* variables.
    """


@click.group("scrape-do", cls=CommandGroup)
@click.pass_context
def celery_plugin(ctx: click.Context) -> None:
    """Manage Scrape.do runs of the app given by -A."""
    app = ctx.obj.app
    # `celery -A app` loads the app, but the app may not have made itself the current one.
    app.set_current()
    # Import the app's modules as a worker does. Only then is Django set up, and the project's settings are known:
    # without this, a command would act on the store and the account of the environment.
    app.loader.import_default_modules()


for _command in (
    run_targets,
    watch_run,
    enqueue_run,
    print_plan,
    print_runs,
    print_status,
    print_result,
    export_run,
    cancel_run,
    retry_run,
    forget_run,
    refetch_pages,
    print_account,
    manage_budgets,
    manage_schedules,
    list_orphans,
    print_ledger,
    audit_spend,
    run_doctor,
    start_worker,
    serve_metrics,
    serve_webhooks,
    sandbox,
    run_redis,
):
    main.add_command(_command)
    celery_plugin.add_command(_command)
