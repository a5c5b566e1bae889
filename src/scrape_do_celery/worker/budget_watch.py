"""Warn of budgets that have used most of their limit, by the log and by the signal `budget_warning`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.budgets import BUDGET_CHECK_INTERVAL
from scrape_do_celery.runs.budgets import read_budget
from scrape_do_celery.signals import budget_warning
from scrape_do_celery.store.commands.budgets import ClaimBudgetCheck, ReadBudgets
from scrape_do_celery.worker.receivers import call_receivers

if TYPE_CHECKING:
    from collections.abc import Callable

    from scrape_do_celery.runs import AppContext

log = get_logger(__name__)


class BudgetWatch:
    """The check of budgets by a worker. Of all workers, one warns of each budget, once in its period."""

    def __init__(self, app_context: AppContext, clock: Callable[[], float] = time.monotonic) -> None:
        self._app_context, self._clock = app_context, clock
        self._next_at = 0.0

    def check(self) -> None:
        """If no worker has read the budgets lately, warn of each that has passed its threshold since the last check.

        Raises:
            RedisError: the store did not answer.
        """
        if self._clock() < self._next_at:
            return
        self._next_at = self._clock() + BUDGET_CHECK_INTERVAL
        store = self._app_context.store
        if not store.run(ClaimBudgetCheck()):
            return
        news = [row for row in store.run(ReadBudgets(warns=True)) if row.is_news]
        if not news:
            return
        for row in news:
            log.warning("most of a budget is used: %s", row.use, extra=log_fields("budget_warning"))
        call_receivers(budget_warning, self._app_context.app, [{"budget": read_budget(row)} for row in news])
