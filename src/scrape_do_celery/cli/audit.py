"""The command `scrape-do audit`: purchases beside what tasks reported and what the account's balance shows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click
from redis.exceptions import RedisError

from scrape_do_celery.cli.exit_codes import ExitCode
from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.ledger import PurchaseSums, has_cost, read_purchases
from scrape_do_celery.cli.money_shapes import AuditShape
from scrape_do_celery.cli.output import NONE, format_moment, print_facts, print_table
from scrape_do_celery.config.budget_limits import check_tag
from scrape_do_celery.figures import format_figure
from scrape_do_celery.rules.balances import BalanceCheck, check_balance
from scrape_do_celery.runs import AppContext
from scrape_do_celery.runs.spend import KEPT_DAYS, SpendRow, csv_lines, list_days, name_day, read_spend_rows
from scrape_do_celery.store.commands.prices import NoteAccountFigures, ReadBalance
from scrape_do_celery.store.commands.stats import ReadAccounts, ReadStats
from scrape_do_celery.store.retention import HOUR, SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from scrape_do_celery.store.commands.purchases import Purchase

_SHOWN_DAYS = 7
_HEADER = ("day", "tag", "purchases", "targets", "estimated", "reported", "assumed", "in_doubt")


@dataclass(frozen=True, slots=True)
class AuditRow:
    """The purchases of a day, of all runs or of the runs with a tag. Amounts are in credits."""

    day: str
    tag: str | None
    purchases: int
    targets: int
    estimated: float
    reported: float
    assumed: float
    in_doubt: int


@click.command("audit")
@click.option(
    "--days",
    type=click.IntRange(1, KEPT_DAYS),
    default=_SHOWN_DAYS,
    show_default=True,
    help="Show this number of days, including today (UTC).",
)
@click.option("--tag", help="Show only the runs with this tag.")
@json_option(AuditShape)
@click.option("--csv", "as_csv", is_flag=True, help="Print the costs of each account, tag, host and day as CSV.")
@click.pass_context
def audit_spend(ctx: click.Context, days: int, tag: str | None, as_json: bool, as_csv: bool) -> None:
    """Print what was bought, day by day and by tag, beside the costs that tasks reported. Amounts are in credits.

    The day is that of the purchase. A run with several tags counts in the line of each. `estimated` is the price that
    was reserved before the purchase. `reported` is the cost that the API reported for the pages of ended purchases.
    `assumed` counts as spent for budgets, and the API did not report it. `in_doubt` is the number of purchases without
    a known job.

    With the token, the command asks the API for the credits that are left, which costs nothing. It compares the
    reported costs with the decrease since the first reading: workers and `scrape-do metrics` keep one for each hour.
    The exit code is 1 if more was reported than the balance fell. The reverse is normal: other programs use credits
    too. If the balance rose in between, as after a top-up, the two are shown and not judged.
    """
    if as_json and as_csv:
        raise click.UsageError("give --json or --csv, not both")
    if tag is not None:
        check_tag(tag)
    store = AppContext.for_app().store
    period = list_days(store, days)
    spend = read_spend_rows(store, period)
    if as_csv:
        for line in csv_lines(row for row in spend if tag is None or (row.by, row.name) == ("tag", tag)):
            click.echo(line, nl=False)
        return
    purchases = read_purchases(store, days)
    rows = list(_make_rows(purchases, spend, tag))
    balance = _compare_balance(purchases, period)
    if as_json:
        shown = {**asdict(balance), "excess": balance.excess} if isinstance(balance, BalanceCheck) else None
        why = balance if isinstance(balance, str) else None
        print_json({"rows": [asdict(row) for row in rows], "balance": shown, "not_compared": why})
    else:
        _print_audit(rows, balance, days)
    if isinstance(balance, BalanceCheck) and balance.excess:
        ctx.exit(ExitCode.FAILURE)


def _make_rows(purchases: Sequence[Purchase], spend: Iterable[SpendRow], tag: str | None) -> Iterator[AuditRow]:
    """Yield for each day the line of all purchases, and a line for each tag; only that of `tag` if it is given."""
    assumed: dict[tuple[str, str | None], float] = defaultdict(float)
    for row in spend:
        if row.by != "host":
            assumed[row.day, row.name if row.by == "tag" else None] += row.assumed
    groups: dict[tuple[str, str | None], list[Purchase]] = defaultdict(list)
    for one in purchases:
        for group in (None, *one.tags):
            if tag in {None, group}:
                groups[name_day(int(one.at // SECONDS_PER_DAY)), group].append(one)
    for (day, group), found in sorted(groups.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        sums = PurchaseSums.from_purchases(found)
        estimated = sum(one.estimated_credits for one in found)
        figures = (sums.purchases, sums.targets, estimated, sums.credits, assumed[day, group], sums.unresolved)
        yield AuditRow(day, group, *figures)


def _compare_balance(purchases: Sequence[Purchase], period: range) -> BalanceCheck | str:
    """Compare the reported costs with the balance of the account; return the reason if that is not possible."""
    # Import late: the reader loads an HTTP library.
    from scrape_do_celery.metrics.account import AccountReader

    app_context = AppContext.for_app()
    store, settings = app_context.store, app_context.settings
    if settings.api_key is None:
        return "SCRAPE_DO_API_KEY is not set"
    accounts = store.run(ReadAccounts())
    if others := [one for one in accounts if one != settings.account_id]:
        return f"the store has purchases of {len(others)} other account(s)"
    stats = store.run(ReadStats(settings.account_id, ()))
    status = AccountReader(settings).read_status(max(0.0, (stats.paused_until or 0.0) - stats.now))
    if status.user is None:
        return f"the API did not tell the credits that are left ({status.outcome})"
    # A purchase in the hour of a reading may have been paid before the reading, so the hour does not count.
    stored = [(float(hour + 1) * HOUR, left) for hour, left in store.run(ReadBalance(settings.account_id))]
    readings = [one for one in stored if period.start * SECONDS_PER_DAY < one[0] <= stats.now]
    readings.append((stats.now, float(status.user.available_credits)))
    try:
        store.run(NoteAccountFigures.of(settings.account_id, status.user, stats.now))
    except RedisError as error:
        click.echo(f"the reading of the balance is not kept: {error}", err=True)
    costs = [(one.at, one.credits) for one in purchases if has_cost(one)]
    return (
        check_balance(readings, costs) or "the first reading of the balance is less than an hour old; try again later"
    )


def _print_audit(rows: Sequence[AuditRow], balance: BalanceCheck | str, days: int) -> None:
    if rows:
        print_table(_HEADER, [_row_cells(row) for row in rows])
        click.echo()
    else:
        click.echo(f"no purchase in {days} day(s)")
    if isinstance(balance, str):
        click.echo(f"the balance was not compared: {balance}")
        return
    moments = (format_moment(datetime.fromtimestamp(at, UTC)) for at in (balance.since, balance.until))
    print_facts(
        [
            ("balance", " to ".join(moments)),
            ("reported", f"{format_figure(balance.reported)} credits, for purchases that were made in this time"),
            ("decrease", f"{format_figure(balance.decrease)} credits, by all programs that use the account"),
            ("increase", f"{format_figure(balance.rise)} credits: top-ups, or a new month" if balance.rise else NONE),
        ]
    )
    if balance.excess:
        click.echo(
            f"warning: tasks reported {format_figure(balance.excess)} credits more than the balance fell: compare the "
            "hosts of `scrape-do audit --csv` with the usage that Scrape.do's dashboard shows"
        )


def _row_cells(row: AuditRow) -> tuple[str, ...]:
    amounts = (row.estimated, row.reported, row.assumed)
    return (
        *(row.day, row.tag or NONE, format_figure(row.purchases), format_figure(row.targets)),
        *(*map(format_figure, amounts), format_figure(row.in_doubt)),
    )
