"""Tell a refused token from a refusal of one job or task, by a request for the account itself."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from scrape_do_celery.errors import AsyncAPIResponseError, ScrapeDoError
from scrape_do_celery.rules.api_errors import is_auth
from scrape_do_celery.steps.rate_limiter import is_stopping
from scrape_do_celery.store import ops

if TYPE_CHECKING:
    from scrape_do_celery.errors import AsyncAPIAuthError
    from scrape_do_celery.steps.context import WorkerContext

log = logging.getLogger(__name__)

#: Seconds for which an answer about the account is valid. A thousand tasks may be refused at once.
_STANDS = 10.0


async def ask_account(context: WorkerContext) -> ScrapeDoError | None:
    """Ask the API for the account. Return its error, or None if the API takes the token."""
    urgent = is_stopping.set(True)
    try:
        await context.call(context.client.get_user_info)
    except ScrapeDoError as error:
        return error
    finally:
        is_stopping.reset(urgent)
    return None


async def hold_account(context: WorkerContext, error: ScrapeDoError) -> None:
    """Hold all runs of the account back, because its token was refused. Log the refusal once."""
    settings = context.settings
    if await context.write(ops.open_breaker(context.store.keys, settings.account_id)):
        log.error(
            "%s refuses the token: %s; runs are held back, and the account is tried up to every %.0f s",
            settings.api_url,
            error,
            ops.LONGEST_PROBE,
        )


async def try_account(context: WorkerContext) -> ScrapeDoError | None:
    """Ask the API whether it takes the token again. Return the refusal, or None if the runs may go on."""
    error = await ask_account(context)
    # Other errors say nothing about the token. The step's own call will show whether it is refused.
    if error is not None and is_auth(error):
        return error
    if await context.write(ops.close_breaker(context.store.keys, context.settings.account_id)):
        log.warning("%s takes the token again", context.settings.api_url)
    return None


class TokenCheck:
    """The check whether a 401 or 403 for one job or task refuses the token. A process has one check for its token."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        #: the loop's time of the last check, and whether the API took the token
        self._checked: tuple[float, bool] | None = None

    async def judge(self, context: WorkerContext, error: AsyncAPIAuthError) -> AsyncAPIResponseError:
        """Return the error of the token, or a plain refusal if the API takes the token.

        A refusal of one task must not hold back all runs of the account.
        """
        if not await self._takes_token(context):
            return error
        return AsyncAPIResponseError(*error.args)

    async def _takes_token(self, context: WorkerContext) -> bool:
        """Tell whether the API certainly takes the token. Many refusals at once cost one request."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._checked is None or now - self._checked[0] > _STANDS:
                self._checked = now, await ask_account(context) is None
            return self._checked[1]
