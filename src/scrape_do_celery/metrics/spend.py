"""The budgets, and the costs of today by tag and by host, as samples with a bounded number of labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from scrape_do_celery.metrics.samples import keep_largest
from scrape_do_celery.rules.budgets import STOPPED, BudgetUse, to_credits
from scrape_do_celery.runs.spend import name_day
from scrape_do_celery.store.commands.budgets import ReadBudgets, ReadHostSpend, ReadSpend
from scrape_do_celery.store.retention import SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scrape_do_celery.metrics.samples import Samples
    from scrape_do_celery.store import Store

#: Budgets and stopped scopes that are served, at most.
_BUDGETS: Final = 100


def read_spend_samples(store: Store, now: float) -> Samples:
    """Return the samples of the budgets and of the costs of today, at this time of the store's clock."""
    uses = [row.use for row in store.run(ReadBudgets())]
    day = int(now // SECONDS_PER_DAY)
    today = store.run(ReadSpend(name_day(day)))
    tags = {scope.removeprefix("tag:"): one.get("spent", 0) for scope, one in today.items() if scope.startswith("tag:")}
    hosts = store.run(ReadHostSpend(day))
    return {
        **_budget_samples(uses),
        "scrape_do_tag_credits_today": _largest_samples(tags),
        "scrape_do_host_credits_today": _largest_samples(hosts),
    }


def _budget_samples(uses: list[BudgetUse]) -> Samples:
    limited = [use for use in uses if use.period != STOPPED]
    # If there are too many, serve the budgets that have the least left.
    limited.sort(key=lambda use: (use.spent_mc + use.reserved_mc) / use.limit_mc, reverse=True)
    limited = limited[:_BUDGETS]
    switches: dict[tuple[str, ...], float] = {(use.scope,): 0.0 for use in limited}
    switches |= {(scope,): 1.0 for scope in [use.scope for use in uses if use.period == STOPPED][:_BUDGETS]}

    def amounts(name: str) -> dict[tuple[str, ...], float]:
        return {(use.scope, use.period): to_credits(getattr(use, name)) for use in limited}

    return {
        "scrape_do_budget_limit": amounts("limit_mc"),
        "scrape_do_budget_spent": amounts("spent_mc"),
        "scrape_do_budget_reserved": amounts("reserved_mc"),
        "scrape_do_budget_overrun": amounts("overrun_mc"),
        "scrape_do_buying_stopped": switches,
    }


def _largest_samples(amounts: Mapping[str, int]) -> dict[tuple[str, ...], float]:
    """Return the largest amounts in credits."""
    return {name: to_credits(int(mc)) for name, mc in keep_largest(amounts).items()}
