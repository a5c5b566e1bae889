"""Read from the store what a page of the admin shows of runs and their rows do not have."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scrape_do_celery.errors import NewerRecordError, RunNotFoundError, StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.runs import AppContext, RunHandle
from scrape_do_celery.store.commands.runs import ReadRunWait
from scrape_do_celery.store.deadlines import limited_time
from scrape_do_celery.store.versions import UnlessNewer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.contrib.django.models import ScrapeRun

log = get_logger(__name__)

#: Seconds for the store's answer. A page without it shows the reasons of the last announcements.
_TIME: Final = 2.0


def read_lineage(run_id: str) -> tuple[str, ...]:
    """Return the ids of the runs of a lineage; none if the store has no such run (any more), or does not answer."""
    try:
        with limited_time(_TIME):
            return RunHandle(run_id).lineage
    except (RunNotFoundError, StoreUnavailableError):
        return ()


def refresh_waits(rows: Iterable[ScrapeRun]) -> None:
    """Set `waiting_for` of rows of live runs to the present reason, in one round trip and without saving them.

    A run that waits does not change, so that nothing announces it. Without a worker, nothing announces any run.
    """
    live = [row for row in rows if row.ended is None]
    app_context = AppContext.for_app()
    account, token_id = app_context.settings.account_id, app_context.settings.token_id
    commands = [UnlessNewer(ReadRunWait(row.run_id, account, token_id)) for row in live]
    try:
        with limited_time(_TIME):
            found = app_context.store.run_all(commands) if commands else []
    except StoreUnavailableError as error:
        log.warning(
            "could not read why runs wait: %s; the admin shows the reasons of their last announcements",
            error,
            extra=log_fields("waits_not_read"),
        )
        return
    for row, answer in zip(live, found, strict=True):
        if isinstance(answer, NewerRecordError):
            # Workers of that version announce the run.
            continue
        waiting_for = None if answer is None else answer[1]
        row.waiting_for = None if waiting_for is None else waiting_for.to_json()
