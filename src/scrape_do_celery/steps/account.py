"""Read the concurrency and the credits of the account, so that processes without a token can plan runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import ScrapeDoError, StoreUnavailableError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.steps.store_health import is_full
from scrape_do_celery.store.commands.prices import NoteAccountFigures
from scrape_do_celery.store.commands.stats import ReadClock

if TYPE_CHECKING:
    from scrape_do_celery.steps.context import WorkerContext

log = get_logger(__name__)


async def read_account(context: WorkerContext) -> None:
    """Ask the API for the account once, and note its figures. Without an answer, the figures before stand."""
    store, account = context.store, context.settings.account_id
    try:
        user = await context.call(context.client.get_user_info)
        now = await store.run(ReadClock())
        await store.run(NoteAccountFigures.of(account, user, now))
    except StoreUnavailableError as error:
        if is_full(error):
            return
        raise
    except ScrapeDoError as error:
        # The steps that need the API judge its refusals.
        log.info(
            "could not read the concurrency of the account: %s; plans show an older one, or none",
            error,
            extra=log_fields("account_not_read", account=account),
        )
