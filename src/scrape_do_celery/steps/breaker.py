"""Hold runs back: those of an account while the API refuses its token, and all runs during the pause after a 429."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.errors import AsyncAPIRateLimitError
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.api_errors import is_auth, pause_after
from scrape_do_celery.steps.rate_limiter import PausedError
from scrape_do_celery.store.commands import limits
from scrape_do_celery.store.commands.limits import CloseBreaker, OpenBreaker, PauseAPI

if TYPE_CHECKING:
    from scrape_do_celery.errors import ScrapeDoError
    from scrape_do_celery.steps.context import WorkerContext

log = get_logger(__name__)


async def hold_account(context: WorkerContext, error: ScrapeDoError) -> None:
    """Hold all runs of the account back, because its token was refused. Log the refusal once."""
    settings = context.settings
    if await context.write(OpenBreaker(settings.account_id, settings.token_id, settings.auth_grace)):
        log.error(
            "%s refuses the token: %s; runs wait, and workers try the token at least every %.0f s; if it is still "
            "refused after %.0f s (SCRAPE_DO_AUTH_GRACE), the runs fail; check the account's credits and "
            "SCRAPE_DO_API_KEY; a new token takes bought jobs along only if SCRAPE_DO_ACCOUNT was set when they were "
            "bought",
            settings.api_url,
            error,
            limits.LONGEST_PROBE,
            settings.auth_grace,
            extra=log_fields("token_refused", account=settings.account_id),
        )


async def try_account(context: WorkerContext) -> ScrapeDoError | None:
    """Ask the API whether it accepts the token again. Return the refusal, or None if the runs may go on."""
    error = await context.ask_account()
    # Other errors say nothing about the token. The step's own call will show whether it is refused.
    if error is not None and is_auth(error):
        return error
    if await context.write(CloseBreaker(context.settings.account_id)):
        log.warning(
            "%s accepts the token again; its runs continue",
            context.settings.api_url,
            extra=log_fields("token_accepted", account=context.settings.account_id),
        )
    return None


async def apply_to_all_workers(context: WorkerContext, error: ScrapeDoError) -> None:
    """Inform all workers of an error that concerns all calls: a refused token, or a 429, which pauses them."""
    if is_auth(error):
        await hold_account(context, error)
    elif isinstance(error, AsyncAPIRateLimitError) and not isinstance(error, PausedError):
        context.rate_limiter.pause(pause_after(error))
        await context.write(PauseAPI(pause_after(error)))
