"""The harness: its servers and workers, and the trials in flight."""

from __future__ import annotations

import heapq
import os
import random
import signal
import time
from collections import Counter, defaultdict
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Self

from redis.exceptions import RedisError

from tests.faults.budgets import BudgetKeeper
from tests.faults.entry_points import start_trial
from tests.faults.fault_plan import ANY, FaultPlan
from tests.faults.nemesis import Nemesis
from tests.faults.servers import Servers
from tests.faults.trials import UNKNOWN_RUN
from tests.faults.webhook_points import list_points
from tests.faults.webhooks import add_webhooks
from tests.faults.worker_pool import WorkerPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from tests.faults.trials import Trial

#: Seconds that a trial may take if few others die beside it, and seconds between two checks of all trials in flight.
TRIAL_TIMEOUT, CHECK_INTERVAL = 90.0, 0.08
#: Seconds that the lab waits for late events after the last end.
_QUIET_SECONDS = 0.7
#: Seconds without a record after which a message counts as lost by the broker. Its sender would send it again.
_MESSAGE_TIMEOUT = 15.0
DEFAULT_POOLS = ("threads:4", "threads:4", "threads:4", "prefork:3", "prefork:3")

#: Steps without a part, so that their death costs no purchase and no page, and points that forged deliveries lead to.
#: They are reached so rarely that a trial could wait for them for ever.
_RARE = (
    *("report_orphans", "read_account", "claim_account_reading", "claim_budget_check", "read_budgets"),
    *("poll_job_list: before set_breaker", "poll_job_list: after set_breaker"),
    # A note that nobody has proven, and that names another job.
    *("reconcile_submit: before drop_deliveries", "reconcile_submit: after drop_deliveries"),
    # A delivered page that differs, and that could not be compared while its job ran.
    *("fetch_tasks: before distrust_webhooks", "fetch_tasks: after distrust_webhooks"),
    *("cancel_run: before distrust_webhooks", "cancel_run: after distrust_webhooks"),
)


