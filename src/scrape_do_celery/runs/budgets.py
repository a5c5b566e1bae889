"""Budgets of the account and of tags: set their limits, read their use, stop and resume purchases."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from scrape_do_celery.config.budget_limits import BudgetPeriod, check_account, check_credits, check_tag, to_mc
from scrape_do_celery.config.variables import SettingsWarning
from scrape_do_celery.errors import ConfigurationError
from scrape_do_celery.models.sendable import caller_level
from scrape_do_celery.rules.budgets import STOPPED, account_scope, tag_scope, to_credits
from scrape_do_celery.runs.context import AppContext
from scrape_do_celery.runs.plans import find_account
from scrape_do_celery.store.commands.budgets import BudgetRow, ReadBudgets, SetBudget, StopBuying
from scrape_do_celery.store.commands.stats import ReadAccounts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from scrape_do_celery.config import Settings


@dataclass(frozen=True, slots=True)
class Budget:
    """A limit and its use in the present period. Amounts are in credits.

    Attributes:
        account: the id of the account, as in `Settings.account_id`; None for the budget of a tag.
        tag: the tag; None for the budget of an account.
        period: `day` or `month`, in UTC; None for a stop, which has no limit.
        limit: the limit; None for a stop.
        spent: the costs in this period, by the day of each purchase.
        reserved: the prices that purchases under way have reserved. Together with `spent`, a purchase never exceeds the
            limit.
        assumed: the part of `spent` that the API did not report: lost answers, jobs in doubt.
    """

    account: str | None
    tag: str | None
    period: BudgetPeriod | None
    limit: float | None
    spent: float
    reserved: float
    assumed: float

    @property
    def scope(self) -> str:
        """The scope: `account`, or `tag:shop:7`. Commands name another account by its id."""
        return "account" if self.tag is None else tag_scope(self.tag)

    @property
    def left(self) -> float | None:
        """The credits that purchases may still reserve; None for a stop."""
        return None if self.limit is None else max(0.0, self.limit - self.spent - self.reserved)

    @property
    def overrun(self) -> float:
        """The credits by which reported costs exceed the limit: pages may cost more than was reserved."""
        return 0.0 if self.limit is None else max(0.0, self.spent - self.limit)

    @property
    def is_stopped(self) -> bool:
        """Whether nothing is bought now for the account or the tag."""
        return self.period is None


def set_budget(
    limit: float | None,
    period: Literal["day", "month"],
    *,
    tag: str | None = None,
    account: str | None = None,
    settings: Settings | None = None,
) -> bool:
    """Set or remove the limit of the account, or of a tag, for each day or month (UTC).

    Purchases that are under way count. If the limit rises, the parts that fit wake at once.

    Args:
        limit: credits, more than 0; None removes the limit.
        period: `day` or `month`.
        tag: a tag of runs. None: the account of the settings; without a token, the only one of the store.
        account: the id of an account, as `list_budgets` shows ids. After a change of the token, it names the old one.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        Whether the limit has changed.

    Raises:
        ValueError: an argument is wrong; nothing was written.
        ConfigurationError: the settings have no token, and the store does not tell which account is meant.
        StoreUnavailableError: Redis did not answer, or refused.
    """
    amount, checked = check_credits("limit", limit), _check_period(period)
    context = AppContext.for_app(settings=settings)
    scope = find_scope(context, tag, account)
    command = SetBudget(scope, checked, None if amount is None else int(to_mc(amount)))
    return _run_change(context, command, is_removal=amount is None)


def stop_buying(*, tag: str | None = None, account: str | None = None, settings: Settings | None = None) -> bool:
    """Buy nothing more for the account, or for runs with a tag, until `resume_buying`.

    A job that was bought before goes on, and its pages are fetched. Parts that were not bought wait, also if
    `SCRAPE_DO_OVER_BUDGET` is `fail`.

    Args:
        tag: a tag of runs. None: the account of the settings; without a token, the only one of the store.
        account: the id of an account, as `list_budgets` shows ids. After a change of the token, it names the old one.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        Whether purchases went on before.

    Raises:
        ValueError: the tag is wrong; nothing was written.
        ConfigurationError: the settings have no token, and the store does not tell which account is meant.
        StoreUnavailableError: Redis did not answer, or refused.
    """
    return _switch_buying(tag, account, settings, is_stopped=True)


def resume_buying(*, tag: str | None = None, account: str | None = None, settings: Settings | None = None) -> bool:
    """Go on with purchases that `stop_buying` has stopped. Parts that wait wake at once.

    Args:
        tag: a tag of runs. None: the account of the settings; without a token, the only one of the store.
        account: the id of an account, as `list_budgets` shows ids. After a change of the token, it names the old one.
        settings: settings of this call. None takes those of the framework or of the environment.

    Returns:
        Whether purchases were stopped before.

    Raises:
        ValueError: the tag is wrong; nothing was written.
        ConfigurationError: the settings have no token, and the store does not tell which account is meant.
        StoreUnavailableError: Redis did not answer, or refused.
    """
    return _switch_buying(tag, account, settings, is_stopped=False)


def list_budgets(*, settings: Settings | None = None) -> list[Budget]:
    """Return all limits of the store with their use in the present day and month (UTC), and the stops.

    Args:
        settings: settings of this call. None takes those of the framework or of the environment.

    Raises:
        StoreUnavailableError: Redis did not answer, or refused.
    """
    return [read_budget(row) for row in AppContext.for_app(settings=settings).store.run(ReadBudgets())]


def pair_stops(found: Iterable[Budget]) -> list[tuple[Budget, bool]]:
    """Return each limit with whether its purchases are stopped. A stop without a limit is an entry of its own."""
    found = list(found)
    stopped = {(one.account, one.tag) for one in found if one.is_stopped}
    limited = {(one.account, one.tag) for one in found if not one.is_stopped}
    return [
        (one, (one.account, one.tag) in stopped)
        for one in found
        if not one.is_stopped or (one.account, one.tag) not in limited
    ]


def read_budget(row: BudgetRow) -> Budget:
    """Return a row of the store as a budget."""
    use = row.use
    kind, _, name = use.scope.partition(":")
    return Budget(
        account=name if kind == "account" else None,
        tag=name if kind == "tag" else None,
        period=None if use.period == STOPPED else BudgetPeriod(use.period),
        limit=None if use.period == STOPPED else to_credits(use.limit_mc),
        spent=to_credits(use.spent_mc),
        reserved=to_credits(use.reserved_mc),
        assumed=to_credits(row.assumed_mc),
    )


def _switch_buying(tag: str | None, account: str | None, settings: Settings | None, *, is_stopped: bool) -> bool:
    context = AppContext.for_app(settings=settings)
    scope = find_scope(context, tag, account)
    return _run_change(context, StopBuying(scope, is_stopped=is_stopped), is_removal=not is_stopped)


def _run_change(context: AppContext, command: SetBudget | StopBuying, *, is_removal: bool) -> bool:
    # Who makes errors of warnings must have changed nothing. The removal of an old limit needs no warning.
    if not is_removal:
        _warn_of_strange_account(context, command.scope)
    changed = context.store.run(command)
    if is_removal and not changed:
        _warn_of_strange_account(context, command.scope)
    return changed


def _warn_of_strange_account(context: AppContext, scope: str) -> None:
    """Warn if the store knows accounts, and not this one. A new store knows none."""
    kind, _, account = scope.partition(":")
    known = context.store.run(ReadAccounts()) if kind == "account" else []
    if known and account not in known:
        text = (
            f"no purchase of this store has the account {account}; the accounts of the store are "
            f"{', '.join(sorted(known))}. To name one of them, write account:<id>, or set SCRAPE_DO_API_KEY or "
            "SCRAPE_DO_ACCOUNT of its workers. Without SCRAPE_DO_ACCOUNT, a changed token is another account"
        )
        warnings.warn(text, SettingsWarning, stacklevel=caller_level())


def find_scope(context: AppContext, tag: str | None = None, account: str | None = None) -> str:
    """Return the scope of a tag or of an account in the store; without both, that of the account of the settings.

    Raises:
        ValueError: the tag or the account is wrong, or both are given.
        ConfigurationError: the settings have no token, and the store does not tell which account is meant.
    """
    if tag is not None and account is not None:
        raise ValueError("tag and account must not be given together: a budget is that of one of them")
    if tag is not None:
        return tag_scope(check_tag(tag))
    if account is not None:
        return account_scope(check_account(account))
    # A web process needs no token. Its own fingerprint would name an account that buys nothing.
    found = find_account(context)
    if not found:
        raise ConfigurationError(
            "SCRAPE_DO_API_KEY is not set, and the store does not have exactly one account: set it, or "
            "SCRAPE_DO_ACCOUNT, or name the account as account:<id>, because a budget belongs to an account"
        )
    return account_scope(found)


def _check_period(period: str) -> BudgetPeriod:
    if period not in set(BudgetPeriod):
        raise ValueError("period must be 'day' or 'month'")
    return BudgetPeriod(period)
