"""The account's credits and concurrency: read from the API at most once a minute, and only if a scrape needs them."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scrape_do_celery.client import ScrapeDoAsyncAPIClient
from scrape_do_celery.client.routes import network_arguments
from scrape_do_celery.errors import APIConnectionError, AsyncAPIAuthError, AsyncAPIRateLimitError, ScrapeDoError

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.config import Settings
    from scrape_do_celery.models import UserInformation

#: Outcomes of a request for the account.
ANSWERED, NO_TOKEN, PAUSED, REFUSED, NO_ANSWER, OTHER = OUTCOMES = (
    *("answered", "no_token", "paused", "refused", "no_answer", "error"),
)
#: Seconds for which an outcome is reused, and the time-out of the request in seconds: it runs within a scrape.
_INTERVAL: Final = 60.0
_TIMEOUT: Final = 3.0


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """The outcome of the last request for the account. `user` is the answer, None without one."""

    outcome: str
    user: UserInformation | None = None


class AccountReader:
    """A reader for the account of the settings' token."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings, self._clock = settings, clock
        self._lock = threading.Lock()
        self._last, self._next = AccountStatus(NO_TOKEN), 0.0

    def read_status(self, pause: float = 0.0) -> AccountStatus:
        """Return the status of the account. While `pause` seconds of a 429 are left, no request is sent."""
        if self._settings.api_key is None:
            return AccountStatus(NO_TOKEN)
        with self._lock:
            if self._clock() >= self._next:
                if pause > 0:
                    return AccountStatus(PAUSED)
                self._last = self._fetch_status()
                self._next = self._clock() + _INTERVAL
            return self._last

    def _fetch_status(self) -> AccountStatus:
        settings = self._settings
        try:
            with ScrapeDoAsyncAPIClient(
                settings.api_key,
                base_url=settings.api_url,
                timeout=_TIMEOUT,
                max_retries=0,
                **network_arguments(settings),
            ) as client:
                return AccountStatus(ANSWERED, client.get_user_info())
        except ScrapeDoError as error:
            return AccountStatus(_outcome_of(error))


def _outcome_of(error: ScrapeDoError) -> str:
    kinds = {AsyncAPIAuthError: REFUSED, AsyncAPIRateLimitError: PAUSED, APIConnectionError: NO_ANSWER}
    return next((name for kind, name in kinds.items() if isinstance(error, kind)), OTHER)