class Harness:
    """A player of trials against real workers, with a window of trials in flight."""

    def __init__(
        self,
        folder: Path,
        *,
        pools: Iterable[str] = DEFAULT_POOLS,
        seed: int = 0,
        fsync: str = "always",
        mutant: str = "",
        webhooks: str = "",
        timeout: float = TRIAL_TIMEOUT,
        **settings: Any,
    ) -> None:
        self.folder, self.fault_plan = folder, FaultPlan(folder)
        self.servers = Servers(folder, fsync=fsync, webhooks=webhooks, mutant=mutant, **settings)
        self._pools, self._timeout = tuple(pools), timeout
        self.rng = random.Random(f"world {seed}")
        self.in_flight: dict[int, Trial] = {}
        self.freezes: list[tuple[int, float, float]] = []
        self.send_checks: list[tuple[str, int, float]] = []
        #: Points that each run reached: time, point and process.
        self.traces: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
        self.events: Counter[str] = Counter()
        self.kills: Counter[str] = Counter()
        self._timeline: list[tuple[float, int, Callable[[], None]]] = []
        self._ticket = count()
        self._counted: Counter[str] = Counter()
        self.last_start = 0.0
        self._checked_at = 0.0

    def __enter__(self) -> Self:
        self.servers.__enter__()
        try:
            environment = self.servers.environment(self.folder)
            self.worker_pool = WorkerPool(self.folder / "workers", environment, self._pools)
            self.worker_pool.start()
        except BaseException:
            self.__exit__()
            raise
        self.nemesis, self.budget_keeper = Nemesis(self), BudgetKeeper(self)
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "worker_pool"):
            self.worker_pool.stop()
        self.servers.__exit__()

    def call_later(self, seconds: float, action: Callable[[], None]) -> None:
        """Call `action` later from the lab's own thread."""
        heapq.heappush(self._timeline, (time.monotonic() + seconds, next(self._ticket), action))

    def run_trials(self, trials: Iterable[Trial], *, window: int = 120, restarts: bool = False) -> list[Trial]:
        """Play all trials to their end, `window` at a time. With `restarts` the store restarts at random times."""
        waiting, played = iter(trials), []
        self.budget_keeper.start_round()
        if restarts:
            self.nemesis.start_restarts()
        more = True
        while more or self.in_flight:
            while more and len(self.in_flight) < window and not self.nemesis.frozen:
                more = self._start_next(waiting, played)
                if len(self.in_flight) % 10 == 0:
                    self._process_events()
            self._process_events()
            self.nemesis.restart_if_due()
            time.sleep(0.005)
        self.nemesis.stop_restarts()
        self._drain()
        return played

    def _start_next(self, waiting: Iterator[Trial], played: list[Trial]) -> bool:
        trial = next(waiting, None)
        if trial is None:
            return False
        trial.began = time.time()
        played.append(trial)
        self.in_flight[trial.number] = trial
        rules = trial.url_rules() + (add_webhooks(trial, self.servers.webhooks) if self.servers.webhooks else [])
        if rules:
            self.servers.sandbox._ask("POST", "faults", rules)
        if trial.rules:
            trial.rule_ids = self.servers.sandbox._ask("POST", "faults", trial.rules)["ids"]
        for (run, point), actions in trial.faults_by_point().items():
            put = partial(self._add_plan, trial, run, point, actions)
            if after := actions[0]["after"]:
                self.call_later(after, put)
            else:
                put()
        for seconds, what in trial.nemesis_actions:
            self.call_later(seconds, lambda what=what: self.nemesis.apply(what, trial))
        self._start(trial)
        return True

    def _add_plan(self, trial: Trial, run: int | None, point: str, actions: list[dict[str, Any]]) -> None:
        if trial.number in self.in_flight:
            self.fault_plan.add(ANY if run is None else trial.runs[run].run_id, point, actions)

    def _start(self, trial: Trial) -> None:
        try:
            self.budget_keeper.prepare(trial)
            start_trial(self.servers, trial)
            # Not before: the next power cut must keep this run, and the start may take long.
            self.last_start = time.monotonic()
        except RedisError:
            # The store accepts nothing now: a caller would try again.
            self.call_later(0.3, lambda: self._start(trial))

    def unknown_points(self) -> set[str]:
        """Return points that workers reached and that the catalogue lacks."""
        reached = self.fault_plan.reached_points() - set(list_points(self.servers.webhooks))
        return {point for point in reached if not any(step in point for step in _RARE)}

    def start_again(self, trial: Trial) -> None:
        """Start a trial again if its first message may have been lost before any record was written."""
        self._start(trial)

    def history(self, trial: Trial) -> list[str]:
        """Return all points that the runs of a trial reached."""
        return [
            f"{at - trial.began:+8.3f} {point} (pid {pid})"
            for run in trial.runs
            for at, point, pid in self.traces.get(run.run_id, ())
        ]

    def _process_events(self) -> None:
        """Do one turn: read the workers' notes, carry out due actions, find ended runs."""
        self.worker_pool.restart_ended()
        if self.servers.receivers:
            self.servers.receivers.disturb_if_due()
            self.nemesis.trust_webhooks_if_due()
        for note in self.fault_plan.read_notes():
            self._on_note(note)
        while self._timeline and self._timeline[0][0] <= time.monotonic():
            heapq.heappop(self._timeline)[2]()
        if time.monotonic() - self._checked_at > CHECK_INTERVAL:
            self._check_ended()
            self._checked_at = time.monotonic()
        self.budget_keeper.look_if_due()

    def _on_note(self, note: dict[str, Any]) -> None:
        if "send_check" in note:
            self.send_checks.append((note["send_check"], note["pid"], note["at"]))
        elif "trace" in note:
            for run in note["runs"]:
                self.traces[run].append((note["at"], note["trace"], note["pid"]))
        elif "hit" in note:
            self._on_hit(note)

    def _on_hit(self, note: dict[str, Any]) -> None:
        if trial := self.in_flight.get(note["trial"]):
            trial.hits.append(note)
        kind = note["kind"]
        if kind.startswith("kill"):
            self.kills[note["hit"]] += 1
        self.events[kind if kind != "nemesis" else note["what"]] += 1
        if kind == "stop":
            self.call_later(note["seconds"], lambda: self._resume_process(note["pid"], note["at"]))
        elif kind == "nemesis":
            self.nemesis.apply(note["what"], trial)
            self.fault_plan.mark_done(note["ticket"])

    def _resume_process(self, pid: int, stopped: float) -> None:
        self.freezes.append((pid, stopped, time.time()))
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _check_ended(self) -> None:
        """Ask the store which runs have ended and were delivered."""
        in_flight = list(self.in_flight.values())
        keys = self.servers.app_context.store.keys
        try:
            with self.servers.app_context.store.client.pipeline(transaction=False) as pipe:
                for trial in in_flight:
                    for run in trial.runs:
                        pipe.hmget(keys.run(run.run_id), "outcome", "waiting")
                answers = iter(pipe.execute())
        except RedisError:
            return
        now = time.time()
        for trial in in_flight:
            found = [next(answers) for _ in trial.runs]
            if self._has_ended(trial, found):
                trial.ended = trial.ended or now
                if now - trial.ended < trial.linger:
                    continue
            elif trial.by_message and found[0][1] is None and now - trial.began > _MESSAGE_TIMEOUT:
                self.nemesis.check_lost_message(trial)
                continue
            elif now - trial.began > self._timeout:
                trial.ended = now
                trial.problems.append(f"no end within {self._timeout:.0f} s: {found}")
            else:
                continue
            self._finish_trial(trial)

    def _has_ended(self, trial: Trial, found: list[list[bytes | None]]) -> bool:
        if trial.start != UNKNOWN_RUN:
            return all(outcome and int(waiting or 0) <= 0 for outcome, waiting in found)
        with suppress(RedisError, OSError):
            return self.servers.app_context.app.AsyncResult(trial.runs[0].run_id).ready()
        return False

    def _finish_trial(self, trial: Trial) -> None:
        del self.in_flight[trial.number]
        for run in trial.runs:
            self.fault_plan.remove(run.run_id)
        for plan in trial.planned_faults:
            if plan.run is None:
                self.fault_plan.remove(ANY, plan.point)

    def _drain(self) -> None:
        """Resume frozen processes, and wait for late events."""
        deadline = time.monotonic() + _QUIET_SECONDS
        while self._timeline or time.monotonic() < deadline:
            self._process_events()
            time.sleep(0.01)
        self.fault_plan.remove(ANY)
        counts = self.servers.count_webhooks()
        self.events.update(counts - self._counted)
        # The sandbox forgets its counts after each round.
        self._counted = Counter({name: times for name, times in counts.items() if not name.startswith("webhooks")})

    def clear(self) -> None:
        """Forget a round that was judged."""
        self.traces.clear()
        self.freezes.clear()
        self.send_checks.clear()
        self.budget_keeper.clear()
        self.servers.sandbox.reset()
        with suppress(RedisError):
            self.servers.app_context.store.client.flushdb()
        for slot in self.worker_pool.slots:
            with suppress(FileNotFoundError):
                os.truncate(self.worker_pool.log(slot), 0)
