"""Register the accounts that a worker serves, and warn of other stores on the server with the same account."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from scrape_do_celery.config.accounts import account_fingerprints
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.server_checks import find_shared_account
from scrape_do_celery.steps.once import OnceFilter
from scrape_do_celery.store.register import register_store

if TYPE_CHECKING:
    from scrape_do_celery.runs.context import AppContext

log = get_logger(__name__)

#: Seconds between two registrations. The register forgets a store after a day.
_INTERVAL = 3600.0


class SharedAccountWatch:
    """The registration of a worker's store, and the other stores that the worker has warned of."""

    def __init__(self, app_context: AppContext) -> None:
        self._app_context = app_context
        self._next_at = 0.0
        self._once = OnceFilter()

    def check(self) -> None:
        """Register the store and warn of others, once an hour. A refusal is a matter of `doctor`, not of a pass."""
        if time.monotonic() < self._next_at:
            return
        self._next_at = time.monotonic() + _INTERVAL
        store, settings = self._app_context.store, self._app_context.settings
        try:
            register_store(store, account_fingerprints(settings))
            shared = find_shared_account(store, settings)
        except RedisError as error:
            log.debug("the register of stores cannot be used: %s", error, extra=log_fields("register_unusable"))
            return
        if shared and self._once.is_first(shared):
            log.warning("%s", shared, extra=log_fields("account_shared"))
