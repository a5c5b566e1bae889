"""Compare the prices of new runs with their `max_credits` and with budgets, before the runs are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.rules.budgets import (
    RUN_PERIOD,
    STOPPED,
    BudgetRefusal,
    BudgetUse,
    over_budget_error,
)
from scrape_do_celery.rules.prices import estimate_cost, price_groups, reserved_price
from scrape_do_celery.runs.plans import find_account, read_learned
from scrape_do_celery.store.commands.budgets import ReadBudgets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scrape_do_celery.rules.prices import LearnedPrice, PriceGroup
    from scrape_do_celery.runs.context import AppContext
    from scrape_do_celery.store import RunSpec


def check_prices(app_context: AppContext, runs: Sequence[tuple[str, RunSpec]]) -> None:
    """Compare runs, each with the id that it will have, with their own limits and with all budgets.

    A run must not be expected to cost more than its `max_credits`. No part may reserve more than a whole budget: it
    would wait for ever.

    Raises:
        BudgetExceededError: a run is too large.
    """
    store = app_context.store
    parts = [[price_groups(part, store.keys.mask) for part in spec.parts()] for _, spec in runs]
    account = find_account(app_context)
    learned = read_learned(app_context, account, (groups for run in parts for groups in run)) if account else {}
    limits = [row.use for row in store.run(ReadBudgets()) if row.use.period != STOPPED]
    for (run_id, spec), groups in zip(runs, parts, strict=True):
        _check_cap(run_id, spec, groups, learned)
        scopes = spec.budget_scopes(account)
        for use in limits:
            if use.scope in scopes:
                _check_budget(run_id, use, groups, learned)


def _check_cap(
    run_id: str, spec: RunSpec, parts: Sequence[Sequence[PriceGroup]], learned: Mapping[str, LearnedPrice]
) -> None:
    if spec.max_mc is None:
        return
    expected_mc = round(estimate_cost([group for groups in parts for group in groups], learned).expected_mc)
    if expected_mc > spec.max_mc:
        use = BudgetUse(f"run:{run_id}", RUN_PERIOD, spec.max_mc, 0, 0)
        raise over_budget_error(run_id, BudgetRefusal(use, expected_mc, is_final=True), is_written=False)


def _check_budget(
    run_id: str, use: BudgetUse, parts: Sequence[Sequence[PriceGroup]], learned: Mapping[str, LearnedPrice]
) -> None:
    largest_mc = max(reserved_price(groups, learned) for groups in parts)
    if largest_mc > use.limit_mc:
        raise over_budget_error(run_id, BudgetRefusal(use, largest_mc, is_final=True), is_written=False)
