"""The audit of a soak: each reservation by the append-only file, and all sums by the market's own log."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, BinaryIO

from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.store import PartId
from scrape_do_celery.store.commands.budgets import ReadSpend
from tests.budgets.buyers import ACCOUNT
from tests.budgets.market import Market, PlannedRun

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from scrape_do_celery.store.client import Store

#: Scope, period and kind -> amount, in thousandths of a credit.
Sums = dict[tuple[str, str, str], int]


def scopes_of(run_id: str) -> list[str]:
    """Return the scopes of the budgets that a run falls under."""
    return [account_scope(ACCOUNT), *map(tag_scope, PlannedRun.of(run_id).tags)]


def periods_of(moment: float) -> tuple[str, str]:
    """Return the names of the day and of the month of a moment."""
    day = f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"
    return day, day[:7]


class WriteLog:
    """The append-only files of a store from the first one on, with each file before a rewrite."""

    def __init__(self, store: Path, history: Path) -> None:
        self._folder, self._history = store / "appendonlydir", history
        self._played: Counter[str] = Counter()
        history.mkdir(parents=True, exist_ok=True)

    def keep(self) -> None:
        """Keep files that the server has begun. Call this often: a rewrite deletes the file before."""
        for path in self._folder.glob("*.incr.aof"):
            with suppress(FileExistsError, FileNotFoundError):
                os.link(path, self._history / path.name)

    def play(self, replay: Replay) -> None:
        """Replay what was written since the last call."""
        self.keep()
        for path in sorted(self._history.iterdir(), key=lambda path: int(path.name.split(".")[-3])):
            self._played[path.name] = replay.play(path, self._played[path.name])


@dataclass
class Replay:
    """The history of all amounts, as the server has written it to disk: the changes of each script in their order."""

    prefix: str
    amounts: Counter[tuple[str, str]] = field(default_factory=Counter)
    limits: dict[str, int] = field(default_factory=dict)
    caps: dict[str, int] = field(default_factory=dict)
    reservations: int = 0
    #: Reservations above a limit for a job that may exist: the store has lost its last writes.
    forced: int = 0
    problems: list[str] = field(default_factory=list)
    #: the least room that a reservation has left, by the scope and the kind of its period
    tightest: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._over: list[str] = []
        self._is_forced = False

    def play(self, path: Path, begin: int = 0) -> int:
        """Replay an append-only file from this position on. Return the position of the end."""
        with path.open("rb") as file:
            file.seek(begin)
            for end, (name, *arguments) in _read_commands(file):
                begin = end
                match name.upper():
                    case b"EXEC":
                        self._end_script()
                    case b"FLUSHDB" | b"FLUSHALL":
                        self.amounts.clear()
                        self.limits.clear()
                    case b"HSET" | b"HSETNX" | b"HMSET":
                        self._set(arguments[0].decode(), arguments[1:])
                    case b"HDEL" if arguments[0].decode() == f"{self.prefix}:budgets":
                        for one in arguments[1:]:
                            self.limits.pop(one.decode(), None)
                    case b"HINCRBY":
                        key, what, amount = (one.decode() for one in arguments)
                        self._add(key, what, int(amount))
        return begin

    def _end_script(self) -> None:
        """Judge a reservation when all writes of its script are known."""
        if self._is_forced:
            self.forced += len(self._over)
        else:
            self.problems += self._over
        self._over, self._is_forced = [], False

    def _set(self, key: str, pairs: list[bytes]) -> None:
        for what, value in zip(pairs[::2], pairs[1::2], strict=True):
            if key == f"{self.prefix}:budgets":
                self.limits[what.decode()] = int(value)
            elif key.startswith(f"{self.prefix}:run:") and what == b"max_mc":
                self.caps[key] = int(value)
            elif what == b"intent_lost":
                self._is_forced = True

    def _add(self, key: str, what: str, amount: int) -> None:
        self.amounts[key, what] += amount
        if key.startswith(f"{self.prefix}:spend:") and what.endswith(" reserved"):
            scope, period = what.removesuffix(" reserved"), key.rpartition(":")[2]
            kind = "day" if len(period) > len("2026-11") else "month"
            if amount > 0:
                self.reservations += kind == "day" and scope.startswith("account:")
                self._check(key, f"{scope} ", f"{scope} {kind}", self.limits.get(f"{scope} {kind}"))
                if f"{scope} stop" in self.limits:
                    self._over.append(f"{scope}: reserved {amount} while purchases were stopped")
        elif what == "reserved_mc" and amount > 0:
            self._check(key, "", "max_credits of a run", self.caps.get(key), "_mc")
        if what.endswith(("reserved", "reserved_mc")) and self.amounts[key, what] < 0:
            self._over.append(f"{key} {what} is {self.amounts[key, what]}")

    def _check(self, key: str, start: str, name: str, limit: int | None, end: str = "") -> None:
        if limit is None:
            return
        spent, reserved = (self.amounts[key, f"{start}{kind}{end}"] for kind in ("spent", "reserved"))
        room = limit - spent - reserved
        self.tightest[name] = min(room, self.tightest.get(name, room))
        if room < 0:
            self._over.append(f"{name} of {key}: {spent} spent and {reserved} reserved, the limit is {limit}")


def check_end(store: Store, market: Market, run_ids: Iterable[str]) -> tuple[list[str], Counter[str]]:
    """Check that nothing is left reserved, that no part waits, and that all sums are those of the market's log."""
    problems, facts, right = [], Counter[str](), _sums_of(market)
    for period in {period for _, period, _ in right}:
        for scope, amounts in store.run(ReadSpend(period)).items():
            for kind in ("spent", "assumed", "reserved"):
                found, wanted = amounts.get(kind, 0), right.pop((scope, period, kind), 0)
                facts[f"{kind} of {scope} in {period}"] = found
                if found != wanted:
                    problems.append(f"{scope} {period}: {found} is {kind}, by the market's log {wanted}")
    problems += [f"{key} is missing: {wanted}" for key, wanted in right.items() if wanted]
    problems += [f"left over: {key.decode()}" for key in store.client.scan_iter(store.keys.budget_waiters("*"))]
    by_run: Counter[str] = Counter()
    for sale in market.sales():
        by_run[PartId.parse(sale.part_id).run_id] += sale.charge()[0]
    for run_id in run_ids:
        problems += _check_run(store, run_id, by_run[run_id], facts)
    return problems, facts


