"""Commands for budgets: set and read their limits, and check a new run against them."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from scrape_do_celery.rules.budgets import BUDGET_CHECK_INTERVAL, BudgetUse
from scrape_do_celery.store.command import Command, Encoded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scrape_do_celery.store.keys import Keys


@dataclass(frozen=True, slots=True)
class SetBudget(Command[bool]):
    """Set the limit of a scope for a day or a month, or remove the limit if `limit_mc` is None.

    Parts that fit into the new limit are woken. With `keeps_old`, a limit that the store has stays. The result is
    whether the limit has changed.
    """

    scope: str
    period: str
    limit_mc: int | None
    _: KW_ONLY
    keeps_old: bool = False
    script = "set_budget"

    def encode(self, keys: Keys) -> Encoded:
        limit = "" if self.limit_mc is None else self.limit_mc
        return Encoded(
            (keys.prefix, self.scope, self.period, limit, "1" if self.keeps_old else ""), [keys.budgets, keys.due]
        )

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class StopBuying(Command[bool]):
    """Stop or resume all purchases of a scope. The result is whether this has changed anything."""

    scope: str
    is_stopped: bool
    script = "set_budget"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((keys.prefix, self.scope, "stop", "1" if self.is_stopped else "", ""), [keys.budgets, keys.due])

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


@dataclass(frozen=True, slots=True)
class BudgetRow:
    """A limit of the store with its use in the present period. The limit of a stop is 1.

    `assumed_mc` is the part of the spent amount that the API did not report. `is_news` tells that the budget has passed
    its warning threshold since the last command that asked for warnings.
    """

    use: BudgetUse
    assumed_mc: int
    is_news: bool


@dataclass(frozen=True, slots=True)
class ReadBudgets(Command[list[BudgetRow]]):
    """Read the limits of all budgets, sorted, with their use. With `warns`, each warning is told once."""

    warns: bool = False
    script = "read_budgets"

    def encode(self, keys: Keys) -> Encoded:
        return Encoded((keys.prefix, "1" if self.warns else ""), [keys.budgets])

    def decode(self, keys: Keys, reply: Any) -> list[BudgetRow]:
        return sorted((_parse_row(one) for one in reply), key=lambda row: (row.use.scope, row.use.period))


@dataclass(frozen=True, slots=True)
class ClaimBudgetCheck(Command[bool]):
    """Claim the next look for budgets to warn of. One worker gets the claim in each `BUDGET_CHECK_INTERVAL`."""

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("SET", keys.budget_check, 1, "EX", BUDGET_CHECK_INTERVAL, "NX"))

    def decode(self, keys: Keys, reply: Any) -> bool:
        return bool(reply)


def _parse_row(reply: Sequence[bytes]) -> BudgetRow:
    scope, period, *amounts, is_news = (one.decode() for one in reply)
    limit, spent, reserved, assumed = map(int, amounts)
    return BudgetRow(BudgetUse(scope, period, limit, spent, reserved), assumed, is_news == "1")


@dataclass(frozen=True, slots=True)
class ReadLimits(Command[dict[tuple[str, str], int]]):
    """Read the limits of scopes for a day and a month, by scope and period, in the order of the scopes."""

    scopes: Sequence[str]

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HMGET", keys.budgets, *(f"{scope} {period}" for scope, period in self._pairs())))

    def decode(self, keys: Keys, reply: Any) -> dict[tuple[str, str], int]:
        return {pair: int(limit) for pair, limit in zip(self._pairs(), reply, strict=True) if limit is not None}

    def _pairs(self) -> list[tuple[str, str]]:
        return [(scope, period) for scope in self.scopes for period in ("day", "month")]


@dataclass(frozen=True, slots=True)
class ReadSpend(Command[dict[str, dict[str, int]]]):
    """Read what a day (`2026-11-29`) or a month (`2026-11`) has cost, by scope: `spent`, `reserved` and `assumed`.

    Amounts are thousandths of a credit.
    """

    period: str

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HGETALL", keys.spend(self.period)))

    def decode(self, keys: Keys, reply: Any) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for field, value in reply.items():
            scope, _, kind = field.decode().rpartition(" ")
            if scope and kind in {"spent", "reserved", "assumed"}:
                found.setdefault(scope, {})[kind] = int(value)
        return found


@dataclass(frozen=True, slots=True)
class ReadHostSpend(Command[dict[str, int]]):
    """Read what the API reported for the purchases of a day since the epoch, by host or plugin, in thousandths."""

    day: int

    def encode(self, keys: Keys) -> Encoded:
        return Encoded(("HGETALL", keys.host_spend(self.day)))

    def decode(self, keys: Keys, reply: Any) -> dict[str, int]:
        return {host.decode(): int(amount) for host, amount in reply.items()}
