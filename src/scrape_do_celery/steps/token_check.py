"""Tell a refused token from a refusal of one job or task, by a request for the account itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from scrape_do_celery.errors import AsyncAPIResponseError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from scrape_do_celery.errors import AsyncAPIAuthError, ScrapeDoError

#: Seconds for which an answer about the account is valid. A thousand tasks may be refused at once.
_STANDS = 10.0


class TokenCheck:
    """The check whether a 401 or 403 for one job or task refuses the token. A process has one check for its token.

    `ask_account` asks the API for the account, and returns its error or None.
    """

    def __init__(self, ask_account: Callable[[], Awaitable[ScrapeDoError | None]]) -> None:
        self._ask_account = ask_account
        self._lock = asyncio.Lock()
        #: the loop's time of the last check, and whether the API took the token
        self._checked: tuple[float, bool] | None = None

    async def judge_refusal(self, error: AsyncAPIAuthError) -> AsyncAPIResponseError:
        """Return the error of the token, or a plain refusal if the API accepts the token.

        A refusal of one task must not hold back all runs of the account.
        """
        return AsyncAPIResponseError(*error.args) if await self._takes_token() else error

    async def _takes_token(self) -> bool:
        """Return whether the API certainly accepts the token. Many refusals at once cost one request."""
        async with self._lock:
            now = asyncio.get_running_loop().time()
            if self._checked is None or now - self._checked[0] > _STANDS:
                self._checked = now, await self._ask_account() is None
            return self._checked[1]
