"""Budgets: their names, their use, and the refusal of a purchase. No I/O, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.errors import BudgetExceededError
from scrape_do_celery.figures import format_figure

if TYPE_CHECKING:
    from scrape_do_celery.models import TaskDetails

#: Seconds between two looks for budgets to warn of. Each look reads all limits, so one worker looks for all.
BUDGET_CHECK_INTERVAL: Final = 5
#: The period of the limit `max_credits` of one run, and that of a scope for which nothing is bought now.
RUN_PERIOD, STOPPED = "run", "stop"
#: Statuses of a target that the vendor's price list charges beside 2xx; the class of 2xx.
_CHARGED: Final = frozenset({400, 404, 410})
_GOOD: Final = 2


def account_scope(account: str) -> str:
    """Return the scope of all purchases of an account."""
    return f"account:{account}"


def tag_scope(tag: str) -> str:
    """Return the scope of all purchases with a tag."""
    return f"tag:{tag}"


def name_scope(scope: str) -> str:
    """Return a scope as commands take it: `account`, or `tag:shop:7`."""
    return scope if scope.startswith("tag:") else "account"


def show_scope(scope: str) -> str:
    """Return the words for a scope in a sentence."""
    kind, _, name = scope.partition(":")
    return {"tag": f"the tag {name}", "run": "the run"}.get(kind, f"the account {name}")


def to_credits(mc: int) -> float:
    """Return thousandths as credits."""
    return mc / MC_PER_CREDIT


def lacks_cost(task: TaskDetails) -> bool:
    """Return whether the API has probably charged a task without a word about its cost."""
    if task.cost is not None or task.gone:
        return False
    status = task.status_code or 0
    return task.has_page or status in _CHARGED or status // 100 == _GOOD


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """The use of a limit in a period. Amounts are thousandths of a credit."""

    scope: str
    period: str
    limit_mc: int
    spent_mc: int
    reserved_mc: int

    @property
    def overrun_mc(self) -> int:
        """The spent amount above the limit."""
        return max(0, self.spent_mc - self.limit_mc)

    def __str__(self) -> str:
        used = f"{show_credits(self.spent_mc)} credits are spent and {show_credits(self.reserved_mc)} reserved"
        if self.period == RUN_PERIOD:
            return f"max_credits of the run is {show_credits(self.limit_mc)}; {used}"
        return f"the limit of {show_scope(self.scope)} for a {self.period} is {show_credits(self.limit_mc)}; {used}"


@dataclass(frozen=True, slots=True)
class BudgetRefusal:
    """The refusal to reserve an amount. If it is final, no wait can help, or a setting forbids to wait."""

    use: BudgetUse
    amount_mc: int
    is_final: bool

    def __str__(self) -> str:
        if self.use.period == STOPPED:
            return f"purchases of {show_scope(self.use.scope)} are stopped"
        return f"the part needs {show_credits(self.amount_mc)} credits, and {self.use}"


def parse_refusal(text: str) -> BudgetRefusal:
    """Parse the text of a script: period, limit, spent, reserved, amount, whether the refusal is final, scope."""
    period, limit, spent, reserved, amount, is_final, scope = text.split(" ", 6)
    return BudgetRefusal(BudgetUse(scope, period, int(limit), int(spent), int(reserved)), int(amount), is_final == "1")


def over_budget_error(run_id: str, refusal: BudgetRefusal, *, is_written: bool = True) -> BudgetExceededError:
    """Return the error of a run that a budget refuses. A run that is not written has bought nothing."""
    use = refusal.use
    budget = RUN_PERIOD if use.period == RUN_PERIOD else f"{name_scope(use.scope)} {use.period}"
    amounts = (to_credits(mc) for mc in (use.limit_mc, use.spent_mc, use.reserved_mc, refusal.amount_mc))
    what = f"run {run_id} is not bought in full" if is_written else "the run was not started"
    return BudgetExceededError(f"{what}: {refusal}", run_id, budget, *amounts)


def show_credits(mc: int) -> str:
    """Return thousandths as the text of an amount of credits, without needless zeros."""
    return format_figure(to_credits(mc))
