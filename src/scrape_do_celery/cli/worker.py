"""The command `scrape-do worker`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from scrape_do_celery.runs import AppContext

if TYPE_CHECKING:
    from collections.abc import Sequence


@click.command("worker", context_settings={"ignore_unknown_options": True})
@click.option("-P", "--pool", default="threads", show_default=True, help="Run steps in this pool of Celery.")
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(1),
    default=4,
    show_default=True,
    help="Run this number of steps at once.",
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED, metavar="[CELERY_OPTION]...")
def start_worker(pool: str, concurrency: int, arguments: Sequence[str]) -> None:
    """Start a worker, which buys the jobs of runs and fetches their pages.

    The command is `celery worker` with the app of these settings. All other options go to Celery, such as
    `--loglevel INFO`. A worker needs the token.
    """
    app = AppContext.for_app().app
    app.worker_main(["worker", "--pool", pool, "--concurrency", str(concurrency), *arguments])
