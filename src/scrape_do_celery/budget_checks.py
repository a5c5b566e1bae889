"""The limits of the setting `budgets`: a starting worker sets them, and checks compare them with the store's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scrape_do_celery.config.budget_limits import parse_limits
from scrape_do_celery.findings import WARNING, Finding
from scrape_do_celery.log_fields import get_logger, log_fields
from scrape_do_celery.rules.budgets import STOPPED, account_scope, name_scope, show_credits, show_scope, tag_scope
from scrape_do_celery.store.commands.budgets import ReadBudgets, SetBudget

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from scrape_do_celery.config import Settings
    from scrape_do_celery.config.budget_limits import BudgetScope
    from scrape_do_celery.store import Store

log = get_logger(__name__)


def set_missing_budgets(store: Store, settings: Settings) -> None:
    """Set the limits of the setting that the store lacks. A limit that the store has stays: a command has set it."""
    for (scope, period), limit_mc in _list_wanted(settings).items():
        if store.run(SetBudget(scope, period, limit_mc, keeps_old=True)):
            log.info(
                "the limit of %s for a %s is %s credits from now on: SCRAPE_DO_BUDGETS has it, and the store had none",
                show_scope(scope),
                period,
                show_credits(limit_mc),
                extra=log_fields("budget_set"),
            )


def check_budgets(store: Store, settings: Settings) -> Iterator[Finding]:
    """Find stops, limits that do not bind the account of these settings, and limits that the setting has otherwise.

    Raises:
        RedisError: the store did not answer.
    """
    kept = {(row.use.scope, row.use.period): row.use.limit_mc for row in store.run(ReadBudgets())}
    yield from _find_stops(kept)
    yield from _find_limits_of_others(kept, settings)
    yield from _find_differences(kept, settings)


def _find_stops(kept: Iterable[tuple[str, str]]) -> Iterator[Finding]:
    for scope, period in kept:
        if period == STOPPED:
            yield Finding(
                WARNING, f"purchases of {show_scope(scope)} are stopped; to go on: scrape-do budgets resume {scope}"
            )


def _find_limits_of_others(kept: Iterable[tuple[str, str]], settings: Settings) -> Iterator[Finding]:
    """Find what binds another account, and not that of the settings: its token may have been replaced."""
    own = _find_own_scope(settings)
    for scope, period in kept:
        if own is None or scope.startswith("tag:") or (own, period) in kept:
            continue
        what, remedy = (
            ("a stop", f"`scrape-do budgets stop account`, then `scrape-do budgets resume {scope}`")
            if period == STOPPED
            else (
                f"a limit for a {period}",
                f"`scrape-do budgets set account {period} CREDITS`, then `scrape-do budgets remove {scope} {period}`",
            )
        )
        yield Finding(
            WARNING,
            f"the store has {what} for {show_scope(scope)}, and none for {show_scope(own)}, which is that of these "
            f"settings. Without SCRAPE_DO_ACCOUNT, a changed token is another account. If no worker serves the other "
            f"one, run {remedy}",
        )


def _find_differences(kept: Mapping[tuple[str, str], int], settings: Settings) -> Iterator[Finding]:
    for (scope, period), limit_mc in _list_wanted(settings).items():
        said = f"SCRAPE_DO_BUDGETS limits {show_scope(scope)} to {show_credits(limit_mc)} credits for a {period}"
        found = kept.get((scope, period))
        if found is None:
            yield Finding(WARNING, f"{said}, and the store has no such limit: the next worker that starts sets it")
        elif found != limit_mc:
            yield Finding(
                WARNING,
                f"{said}, and the store has {show_credits(found)}, which counts: run `scrape-do budgets set "
                f"{name_scope(scope)} {period} {show_credits(limit_mc).replace(',', '')}`, or correct the setting",
            )


def _list_wanted(settings: Settings) -> dict[tuple[str, str], int]:
    own = _find_own_scope(settings)
    found = {(_find_scope(one.scope, own), one.period.value): one.limit_mc for one in parse_limits(settings.budgets)}
    return {(scope, period): limit_mc for (scope, period), limit_mc in found.items() if scope is not None}


def _find_own_scope(settings: Settings) -> str | None:
    # Without a token, a process does not know the account: a web process may have the settings of its workers.
    return account_scope(settings.known_account) if settings.known_account else None


def _find_scope(scope: BudgetScope, own: str | None) -> str | None:
    if scope.tag is not None:
        return tag_scope(scope.tag)
    return own if scope.account is None else account_scope(scope.account)
