"""Sessions: trials that share servers and workers, in rounds; after each round all is judged and forgotten."""

from __future__ import annotations

import shutil
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.faults.deck import Deck
from tests.faults.lab import DEFAULT_SHAPE, PATIENCE, Lab
from tests.faults.report import FULL, KILLS_A_POINT, Report
from tests.faults.verdict import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from tests.faults.trials import Trial

#: Trials a round, and how many more rounds than are needed may be played before it is given up.
ROUND, _SPARE = 1_000, 4
#: A run of so many trials owes kills at every point, and plays so many rounds more for points that lack them.
_LONG, _MORE = 2_000, 40
#: Seconds of healing after which somebody should read what took so long.
_SLOW = 12.0
#: Trials in flight from which on a run may be hit by the deaths of others for long, and what it is then given.
_CROWD, _LONG_PATIENCE = 30, 300.0
#: Fleets that show something of their own, the trials in flight and the share of a long run. Two workers can bear few:
#: each kill takes half of all work, and many at a time keep a run from ever being carried out.
_FLEETS = (("threads:4",) * 2, 6, 0.01), (("threads:2",) * 10, 25, 0.01)
_POISON, _CUTS = 0.004, 0.02
#: Runs at work at a power cut.
_CUT_ROUND = 60
#: A poisoned run takes only its own batch with it where each batch has a process.
_APART = ("prefork:3", "prefork:3")


@dataclass
class Session:
    """What one lab is to do, and what it has found."""

    seed: int | str
    window: int = 25
    keep: Path | None = None
    shape: tuple[str, ...] = DEFAULT_SHAPE
    without: str = ""
    only: list[str] | None = None
    say: Callable[[str], None] = lambda _: None
    report: Report = field(default_factory=Report)

    def __post_init__(self) -> None:
        self._deck = Deck(self.seed, self.only)

    def play_all(self, wanted: int) -> None:
        """So many trials: most with the usual fleet, the others with such as show something of their own."""
        poison, cuts = (0, 0) if self.only else (int(wanted * _POISON), int(wanted * _CUTS))
        if poison:
            self.play(poison, kind="poison", shape=_APART, window=3, poison_after=4)
        if cuts:
            self.cuts(cuts)
        rest = wanted - poison - cuts
        for shape, window, share in _FLEETS:
            if count := int(wanted * share):
                self.play(count, shape=shape, window=window, weather=True)
                rest -= count
        self.play(rest, weather=True, owed=KILLS_A_POINT * wanted // FULL if wanted >= _LONG else 0)

    def go_on(self, figures: dict[str, Any]) -> None:
        """Adds to the figures of a run of this seed the kills that it still owes."""
        self.report.join(figures)
        self._deck.go_on(self.report.trials, self.report.kills)
        self.play(0, weather=True, owed=KILLS_A_POINT)

    def play(
        self,
        wanted: int,
        *,
        kind: str = "",
        weather: bool = False,
        shape: tuple[str, ...] = (),
        window: int = 0,
        owed: int = 0,
        **settings: Any,
    ) -> None:
        """Plays until so many trials have counted, and so many kills have happened at each point."""
        counted = 0
        with self.lab(shape, **settings) as lab:
            for _ in range(_SPARE + 2 * wanted // ROUND):
                missing = wanted - counted
                if missing <= 0:
                    break
                trials = self._deck.deal(min(ROUND, missing + missing // 10 + 1), kind)
                counted += self.round(lab, trials, weather=weather, window=window)
            for _ in range(_MORE):
                if not self.report.below(owed):
                    break
                self.round(lab, self._deck.deal(ROUND // 2, "kill"), weather=weather, window=window)

    def cuts(self, wanted: int) -> None:
        """Power cuts: in each round the store loses its last two seconds."""
        counted = 0
        with self.lab(fsync="everysec") as lab:
            for _ in range(_SPARE + wanted):
                if counted >= wanted:
                    break
                lab.world.expect_power_cut()
                counted += self.round(lab, self._deck.deal(_CUT_ROUND, "cut"), window=_CUT_ROUND)

    @contextmanager
    def lab(self, shape: tuple[str, ...] = (), **options: Any) -> Iterator[Lab]:
        """A lab, for as long as it is needed; nothing is left of it."""
        with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as folder:
            shape = shape or self.shape
            options["patience"] = _LONG_PATIENCE if self.window > _CROWD else PATIENCE
            with Lab(Path(folder), shape=shape, seed=self.seed, without=self.without, **options) as lab:
                yield lab
                self.report.boots += lab.fleet.boots

    def round(self, lab: Lab, trials: Iterable[Trial], *, weather: bool = False, window: int = 0) -> int:
        """Plays and judges one round; how many of it counted."""
        began = time.monotonic()
        if weather:
            lab.world.change_climate()
        played = lab.play(trials, window=window or self.window, weather=weather)
        failed = Verdict(lab, played).judge()
        counted = sum(trial.counted for trial in played)
        took = time.monotonic() - began
        self.report.take(played)
        self.report.take_lab(lab, took)
        self._deck.learn(self.report.kills)
        few = len(self.report.below(KILLS_A_POINT))
        self.say(
            f"lab {self.seed}: {counted} of {len(played)} counted in {took:.0f} s, {len(failed)} failed;"
            f" {self.report.counted} in all, {few} points with fewer than {KILLS_A_POINT} kills"
        )
        if failed:
            self._keep(lab, failed)
        for trial in played:
            if trial.in_doubt:
                self.say(f"IN DOUBT {trial.told()['trial']}: {trial.in_doubt}")
        if self.keep and (slow := [trial for trial in played if trial.healing > _SLOW]):
            self._write(lab, slow, f"slow-{self.seed}-{slow[0].number}.txt")
        lab.clear()
        return counted

    def _keep(self, lab: Lab, failed: list[Trial]) -> None:
        for trial in failed:
            self.say(f"FAILED {trial.told()['trial']}: {'; '.join(trial.problems)}")
        if self.keep:
            home = f"{self.seed}-{failed[0].number}"
            shutil.copytree(lab.folder / "workers", self.keep / home, dirs_exist_ok=True)
            self._write(lab, failed, f"{home}/story.txt")

    def _write(self, lab: Lab, trials: list[Trial], name: str) -> None:
        self.keep.mkdir(parents=True, exist_ok=True)
        (self.keep / name).write_text("\n".join(_story(lab, trial) for trial in trials))


def _story(lab: Lab, trial: Trial) -> str:
    told = trial.told()
    return "\n".join([told["trial"], *told["problems"], *told["story"], *lab.story(trial), ""])