def _sums_of(market: Market) -> Sums:
    sums: Sums = defaultdict(int)
    for sale in market.sales():
        charge, assumed = sale.charge()
        for scope in scopes_of(PartId.parse(sale.part_id).run_id):
            for period in periods_of(sale.intent):
                sums[scope, period, "spent"] += charge
                sums[scope, period, "assumed"] += assumed
    return dict(sums)


def _check_run(store: Store, run_id: str, wanted: int, facts: Counter[str]) -> Iterator[str]:
    planned = PlannedRun.of(run_id)
    if planned.max_credits is not None:
        spent, reserved = (
            int(one or 0) for one in store.client.hmget(store.keys.run(run_id), "spent_mc", "reserved_mc")
        )
        if (spent, reserved) != (wanted, 0):
            yield f"run {run_id}: {spent} is spent and {reserved} reserved, by the market's log {wanted}"
    for part in range(len(planned.prices)):
        fields = store.client.hgetall(store.keys.part(PartId(run_id, part)))
        facts[f"parts that ended as {fields.get(b'outcome', b'nothing').decode()}"] += 1
        facts[f"purchases that ended as {fields.get(b'purchase_status', b'none').decode()}"] += 1
        if fields.get(b"state") != b"done" or fields.keys() & {b"budget", b"price"}:
            yield f"part {run_id}:{part} is left over: {fields}"


def _read_commands(file: BinaryIO) -> Iterator[tuple[int, list[bytes]]]:
    """Return each command that is written in full, with the position of its end."""
    while (line := file.readline()).endswith(b"\n"):
        if line.startswith(b"*"):
            texts = [_read_text(file) for _ in range(int(line[1:]))]
            if None in texts:
                return
            yield file.tell(), texts  # type: ignore[misc]


def _read_text(file: BinaryIO) -> bytes | None:
    header = file.readline()
    if not header.endswith(b"\n"):
        return None
    text = file.read(int(header[1:]) + 2)
    return text[:-2] if text.endswith(b"\r\n") else None
