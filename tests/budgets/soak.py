"""The soak: start the processes and the store, kill both at random, raise limits when nothing else can go on."""

from __future__ import annotations

import itertools
import multiprocessing
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from redis.exceptions import RedisError

from scrape_do_celery import embedded
from scrape_do_celery.config.budget_limits import MC_PER_CREDIT
from scrape_do_celery.errors import StoreUnavailableError
from scrape_do_celery.models import JobCreationRequest
from scrape_do_celery.rules.budgets import account_scope, tag_scope
from scrape_do_celery.store import CANCEL, RunSpec, options
from scrape_do_celery.store.commands import dispatch, parts
from scrape_do_celery.store.commands.budgets import SetBudget, StopBuying
from scrape_do_celery.store.commands.creation import CreateRun
from scrape_do_celery.store.commands.runs import RequestStop
from tests.budgets.audit import Replay, WriteLog, check_end, periods_of
from tests.budgets.buyers import ACCOUNT, PREFIX, buy_for_ever, open_store
from tests.budgets.market import PRICES, TAGS, TARGETS, Market, PlannedRun

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess
    from pathlib import Path


#: Runs that are live at a time at most; seconds between two restarts of the store, and between two kills of a process.
_BACKLOG, _RESTART_PAUSE, _KILL_PAUSE = 500, (5.0, 40.0), (0.05, 0.6)
#: Seconds between two looks at all budgets, and seconds without any change after which the soak is stuck.
_LOOK_PAUSE, _STUCK_AFTER = 0.2, 60.0
#: A raise of a limit makes room for this many parts of the highest price.
_RAISE = (5, 60)
#: The chance for each look that a run is canceled, or that purchases of a tag are stopped for some looks.
_CANCEL, _STOP, _STOP_LOOKS = 0.3, 0.03, 10
_LIMITS = [
    (account_scope(ACCOUNT), "day"),
    (account_scope(ACCOUNT), "month"),
    *((tag_scope(tag), "day") for tag in TAGS),
]

#: Facts without which a soak has tried nothing.
_PROVEN = (
    "restarts of the store",
    "killed processes",
    f"looks at which parts waited for {account_scope(ACCOUNT)}",
    "purchases that ended as adopted",
    "purchases that ended as in_doubt",
)


def shorten_times() -> None:
    """Let lost work be found soon, and let a run of few targets have several parts."""
    for module in (dispatch, parts):
        module.REDISPATCH_MIN = 0.8  # type: ignore[attr-defined]
    dispatch.REDISPATCH_MAX = 2.0
    options.MAX_TARGETS_PER_JOB = TARGETS


