"""Make the names of the Redis keys of prices, budgets and costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.rules.budgets import BUDGET_CHECK_INTERVAL
from scrape_do_celery.rules.polling import ACCOUNT_INTERVAL
from scrape_do_celery.store import retention
from scrape_do_celery.store.encryption import PrivateValues
from scrape_do_celery.store.key_declarations import holds
from scrape_do_celery.store.retention import Expiry


class SpendKeys(PrivateValues):
    """The names of the keys of prices, budgets and costs. `Keys` gives the prefix."""

    __slots__ = ()

    if TYPE_CHECKING:

        @property
        def prefix(self) -> str:
            """The prefix of all keys."""
            ...

    @holds("hash", retention.LEDGER_TTL)
    def ledger(self, day: int) -> str:
        """Return the key of the ledger of a day.

        `<run>:<n>:<purchase>` -> time, status, targets, estimate, job, credits, outcome.
        """
        return f"{self.prefix}:ledger:{day}"

    @holds("hash", Expiry.NEVER)
    def prices(self, account: str) -> str:
        """Return the key of the learned prices of an account: host or plugin, and options -> last day, and costs."""
        return f"{self.prefix}:prices:{account}"

    @holds("hash", Expiry.NEVER)
    def account(self, account: str) -> str:
        """Return the key of the figures of an account: its concurrency, its credits, and when a worker read them."""
        return f"{self.prefix}:account:{account}"

    @holds("string", ACCOUNT_INTERVAL)
    def account_reading(self, account: str) -> str:
        """Return the key of the mark that a worker reads the figures of an account now, or has just read them."""
        return f"{self.prefix}:account_reading:{account}"

    @property
    @holds("hash", Expiry.NEVER)
    def budgets(self) -> str:
        """The key of the limits of budgets: `<scope> day` and `month`; `<scope> stop` while nothing is bought."""
        return f"{self.prefix}:budgets"

    @property
    @holds("string", BUDGET_CHECK_INTERVAL)
    def budget_check(self) -> str:
        """The key of the mark that a worker looks for budgets to warn of now, or has just looked."""
        return f"{self.prefix}:budget_check"

    @holds("hash", retention.SPEND_TTL)
    def spend(self, period: str) -> str:
        """Return the key of what a day or a month (UTC) has cost: `<scope> spent`, `reserved`, `assumed`."""
        return f"{self.prefix}:spend:{period}"

    @holds("zset", Expiry.NEVER)
    def budget_waiters(self, scope: str) -> str:
        """Return the key of the parts that wait for a budget -> position in the order of all waits."""
        return f"{self.prefix}:budget_waiters:{scope}"

    @holds("hash", retention.LEDGER_TTL)
    def host_spend(self, day: int) -> str:
        """Return the key of what the API reported for the purchases of a day: host or plugin -> thousandths."""
        return f"{self.prefix}:host_spend:{day}"

    @holds("hash", retention.LEDGER_TTL)
    def balance(self, account: str) -> str:
        """Return the key of the credits that an account had left: hour since the epoch -> first reading of the hour."""
        return f"{self.prefix}:balance:{account}"
