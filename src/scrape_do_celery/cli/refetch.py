"""The command `scrape-do refetch`: fetch pages over the limit again while the API keeps them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from scrape_do_celery import runs
from scrape_do_celery.cli.exit_codes import ExitCode
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.output import print_facts, printable, printable_url
from scrape_do_celery.cli.progress import track_items
from scrape_do_celery.cli.shapes import RefetchShape
from scrape_do_celery.errors import ConfigurationError, ResultNotReadyError, ScrapeDoError
from scrape_do_celery.rules.lifecycle import settle_task
from scrape_do_celery.runs import results
from scrape_do_celery.store.commands.contents import ReadContents, ReadStoredPositions, ReplaceLargeContent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from scrape_do_celery.client import ScrapeDoAsyncAPIClient
    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import TaskDetails
    from scrape_do_celery.store import PartId, Store

#: The default limit, as a multiple of the workers' limit.
_TIMES = 8


@click.command("refetch")
@click.argument("run_id")
@click.option(
    "--max-bytes",
    type=click.IntRange(min=1),
    help="Accept pages up to this size, in bytes. Default: 8 times SCRAPE_DO_MAX_PAGE_BYTES.",
)
@json_option(RefetchShape)
@click.pass_context
def refetch_pages(ctx: click.Context, run_id: str, max_bytes: int | None, as_json: bool) -> None:
    """Fetch the pages of a run again that were larger than the limit.

    Nothing is bought. The API keeps pages for about three days.
    """
    app_context = runs.AppContext.for_app()
    settings, store = app_context.settings, app_context.store
    fetched = failed = 0
    with _open_client(settings, max_bytes or _TIMES * settings.max_page_bytes) as client:
        large = list(_large_tasks(store, run_id))
        for part_id, position, old in track_items(large, len(large), "fetch again"):
            try:
                task = client.get_task(old.job_id, old.task_id)
            except ScrapeDoError as error:
                click.echo(f"{printable_url(old.url)}: {printable(str(error))}", err=True)
                failed += 1
                continue
            final = settle_task(task, now=time.time(), had_end=False)
            if final is None:
                status = printable(str(task.status))
                click.echo(
                    f"{printable_url(old.url)}: not fetched, because the task is {status}; try again later", err=True
                )
                failed += 1
                continue
            fetched += store.run(ReplaceLargeContent(part_id, position, final))
    if as_json:
        print_json({"run_id": run_id, "fetched": fetched, "failed": failed})
    else:
        print_facts([("run", run_id), ("fetched", str(fetched)), ("failed", str(failed))])
    if failed:
        ctx.exit(ExitCode.FAILURE)


def _open_client(settings: Settings, max_bytes: int) -> ScrapeDoAsyncAPIClient:
    if settings.api_key is None:
        raise ConfigurationError("SCRAPE_DO_API_KEY is not set: set it, because a fetch needs the account's token")
    from scrape_do_celery.client import ScrapeDoAsyncAPIClient  # import late: httpx loads slowly
    from scrape_do_celery.client.routes import network_arguments

    return ScrapeDoAsyncAPIClient(
        settings.api_key,
        base_url=settings.api_url,
        timeout=settings.request_timeout,
        max_page_bytes=max_bytes,
        **network_arguments(settings),
    )


def _large_tasks(store: Store, run_id: str) -> Iterator[tuple[PartId, int, TaskDetails]]:
    """Yield the tasks of a run whose pages were too large, with their parts and positions."""
    record = results.read_record(store, run_id)
    if record.outcome is None:
        raise ResultNotReadyError(
            f"run {run_id} is {record.state}; repeat the command after the end of the run", run_id
        )
    for reader in results.part_readers(store, record):
        stored: set[int] = store.run(ReadStoredPositions(reader.part_id))
        for position in sorted(stored):
            (task,) = store.run(ReadContents(reader.part_id, [position]))
            if task is not None and task.too_large:
                yield reader.part_id, position, task
