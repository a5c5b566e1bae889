"""The command `scrape-do ledger`: all purchases, also those in doubt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from scrape_do_celery.cli.json_output import json_option, print_json
from scrape_do_celery.cli.money_shapes import LedgerShape
from scrape_do_celery.cli.output import NONE, format_moment, print_facts, print_table, printable
from scrape_do_celery.figures import format_figure
from scrape_do_celery.runs import AppContext
from scrape_do_celery.runs.results import store_text
from scrape_do_celery.runs.spend import KEPT_DAYS, list_days
from scrape_do_celery.store.commands.purchases import UNRESOLVED, PurchaseStatus, ReadLedgerDay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store import Store
    from scrape_do_celery.store.commands.purchases import Purchase

_SHOWN_DAYS = 7
_HEADER = (
    *("time", "run", "label", "hosts", "job", "status", "outcome"),
    *("part", "sequence", "targets", "credits", "estimated_credits"),
)
_FOUND = frozenset({PurchaseStatus.CONFIRMED, PurchaseStatus.ADOPTED})


@click.command("ledger")
@click.argument("run_id", required=False)
@click.option(
    "--days",
    type=click.IntRange(1, KEPT_DAYS),
    help=f"Show this number of days, including today (UTC). Default: {_SHOWN_DAYS}; with RUN_ID, all {KEPT_DAYS} "
    "stored days.",
)
@click.option("--unresolved", is_flag=True, help="Show only purchases without a known job.")
@json_option(LedgerShape)
def print_ledger(run_id: str | None, days: int | None, unresolved: bool, as_json: bool) -> None:
    """Print the purchases of all runs or of one run in order of time, and their sums.

    `status` is open (under way, or in doubt), confirmed (the API answered), adopted (the answer was lost, the job was
    found), not_found (no job was found) or in_doubt (the search was not conclusive). `credits` is the cost that the API
    reported for the fetched pages, known after the outcome. `estimated_credits` is the estimate before the purchase.
    """
    days = days or (KEPT_DAYS if run_id else _SHOWN_DAYS)
    store = AppContext.for_app().store
    found = [
        purchase
        for purchase in read_purchases(store, days)
        if run_id in {None, purchase.part_id.run_id} and (is_unresolved(purchase) or not unresolved)
    ]
    if as_json:
        print_json(
            {
                "purchases": [_purchase_json(one) for one in found],
                "sums": _sums_json(PurchaseSums.from_purchases(found)),
            }
        )
    elif found:
        print_table(_HEADER, [_purchase_row(one) for one in found], left=7)
        click.echo()
        print_facts(_sum_facts(PurchaseSums.from_purchases(found)))
    else:
        whose, where = (f" of run {printable(run_id)}", f" {store_text(store)}") if run_id else ("", "")
        click.echo(f"no {'unresolved ' if unresolved else ''}purchase{whose} in {_period_text(days)}{where}")


def read_purchases(store: Store, days: int) -> list[Purchase]:
    """Return the purchases of the last `days` days, the oldest first. Today, by the store's clock, counts as a day."""
    found = [one for day in list_days(store, days) for one in store.run(ReadLedgerDay(day))]
    return sorted(found, key=lambda one: (one.at, one.part_id, one.sequence))


def is_unresolved(purchase: Purchase) -> bool:
    """Return whether the purchase may have a job that the store does not know."""
    return purchase.status is PurchaseStatus.OPEN or purchase.status in UNRESOLVED


def has_cost(purchase: Purchase) -> bool:
    """Return whether the cost of the purchase is known: its job was found, and has an outcome."""
    return purchase.status in _FOUND and purchase.outcome is not None


@dataclass(frozen=True, slots=True)
class PurchaseSums:
    """The sums of purchases. `credits` and `estimated_credits` cover the `known` purchases: those with a known cost."""

    purchases: int
    unresolved: int
    targets: int
    known: int
    credits: float
    estimated_credits: float

    @classmethod
    def from_purchases(cls, found: Sequence[Purchase]) -> PurchaseSums:
        """Add the purchases up."""
        known = [one for one in found if has_cost(one)]
        return cls(
            purchases=len(found),
            unresolved=sum(map(is_unresolved, found)),
            targets=sum(one.targets for one in found),
            known=len(known),
            credits=sum(one.credits for one in known),
            estimated_credits=sum(one.estimated_credits for one in known),
        )


def _sum_facts(sums: PurchaseSums) -> list[tuple[str, str]]:
    reported, estimated = format_figure(sums.credits), format_figure(sums.estimated_credits)
    return [
        ("purchases", f"{sums.purchases:,}, of which {sums.unresolved:,} unresolved"),
        ("targets", format_figure(sums.targets)),
        ("credits", f"{reported} reported, {estimated} estimated, for {sums.known:,} ended purchase(s)"),
    ]


def _sums_json(sums: PurchaseSums) -> dict[str, Any]:
    return {name: getattr(sums, name) for name in PurchaseSums.__slots__}


def _purchase_row(one: Purchase) -> tuple[str, ...]:
    return (
        *(_purchase_time(one), printable(one.part_id.run_id), printable(one.label or NONE)),
        *(printable(one.hosts or NONE), printable(one.job_id or NONE), one.status.value),
        *(one.outcome or NONE, str(one.part_id.part), str(one.sequence), format_figure(one.targets)),
        *(format_figure(one.credits) if has_cost(one) else NONE, format_figure(one.estimated_credits)),
    )


def _purchase_json(one: Purchase) -> dict[str, Any]:
    return {
        "time": _purchase_time(one),
        "run_id": one.part_id.run_id,
        "label": one.label,
        "hosts": one.hosts,
        "part": one.part_id.part,
        "sequence": one.sequence,
        "targets": one.targets,
        "job_id": one.job_id,
        "status": one.status.value,
        "outcome": one.outcome,
        "credits": one.credits if has_cost(one) else None,
        "estimated_credits": one.estimated_credits,
    }


def _purchase_time(one: Purchase) -> str:
    return format_moment(datetime.fromtimestamp(one.at, UTC))


def _period_text(days: int) -> str:
    return "the last day" if days == 1 else f"the last {days} days"