@dataclass
class Soak:
    """A soak of `processes` buyers, until `reservations` are made."""

    folder: Path
    processes: int = 50
    reservations: int = 10_000
    seed: str = "1"
    facts: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = random.Random(f"soak {self.seed}")
        self._live: set[str] = set()
        self._planned: PlannedRun | None = None
        self._all: list[str] = []
        self._buyers: list[BaseProcess] = []
        self._names = (f"run-{self.seed}-{number}" for number in itertools.count())
        self._stopped: Counter[str] = Counter()
        self._last: Any = None
        self._next_look = 0.0

    def run(self) -> None:
        """Play the soak, and judge it."""
        shorten_times()
        began = time.monotonic()
        (self.folder / "sales").mkdir(parents=True)
        (self.folder / "reservations").touch()
        with embedded.ensure(self.folder / "store", tie_to_parent=True, appendfsync="always") as self._server:
            self._store = open_store(self._server.url)
            self._log = WriteLog(self.folder / "store", self.folder / "history")
            self._prepare()
            try:
                self._play()
            finally:
                for buyer in self._buyers:
                    buyer.kill()
                    buyer.join()
            if not self.problems:
                self._judge()
            self._store.close()
        self.facts["seconds"] = round(time.monotonic() - began)

    def _prepare(self) -> None:
        for scope, period in _LIMITS:
            self._store.run(SetBudget(scope, period, self._make_room(), keeps_old=True))

    def _make_room(self) -> int:
        return round(self._rng.uniform(*_RAISE) * max(PRICES) * MC_PER_CREDIT)

    def _play(self) -> None:
        restart_at, kill_at, self._changed_at = self._later(_RESTART_PAUSE), self._later(_KILL_PAUSE), time.monotonic()
        while not self._is_done() and not self.problems:
            self._start_buyers()
            self._log.keep()
            now = time.monotonic()
            if now > kill_at:
                self._kill_buyer()
                kill_at = self._later(_KILL_PAUSE)
            if now > restart_at:
                self._server.kill()
                self._server.restart()
                self.facts["restarts of the store"] += 1
                restart_at = self._later(_RESTART_PAUSE)
            with suppress(StoreUnavailableError, RedisError):
                self._create_runs()
                if now > self._next_look:
                    self._look()
                    self._next_look = time.monotonic() + _LOOK_PAUSE
            time.sleep(0.01)

    def _later(self, pause: tuple[float, float]) -> float:
        return time.monotonic() + self._rng.uniform(*pause)

    def _is_done(self) -> bool:
        return self._has_enough() and not self._live and not self._planned

    def _has_enough(self) -> bool:
        return (self.folder / "reservations").stat().st_size >= self.reservations

    def _start_buyers(self) -> None:
        for buyer in [buyer for buyer in self._buyers if not buyer.is_alive()]:
            self._buyers.remove(buyer)
            self.facts["killed processes"] += 1
            buyer.join()
        while len(self._buyers) < self.processes:
            seed = f"{self.seed} {self.facts['started processes']}"
            buyer = multiprocessing.get_context("fork").Process(
                target=buy_for_ever, args=(self._server.url, self.folder, seed), daemon=True
            )
            buyer.start()
            self._buyers.append(buyer)
            self.facts["started processes"] += 1

    def _kill_buyer(self) -> None:
        self._rng.choice(self._buyers).kill()

    def _create_runs(self) -> None:
        for _ in range(20):
            if (not self._planned and self._has_enough()) or len(self._live) >= min(_BACKLOG, self.reservations // 4):
                return
            # If the store is killed meanwhile, the same run is created again: its id keeps it from being two.
            self._planned = self._planned or PlannedRun.of(next(self._names))
            self._store.run(_create(self._planned))
            self._all.append(self._planned.run_id)
            self._live.add(self._planned.run_id)
            self._planned = None

    def _look(self) -> None:
        """Read all sums at one moment, raise limits that nothing else can free, and forget runs that have ended."""
        day, month = periods_of(float(self._store.client.time()[0]))
        with self._store.client.pipeline(transaction=True) as pipe:
            for key in (self._store.keys.budgets, self._store.keys.spend(day), self._store.keys.spend(month)):
                pipe.hgetall(key)
            for scope, _ in _LIMITS:
                pipe.zrange(self._store.keys.budget_waiters(scope), 0, 0)
                pipe.zcard(self._store.keys.budget_waiters(scope))
            limits, *spend, heads = [*(replies := pipe.execute())[:3], replies[3:]]
        by_period = dict(zip(("day", "month"), spend, strict=True))
        lines = dict(zip((scope for scope, _ in _LIMITS), zip(heads[::2], heads[1::2], strict=True), strict=False))
        self.facts["looks"] += 1
        for scope, period in _LIMITS:
            limit = int(limits[f"{scope} {period}".encode()])
            spent, reserved = (
                int(by_period[period].get(f"{scope} {kind}".encode(), 0)) for kind in ("spent", "reserved")
            )
            if not 0 <= reserved <= limit:
                self.problems.append(f"{scope} {period}: {reserved} is reserved, the limit is {limit}")
            is_waited_for = bool(lines[scope][1])
            self.facts[f"looks at which parts waited for {scope}"] += is_waited_for
            self.facts[f"looks at which {scope} {period} was overrun"] += spent > limit
            if is_waited_for and not reserved and f"{scope} stop".encode() not in limits:
                self._store.run(SetBudget(scope, period, max(spent, limit) + self._make_room()))
                self.facts["raised limits"] += 1
        self._disturb()
        self._forget_ended()
        self._note_progress(spend)

    def _disturb(self) -> None:
        if self._live and self._rng.random() < _CANCEL:
            self._store.run(RequestStop(self._rng.choice(sorted(self._live)), CANCEL))
            self.facts["canceled runs"] += 1
        for tag in TAGS:
            scope, before = tag_scope(tag), self._stopped[tag]
            if before == 1:
                self._store.run(StopBuying(scope, is_stopped=False))
            elif not before and self._rng.random() < _STOP:
                self._store.run(StopBuying(scope, is_stopped=True))
                self._stopped[tag] = _STOP_LOOKS + 1
                self.facts["stops of a tag"] += 1
            self._stopped[tag] = max(0, self._stopped[tag] - 1)

    def _forget_ended(self) -> None:
        live, keys = list(self._live), self._store.keys
        with self._store.client.pipeline(transaction=False) as pipe:
            for run_id in live:
                pipe.hget(keys.run(run_id), "left")
            ended = [run_id for run_id, left in zip(live, pipe.execute(), strict=True) if left == b"0"]
        if ended:
            # No step of this soak reports the outcome of a run.
            self._store.client.zrem(keys.due, *(f"{run_id}:run" for run_id in ended))
        for run_id in ended:
            self._live.remove(run_id)

    def _note_progress(self, spend: list[dict[bytes, bytes]]) -> None:
        if (state := (spend, len(self._live))) != self._last:
            self._last, self._changed_at = state, time.monotonic()
        elif time.monotonic() - self._changed_at > _STUCK_AFTER:
            self.problems.append(
                f"stuck for {_STUCK_AFTER:.0f} s: {len(self._live)} runs, such as {min(self._live)}; {spend}"
            )

    def _judge(self) -> None:
        replay = Replay(PREFIX)
        self._log.play(replay)
        self.facts["reservations"] = replay.reservations
        self.facts["reservations above a limit for a job that may exist"] = replay.forced
        for name, room in replay.tightest.items():
            self.facts[f"least room after a reservation, {name}"] = room
        found, facts = check_end(self._store, Market(self.folder / "sales"), self._all)
        self.problems += replay.problems + found
        self.facts.update(facts)
        self.problems += [f"unproven: no {name}" for name in _PROVEN if not self.facts[name]]
        if replay.reservations < self.reservations:
            self.problems.append(f"only {replay.reservations} reservations")


def _create(planned: PlannedRun) -> CreateRun:
    targets = [f"https://{planned.run_id}.example/{n}" for n in range(len(planned.prices) * TARGETS)]
    spec = RunSpec(JobCreationRequest(targets=targets), max_credits=planned.max_credits, tags=planned.tags)
    return CreateRun(planned.run_id, spec)
