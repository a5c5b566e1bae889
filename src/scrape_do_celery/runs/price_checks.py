"""Compare the prices of runs that are not written with their `max_credits` and with budgets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Self

from scrape_do_celery.rules.budgets import RUN_PERIOD, BudgetRefusal, BudgetUse, over_budget_error
from scrape_do_celery.rules.prices import estimate_cost, price_groups, reserved_price
from scrape_do_celery.store.commands.budgets import ReadBudgets, ReadLimits

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from scrape_do_celery.errors import BudgetExceededError
    from scrape_do_celery.rules.prices import LearnedPrice, PriceGroup
    from scrape_do_celery.store import RunSpec, Store

#: Scopes whose limits one command reads, at most.
_CHUNK: Final = 500


@dataclass(frozen=True, slots=True)
class PricedRun:
    """A run that is not written, with the id that it will have, and the tasks of each part in groups of one price."""

    run_id: str
    spec: RunSpec
    parts: Sequence[Sequence[PriceGroup]]

    @classmethod
    def of(cls, store: Store, run_id: str, spec: RunSpec) -> Self:
        """Return a run with the prices of its parts."""
        return cls(run_id, spec, [price_groups(part, store.keys.mask) for part in spec.parts()])

    @property
    def groups(self) -> list[PriceGroup]:
        """The groups of all parts."""
        return [group for groups in self.parts for group in groups]


def find_refusals(
    store: Store, account: str, learned: Mapping[str, LearnedPrice], runs: Sequence[PricedRun]
) -> list[BudgetExceededError | None]:
    """Return why runs are too large to start; None for each other run.

    A run must not be expected to cost more than its `max_credits`. No part may reserve more than that, or than a whole
    budget: it would wait for ever. `learned` are the prices that `account` paid for the groups of the runs.
    """
    limits = _read_limits(store, {scope for run in runs for scope in run.spec.budget_scopes(account)})
    refusals: list[BudgetRefusal | None] = []
    for run in runs:
        largest_mc = max(reserved_price(groups, learned) for groups in run.parts)
        refusal = _compare_cap(run, learned, largest_mc)
        scopes = run.spec.budget_scopes(account)
        refusals.append(refusal or _compare_budgets([one for one in limits if one.scope in scopes], largest_mc))
    refusals = _with_present_use(store, refusals)
    return [
        None if refusal is None else over_budget_error(run.run_id, refusal, is_written=False)
        for run, refusal in zip(runs, refusals, strict=True)
    ]


def _read_limits(store: Store, scopes: Iterable[str]) -> list[BudgetUse]:
    """Return the limits of scopes, sorted, without their use: to read the use of all budgets takes long."""
    names = sorted(scopes)
    chunks = [names[start : start + _CHUNK] for start in range(0, len(names), _CHUNK)]
    found = store.run_all([ReadLimits(chunk) for chunk in chunks])
    return [BudgetUse(scope, period, limit, 0, 0) for limits in found for (scope, period), limit in limits.items()]


def _compare_cap(run: PricedRun, learned: Mapping[str, LearnedPrice], largest_mc: int) -> BudgetRefusal | None:
    max_mc = run.spec.max_mc
    if max_mc is None:
        return None
    needed_mc = max(round(estimate_cost(run.groups, learned).expected_mc), largest_mc)
    use = BudgetUse(f"run:{run.run_id}", RUN_PERIOD, max_mc, 0, 0)
    return BudgetRefusal(use, needed_mc, is_final=True) if needed_mc > max_mc else None


def _compare_budgets(limits: Iterable[BudgetUse], largest_mc: int) -> BudgetRefusal | None:
    refusals = (BudgetRefusal(use, largest_mc, is_final=True) for use in limits if largest_mc > use.limit_mc)
    return next(refusals, None)


def _with_present_use(store: Store, refusals: list[BudgetRefusal | None]) -> list[BudgetRefusal | None]:
    """Return the refusals with what is spent and reserved of their budgets now, for the texts of the errors."""
    if not any(one is not None and one.use.period != RUN_PERIOD for one in refusals):
        return refusals
    uses = {(row.use.scope, row.use.period): row.use for row in store.run(ReadBudgets())}
    # The limit stays that of the comparison.
    return [
        one
        if one is None or (use := uses.get((one.use.scope, one.use.period))) is None
        else replace(one, use=replace(use, limit_mc=one.use.limit_mc))
        for one in refusals
    ]
