"""Sessions of trials that share servers and workers. After each round all trials are judged and forgotten."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.checker import Checker
from tests.faults.generator import TrialGenerator
from tests.faults.harness import DEFAULT_POOLS, TRIAL_TIMEOUT, Harness
from tests.faults.report import FULL_RUN_TRIALS, KILLS_PER_POINT, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.faults.trials import Trial

#: Trials per round, and the extra rounds that may be played before the session gives up. Each run has a tag of its own,
#: and a day counts at most `MAX_SPEND_TAGS` tags without a limit.
ROUND_TRIALS, _SPARE_ROUNDS = 400, 4
#: A run of at least this many trials owes kills at every point. Points that lack kills get at most this many extra
#: rounds.
_LONG_RUN_TRIALS, _EXTRA_ROUNDS = 2_000, 40
#: Seconds of recovery after which somebody should read the history.
_SLOW_SECONDS = 12.0
#: With more trials in flight, the deaths of others can delay a run for long, so it gets the longer timeout (seconds).
_MANY_IN_FLIGHT, _LONG_TIMEOUT = 30, 300.0
#: Worker pools with few or many workers, the trials in flight and the share of a long run. Two workers can bear few
#: trials: each kill takes half of all work, and many kills at a time would keep a run from ever being carried out.
_POOL_VARIANTS = (("threads:4",) * 2, 6, 0.01), (("threads:2",) * 10, 25, 0.01)
_POISON_SHARE, _POWER_CUT_SHARE = 0.004, 0.02
#: Runs at work at a power cut.
_POWER_CUT_TRIALS = 60
#: If each batch has its own process, a poisoned run kills only its own batch.
_ISOLATED_POOLS = ("prefork:3", "prefork:3")


@dataclass
class Session:
    """The task of one harness, and its findings."""

    seed: int | str
    window: int = 25
    keep: Path | None = None
    pools: tuple[str, ...] = DEFAULT_POOLS
    mutant: str = ""
    only: list[str] | None = None
    #: how far deliveries of webhooks are trusted; without webhooks if empty
    webhooks: str = ""
    log: Callable[[str], None] = lambda _: None
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        self._generator = TrialGenerator(self.seed, self.only, self.webhooks)
        self.report.webhooks = self.webhooks

    def run_all(self, wanted: int) -> None:
        """Play `wanted` trials: most with the usual worker pool, the others with pools that show special faults."""
        poison, cuts = (0, 0) if self.only else (int(wanted * _POISON_SHARE), int(wanted * _POWER_CUT_SHARE))
        if poison:
            self.run_trials(poison, kind="poison", pools=_ISOLATED_POOLS, window=3, poison_after=4)
        if cuts:
            self.run_power_cuts(cuts)
        rest = wanted - poison - cuts
        for pools, window, share in _POOL_VARIANTS:
            if count := int(wanted * share):
                self.run_trials(count, pools=pools, window=window, restarts=True)
                rest -= count
        self.run_trials(
            rest,
            restarts=True,
            min_kills=KILLS_PER_POINT * wanted // FULL_RUN_TRIALS if wanted >= _LONG_RUN_TRIALS else 0,
        )

    def resume(self, figures: dict[str, Any]) -> None:
        """Load the figures of a run of this seed, and play the kills that it still owes."""
        self.report.merge(figures)
        self._generator.resume(self.report.trials, self.report.kills)
        self.run_trials(0, restarts=True, min_kills=KILLS_PER_POINT)

    def run_trials(
        self,
        wanted: int,
        *,
        kind: str = "",
        restarts: bool = False,
        pools: tuple[str, ...] = (),
        window: int = 0,
        min_kills: int = 0,
        **settings: Any,
    ) -> None:
        """Play until `wanted` trials have counted, and each point has had `min_kills` kills."""
        counted = 0
        with self.harness(pools, **settings) as harness:
            for _ in range(_SPARE_ROUNDS + 2 * wanted // ROUND_TRIALS):
                missing = wanted - counted
                if missing <= 0:
                    break
                trials = self._generator.generate(min(ROUND_TRIALS, missing + missing // 10 + 1), kind)
                counted += self.run_round(harness, trials, restarts=restarts, window=window)
            for _ in range(_EXTRA_ROUNDS):
                if not self.report.points_below(min_kills):
                    break
                self.run_round(
                    harness, self._generator.generate(ROUND_TRIALS // 2, "kill"), restarts=restarts, window=window
                )

    def run_power_cuts(self, wanted: int) -> None:
        """Play power cuts: in each round the store loses its last two seconds."""
        counted = 0
        with self.harness(fsync="everysec") as harness:
            for _ in range(_SPARE_ROUNDS + wanted):
                if counted >= wanted:
                    break
                harness.nemesis.schedule_power_cut()
                counted += self.run_round(
                    harness, self._generator.generate(_POWER_CUT_TRIALS, "cut"), window=_POWER_CUT_TRIALS
                )

    @contextmanager
    def harness(self, pools: tuple[str, ...] = (), **options: Any) -> Iterator[Harness]:
        """Provide a lab, and remove it completely afterwards."""
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
            pools = pools or self.pools
            options["timeout"] = _LONG_TIMEOUT if self.window > _MANY_IN_FLIGHT else TRIAL_TIMEOUT
            more = {"seed": self.seed, "mutant": self.mutant, "webhooks": self.webhooks}
            with Harness(Path(folder), pools=pools, **more, **options) as harness:
                yield harness
                self.report.worker_starts += harness.worker_pool.worker_starts

    def run_round(self, harness: Harness, trials: Iterable[Trial], *, restarts: bool = False, window: int = 0) -> int:
        """Play and judge one round. Return the number of trials that counted."""
        began = time.monotonic()
        if restarts:
            harness.nemesis.set_api_conditions()
        played = harness.run_trials(trials, window=window or self.window, restarts=restarts)
        failed = Checker(harness, played).check()
        counted = sum(trial.counted for trial in played)
        took = time.monotonic() - began
        self.report.add_trials(played)
        self.report.add_counters(harness, took)
        self._generator.set_kills(self.report.kills)
        few = len(self.report.points_below(KILLS_PER_POINT))
        self.log(
            f"lab {self.seed}: {counted} of {len(played)} counted in {took:.0f} s, {len(failed)} failed;"
            f" {self.report.counted} in all, {few} points with fewer than {KILLS_PER_POINT} kills"
        )
        if failed:
            self._save_failed(harness, failed)
        for trial in played:
            if trial.in_doubt:
                self.log(f"IN DOUBT {trial.describe()['trial']}: {trial.in_doubt}")
        if self.keep and (slow := [trial for trial in played if trial.recovery_seconds > _SLOW_SECONDS]):
            self._write_history(harness, slow, f"slow-{self.seed}-{slow[0].number}.txt")
        harness.clear()
        return counted

    def _save_failed(self, harness: Harness, failed: list[Trial]) -> None:
        for trial in failed:
            self.log(f"FAILED {trial.describe()['trial']}: {'; '.join(trial.problems)}")
        if self.keep:
            folder = f"{self.seed}-{failed[0].number}"
            shutil.copytree(harness.folder / "workers", self.keep / folder, dirs_exist_ok=True)
            self._write_history(harness, failed, f"{folder}/history.txt")

    def _write_history(self, harness: Harness, trials: list[Trial], name: str) -> None:
        self.keep.mkdir(parents=True, exist_ok=True)
        (self.keep / name).write_text("\n".join(_history(harness, trial) for trial in trials))


def _history(harness: Harness, trial: Trial) -> str:
    told = trial.describe()
    return "\n".join([told["trial"], *told["problems"], *told["history"], *harness.history(trial), ""])
