"""The commands `scrape-do budgets`: list, set and remove limits, stop and resume purchases."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.money_shapes import BudgetChangeShape, BudgetsShape
from scrape_do_celery.cli.output import NONE, print_table, printable
from scrape_do_celery.config.budget_limits import BudgetPeriod, BudgetScope, read_scope
from scrape_do_celery.figures import format_figure
from scrape_do_celery.runs import AppContext, list_budgets, resume_buying, set_budget, stop_buying
from scrape_do_celery.runs.budgets import find_scope, pair_stops

if TYPE_CHECKING:
    from scrape_do_celery.runs import Budget

_HEADER = ("budget", "limit", "spent", "reserved", "assumed", "left", "overrun", "stopped")


def _check_scope(_: click.Context, param: click.Parameter, value: str) -> BudgetScope:
    try:
        found = read_scope(value)
    except ValueError as error:
        raise click.BadParameter(f"{printable(value)!r}: {error}", param=param) from None
    return found


_scope = click.argument("scope", callback=_check_scope)
_period = click.argument("period", type=click.Choice([one.value for one in BudgetPeriod]))


@click.group("budgets")
def manage_budgets() -> None:
    """List, set and remove limits of credits, and stop all purchases.

    SCOPE is `account`, or `tag:` with a tag of runs, such as `tag:shop:7`. PERIOD is `day` or `month`, in UTC.

    `account` is that of SCRAPE_DO_ACCOUNT, else of the token in SCRAPE_DO_API_KEY, else the only one of the store.
    `account:` with an id is another one, such as that of an old token; `list` shows ids.
    """


@manage_budgets.command("list")
@json_option(BudgetsShape)
def print_budgets(as_json: bool) -> None:
    """Print all limits with their use in the present day and month, and the stops. Amounts are in credits.

    `assumed` is the part of `spent` that the API did not report: costs of lost answers, and of jobs in doubt. `overrun`
    is the part of `spent` above the limit: pages may cost more than was reserved for them.
    """
    found = pair_stops(list_budgets())
    if as_json:
        print_json({"budgets": [_budget_json(*one) for one in found]})
    elif found:
        print_table(_HEADER, [_budget_row(*one) for one in found], left=1)
    else:
        click.echo("no budgets: nothing limits the credits of the account or of a tag")


# A negative number is an argument, and not an option that does not exist.
@manage_budgets.command("set", context_settings={"ignore_unknown_options": True})
@_scope
@_period
@click.argument("credits", type=float)
@json_option(BudgetChangeShape)
def set_limit(
    scope: BudgetScope,
    period: Any,
    credits: float,  # noqa: A002 (the name of the argument)
    as_json: bool,
) -> None:
    """Set the limit of SCOPE for each PERIOD to CREDITS. Purchases that are under way count."""
    if credits <= 0:
        name = _name_scope(scope)
        raise click.UsageError(
            f"CREDITS must be more than 0. To remove the limit: scrape-do budgets remove {name} {period}. To buy "
            f"nothing: scrape-do budgets stop {name}"
        )
    changed = set_budget(credits, period, **scope._asdict())
    name = _name_scope(scope)
    text = f"the limit of {name} for a {period} is {format_figure(credits)} credits{'' if changed else ', as before'}"
    _print_change(name, text, as_json=as_json, period=period, limit=credits, changed=changed)


@manage_budgets.command("remove")
@_scope
@_period
@json_option(BudgetChangeShape)
def remove_limit(scope: BudgetScope, period: Any, as_json: bool) -> None:
    """Remove the limit of SCOPE for each PERIOD. If SCRAPE_DO_BUDGETS has it, the next worker sets it again."""
    changed = set_budget(None, period, **scope._asdict())
    name = _name_scope(scope)
    text = f"{name} has no limit for a {period}{' any more' if changed else ', and had none'}"
    _print_change(name, text, as_json=as_json, period=period, changed=changed)


@manage_budgets.command("stop")
@_scope
@json_option(BudgetChangeShape)
def stop_scope(scope: BudgetScope, as_json: bool) -> None:
    """Buy nothing more for SCOPE until `resume`. Jobs that were bought go on, and parts that were not bought wait."""
    changed = stop_buying(**scope._asdict())
    name = _name_scope(scope)
    text = f"purchases of {name} are stopped{'' if changed else ', as before'}"
    _print_change(name, text, as_json=as_json, stopped=True, changed=changed)


@manage_budgets.command("resume")
@_scope
@json_option(BudgetChangeShape)
def resume_scope(scope: BudgetScope, as_json: bool) -> None:
    """Go on with the purchases of SCOPE. Parts that wait wake at once."""
    changed = resume_buying(**scope._asdict())
    name = _name_scope(scope)
    text = f"purchases of {name} go on{'' if changed else ', as before'}"
    _print_change(name, text, as_json=as_json, stopped=False, changed=changed)


def _print_change(scope: str, text: str, *, as_json: bool, **change: Any) -> None:
    """Print a change of the scope with this name: as JSON, or as the text."""
    if as_json:
        print_json({"scope": scope, "period": None, "limit": None, "stopped": None, **change})
    else:
        click.echo(text)


def _name_scope(scope: BudgetScope) -> str:
    # The id shows which account a token means.
    return find_scope(AppContext.for_app(), *scope)


def _budget_row(one: Budget, is_stopped: bool) -> tuple[str, ...]:
    # One store may serve several accounts.
    own = one.account in {None, AppContext.for_app().settings.account_id}
    scope = one.scope if own else f"account:{one.account}"
    amounts = (one.limit, one.spent, one.reserved, one.assumed, one.left, one.overrun)
    cells = (format_figure(amount) if amount is not None and one.period else NONE for amount in amounts)
    return (f"{scope} {one.period}" if one.period else scope, *cells, "yes" if is_stopped else "no")


def _budget_json(one: Budget, is_stopped: bool) -> dict[str, Any]:
    return {**asdict(one), "left": one.left, "overrun": one.overrun, "stopped": is_stopped}
