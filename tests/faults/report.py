"""The results of a long run, as a table."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from scrape_do_sandbox.url_writers import WRITERS
from tests.faults.generator import KILLS_PER_POINT
from tests.faults.webhook_points import list_points

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.faults.harness import Harness
    from tests.faults.trials import Trial

#: Trials of a full run.
FULL_RUN_TRIALS = 10_000
#: Trials per run that may be left in doubt, if its faults left no time to reconcile.
TRIALS_PER_IN_DOUBT = 1_000
#: First word of a problem -> row of the table that counts it.
_PROBLEM_ROWS = {
    "purchases": "second purchases",
    "no end": "runs without an end",
    "run": "runs without a record",
    "forged": "forged contents",
    "contents": "contents lost, different or another run's",
    "counts": "wrong counts",
    "meta": "wrong values of `meta`",
    "options": "wrong options",
    "wrong job": "another run's job",
    "orphan": "orphaned jobs",
    "outcome": "wrong outcomes",
    "report": "wrong reports by Celery",
    "waste": "ended runs whose job goes on",
    "restless": "runs that go on after their end",
    "budget": "limits that reservations passed, leaks, wrong sums and sleepers of budgets",
    "unknown point": "points that the catalogue does not have",
}

#: Labels for the ways in which the sandbox writes URLs back.
_WRITER_LABELS = {writer: f"URLs written by {writer}" for writer in WRITERS}


@dataclass
class Report:
    """Figures of any number of trials and labs."""

    #: how far deliveries of webhooks were trusted; empty without webhooks
    webhooks: str = ""
    trials: int = 0
    counted: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    kills: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    rules: Counter[str] = field(default_factory=Counter)
    writers: Counter[str] = field(default_factory=Counter)
    problems: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    in_doubt: list[dict[str, Any]] = field(default_factory=list)
    most_purchases: int = 0
    excused: int = 0
    slowest: float = 0.0
    worker_starts: int = 0
    seconds: float = 0.0

    @property
    def points(self) -> dict[str, str]:
        """The catalogue of the points that such a lab can reach."""
        return list_points(self.webhooks)

    def add_trials(self, trials: Iterable[Trial]) -> None:
        """Add a round that was judged."""
        for trial in trials:
            self.trials += 1
            self.counted += trial.counted
            self.kinds[trial.kind] += trial.counted
            self.writers[trial.writer] += trial.counted
            self.writers["task ids in another order"] += trial.counted and trial.shuffled
            self.excused += trial.excused
            self.most_purchases = max(self.most_purchases, 1 if trial.excused else trial.most_purchases)
            if trial.ended:
                self.slowest = max(self.slowest, trial.recovery_seconds)
            if trial.fired:
                self.rules.update(rule["action"] for rule in trial.rules)
            if trial.problems:
                self._add_failure(trial)
            if trial.in_doubt:
                self.in_doubt.append(trial.describe())

    def add_counters(self, harness: Harness, seconds: float) -> None:
        """Add the lab's own counters, and reset them."""
        self.kills.update(harness.kills)
        self.events.update(harness.events)
        self.seconds += seconds
        harness.kills.clear()
        harness.events.clear()

    def _add_failure(self, trial: Trial) -> None:
        for problem in trial.problems:
            self.problems[next(row for start, row in _PROBLEM_ROWS.items() if problem.startswith(start))] += 1
        self.failures.append(trial.describe())

    def merge(self, other: dict[str, Any]) -> None:
        """Add the figures of another lab, in the form of `data`."""
        for name in ("kinds", "kills", "events", "rules", "writers", "problems"):
            # Figures of an earlier version lack some of them.
            getattr(self, name).update(other.get(name, {}))
        for name in ("trials", "counted", "excused", "worker_starts"):
            setattr(self, name, getattr(self, name) + other[name])
        for name in ("most_purchases", "slowest", "seconds"):
            setattr(self, name, max(getattr(self, name), other[name]))
        self.failures += other["failures"]
        self.in_doubt += other["in_doubt"]

    def data(self) -> dict[str, Any]:
        """Return the figures in a form for JSON."""
        return {name: dict(value) if isinstance(value, Counter) else value for name, value in vars(self).items()}

    def points_below(self, min_kills: int) -> dict[str, int]:
        """Return points with fewer than `min_kills` kills."""
        return {point: self.kills[point] for point in self.points if self.kills[point] < min_kills}

    def points_owing_kills(self) -> dict[str, int]:
        """Return points with fewer kills than a run of this size owes."""
        return self.points_below(KILLS_PER_POINT if self.counted >= FULL_RUN_TRIALS else 0)

    @property
    def passed(self) -> bool:
        """Whether the run had no failure, enough kills, and few runs in doubt."""
        return (
            not self.failures
            and not self.points_owing_kills()
            and len(self.in_doubt) <= max(1, self.counted // TRIALS_PER_IN_DOUBT)
        )

    def rows(self) -> list[tuple[str, str]]:
        """Return the rows of the table."""
        least = min(self.points, key=lambda point: self.kills[point])
        rows = [
            ("trials that counted", f"{self.counted} (of {self.trials} that were begun)"),
            ("points of the catalogue", str(len(self.points))),
            ("kills", str(sum(self.kills.values()))),
            ("fewest kills at a point", f"{self.kills[least]} ({least})"),
            ("most purchases of a run", str(self.most_purchases)),
        ]
        rows += [(row, str(self.problems[row])) for row in dict.fromkeys(_PROBLEM_ROWS.values())]
        rows += [
            ("frozen between the last check and the POST (the named exception): bought twice", str(self.excused)),
            ("left in doubt, bought once at most: nobody could look in time", str(len(self.in_doubt))),
            ("slowest recovery", f"{self.slowest:.1f} s"),
            ("workers started", str(self.worker_starts)),
            ("wall clock", f"{self.seconds:.0f} s"),
        ]
        rows += [(f"trials: {kind}", str(times)) for kind, times in sorted(self.kinds.items())]
        rows += [
            (f"trials with {_WRITER_LABELS.get(name, name)}", str(times))
            for name, times in sorted(self.writers.items())
        ]
        rows += [(f"event: {name}", str(times)) for name, times in sorted(self.events.items())]
        rows += [(f"fault of the API: {name}", str(times)) for name, times in sorted(self.rules.items())]
        return rows

    def text(self) -> str:
        """Return the table for a terminal, with the failures last."""
        width = max(len(name) for name, _ in self.rows())
        lines = [f"{name:{width}}  {value}" for name, value in self.rows()]
        lines += [f"{name:{width}}  {times} kills are too few" for name, times in self.points_owing_kills().items()]
        for word, trials in (("FAILED", self.failures), ("IN DOUBT", self.in_doubt)):
            for told in trials[:40]:
                lines.append(f"\n{word} {told['trial']}")
                lines += [f"    {line}" for line in (*told["problems"], *told["history"])]
        return "\n".join(lines)

    def markdown(self, command: str) -> str:
        """Return the table for the documentation."""
        lines = [f"`{command}`", "", "| | |", "|---|---:|"]
        lines += [f"| {name} | {value} |" for name, value in self.rows()]
        lines += ["", "Kills at each point:", "", "| point | scenario | kills |", "|---|---|---:|"]
        lines += [f"| `{point}` | {scenario} | {self.kills[point]} |" for point, scenario in self.points.items()]
        return "\n".join(lines) + "\n"
