"""Read what each day has cost, by account, tag and host, as rows and as a file for spreadsheets."""

from __future__ import annotations

from dataclasses import astuple, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, Literal

from scrape_do_celery.outside_text import csv_line
from scrape_do_celery.rules.budgets import to_credits
from scrape_do_celery.store.commands.budgets import ReadHostSpend, ReadSpend
from scrape_do_celery.store.commands.stats import ReadClock
from scrape_do_celery.store.retention import LEDGER_TTL, SECONDS_PER_DAY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from scrape_do_celery.store import Store

#: Days for which the store keeps the costs of hosts, and the ledger.
KEPT_DAYS: Final = LEDGER_TTL // SECONDS_PER_DAY


@dataclass(frozen=True, slots=True)
class SpendRow:
    """The cost of the purchases of a day (UTC), in credits.

    `spent` of an account and of a tag has `assumed`, which the API did not report. Hosts have reported costs only.
    """

    day: str
    by: Literal["account", "tag", "host"]
    name: str
    spent: float
    reserved: float
    assumed: float


def name_day(day: int) -> str:
    """Return the name of a day since the epoch: `2026-11-29`."""
    return f"{datetime.fromtimestamp(day * SECONDS_PER_DAY, UTC):%Y-%m-%d}"


def list_days(store: Store, count: int) -> range:
    """Return the last days since the epoch, by the store's clock. Today is the last one."""
    today = int(store.run(ReadClock()) // SECONDS_PER_DAY)
    return range(today - count + 1, today + 1)


def read_spend_rows(store: Store, days: Iterable[int]) -> Iterator[SpendRow]:
    """Yield the costs of days since the epoch: by account, by host and by tag, the highest first in each.

    One day is read at a time: a day may have thousands of rows.
    """
    for day in days:
        name = name_day(day)
        rows = [*_scope_rows(name, store.run(ReadSpend(name))), *_host_rows(name, store.run(ReadHostSpend(day)))]
        yield from sorted(rows, key=lambda row: (row.by, -row.spent, row.name))


def csv_lines(rows: Iterable[SpendRow]) -> Iterator[str]:
    """Yield rows as the lines of a file for spreadsheets."""
    yield csv_line(field.name for field in fields(SpendRow))
    # A tag may come from a customer.
    yield from (csv_line(astuple(row)) for row in rows)


def _scope_rows(day: str, scopes: dict[str, dict[str, int]]) -> Iterator[SpendRow]:
    for scope, amounts in scopes.items():
        kind, _, name = scope.partition(":")
        if any(amounts.values()):
            spent, reserved, assumed = (to_credits(amounts.get(of, 0)) for of in ("spent", "reserved", "assumed"))
            yield SpendRow(day, "tag" if kind == "tag" else "account", name, spent, reserved, assumed)


def _host_rows(day: str, hosts: dict[str, int]) -> Iterator[SpendRow]:
    for host, amount in hosts.items():
        yield SpendRow(day, "host", host, to_credits(amount), 0.0, 0.0)
