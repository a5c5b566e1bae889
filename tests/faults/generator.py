"""Generate trials. A trial follows from the seed and its number alone.

Kills go to the points that had the fewest kills. Other faults are random, by weight.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Any

from tests.faults import api_nemesis
from tests.faults.fault_plan import ANY
from tests.faults.scenarios import SCENARIOS
from tests.faults.trials import SUCCEEDED, PlannedFault, Trial, add_bystanders, new_trial, with_query
from tests.faults.webhook_points import list_points

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The only point after which a freeze looks like work. Trials of their own freeze there.
UNSAFE_FREEZE = "submit_jobs: after check_before_send"
_KIND_WEIGHTS = {
    "kill": 140,
    "stop": 4,
    "post": 6,
    "lost answer and kill": 5,
    "read": 5,
    "lasting": 2,
    "gone": 1,
    "refused": 1,
    "equal runs": 3,
    "world": 4,
    "cancel": 3,
    "cancel twice": 1,
    "revoke": 1,
    "deadline": 2,
    "messages": 2,
    "lost message": 2,
    "sent twice": 3,
    "exception": 1,
    "budget": 4,
}
_NEMESIS_WEIGHTS = {
    "restart_store": 6,
    "restart_broker": 2,
    "flush_broker": 2,
    "freeze_api": 2,
    "api_down": 2,
    "api_503": 1,
    "api_429": 1,
    "api_401": 1,
    "low_memory": 2,
    "kill_all": 1,
}
#: Points at which a run makes no progress before it kills its worker.
#: The point right after a claim is missing: a suspect's claim comes back without it, and a death there does not count
#: against the part.
_POISON_POINTS = (
    "submit_jobs: before write_intent",
    "poll_jobs: before GET job",
    "poll_jobs: before update_part fetching",
    "fetch_tasks: before GET task",
    "fetch_tasks: before store_content",
)
#: Kills at each point in a long run.
KILLS_PER_POINT = 100
_PLANS_PER_KILL = 10
#: Freezes that last longer than every lease of the frozen step.
_FREEZE_SECONDS_BY_STEP = {"submit_jobs": (4.0, 5.5), "reconcile_submit": (2.0, 4.0)}
_FREEZE_SECONDS = (1.8, 3.0)


class TrialGenerator:
    """An endless source of trials."""

    def __init__(self, seed: int | str, only: list[str] | None = None, webhooks: str = "") -> None:
        self.seed = seed
        self._points = list_points(webhooks)
        self.kills: Counter[str] = Counter()
        self._planned: Counter[str] = Counter()
        self._number = 0
        self._rng = random.Random(f"deck {seed}")
        self._kinds = {kind: weight for kind, weight in _KIND_WEIGHTS.items() if not only or kind in only}
        self._points_by_scenario: dict[str, list[str]] = {}
        for point, scenario in self._points.items():
            self._points_by_scenario.setdefault(scenario, []).append(point)

    def set_kills(self, kills: Counter[str]) -> None:
        """Set the kills that happened. Planned kills need not have happened."""
        self.kills = Counter(kills)

    def resume(self, number: int, kills: Counter[str]) -> None:
        """Continue after `number` trials that had these kills."""
        self._number = number
        self._rng = random.Random(f"deck {self.seed} from {number}")
        self.set_kills(kills)

    def generate(self, count: int, kind: str = "") -> Iterator[Trial]:
        """Generate `count` more trials, of one kind or of all kinds."""
        for _ in range(count):
            yield self.next_trial(kind)

    def next_trial(self, kind: str = "") -> Trial:
        """Make the next trial, of this kind or of any kind."""
        self._number += 1
        kind = kind or self._rng.choices(list(self._kinds), list(self._kinds.values()))[0]
        return getattr(self, "_" + kind.replace(" ", "_"))(kind)

    def plain_trial(self, kind: str) -> tuple[Trial, random.Random]:
        """Make a trial of a plain run without any planned fault."""
        self._number += 1
        trial, rng = self._scenario_trial(kind)
        trial.writer, trial.shuffled = "verbatim", False
        return trial, rng

    def _scenario_trial(self, kind: str, scenario: str = "plain") -> tuple[Trial, random.Random]:
        trial, rng = new_trial(self.seed, self._number, kind, scenario)
        if scenario != ANY:
            SCENARIOS[scenario](trial, rng)
        return trial, rng

    def _plan(self, trial: Trial, rng: random.Random, point: str, action: dict[str, Any]) -> None:
        if self._points[point] == ANY:
            trial.planned_faults.append(PlannedFault(point, [action], run=None, after=rng.uniform(0.01, 0.4)))
        else:
            trial.planned_faults.append(PlannedFault(point, [action]))

    def _least_killed(self, points: list[str]) -> str:
        # Many plans count as a kill. Otherwise, a point that no trial reaches would take all trials from the others.
        score = {point: self.kills[point] + self._planned[point] // _PLANS_PER_KILL for point in points}
        fewest = min(score.values())
        return self._rng.choice([point for point in points if score[point] == fewest])

    def _kill(self, kind: str) -> Trial:
        first = self._least_killed(list(self._points))
        trial, rng = self._scenario_trial(kind, self._points[first])
        step = first.partition(":")[0]
        points, also = [first], self._points_by_scenario[trial.scenario]
        if trial.expect == SUCCEEDED:
            # A run with other faults still reaches the points of every run.
            also = also + self._points_by_scenario["plain"]
        for _ in range(rng.choice((2, 3, 3, 4))):
            # A kill per step: after a death, a step takes another way to its end.
            steps = {point.partition(":")[0] for point in points}
            # Skip points with enough kills: each kill costs a process, and delays kills that are still owed.
            rest = [p for p in also if p.partition(":")[0] not in steps and self.kills[p] < KILLS_PER_POINT]
            if rest and step != "main":
                points.append(self._least_killed(rest))
        for point in points:
            self.kills[point] += 1
            self._planned[point] += 1
            how = "kill_worker" if rng.random() < 0.12 else "kill"
            self._plan(trial, rng, point, {"kind": how, "main": True})
        return trial

    def _stop(self, kind: str) -> Trial:
        point = self._rng.choice([point for point in self._points if point != UNSAFE_FREEZE])
        trial, rng = self._scenario_trial(kind, self._points[point])
        seconds = rng.uniform(*_FREEZE_SECONDS_BY_STEP.get(point.partition(":")[0], _FREEZE_SECONDS))
        self._plan(trial, rng, point, {"kind": "stop", "seconds": seconds, "main": True})
        return trial

    def _exception(self, kind: str) -> Trial:
        trial, _ = self._scenario_trial(kind)
        trial.planned_faults.append(PlannedFault(UNSAFE_FREEZE, [{"kind": "stop", "seconds": 8.0, "main": True}]))
        return trial

    def _poison(self, kind: str) -> Trial:
        """Let one run kill every worker that works on it. The other runs of its batch must end well."""
        point = self._rng.choice(_POISON_POINTS)
        # A plain run gets its pages in the poll step. Only the point's own scenario leaves pages to the fetch step.
        trial, rng = self._scenario_trial(kind, self._points[point] if point.startswith("fetch_tasks") else "plain")
        victim = trial.runs[0]
        # The API's rules match hosts. A bystander's host contains the trial's host, so the victim gets its own.
        victim.targets = [f"https://victim.{trial.host}/0"]
        for rule in trial.rules:
            rule["target"] = f"victim.{trial.host}"
        trial.start = "batch"
        add_bystanders(trial, rng, 2)
        victim.expect, victim.succeeded = frozenset({"poisoned"}), 0
        victim.purchases = (0, 0) if point.startswith("submit_jobs") else (1, 1)
        trial.planned_faults.append(PlannedFault(point, [{"kind": "kill", "always": True, "main": True}]))
        return trial

    def _cut(self, kind: str) -> Trial:
        """Plan a run that is at work when the store loses its last seconds."""
        trial, rng = self._scenario_trial(
            kind, self._rng.choice(("silent", "silent", "draft", "lost_answer", "absent", "plain", "later"))
        )
        if rng.random() < 0.6:
            with_query(trial, f"seconds={rng.uniform(0.5, 4.0):.1f}")
        return trial

    def _api_fault_trial(self, kind: str) -> Trial:
        trial, rng = self._scenario_trial(kind)
        trial.counts_by = "rule"
        getattr(api_nemesis, kind.replace(" ", "_"))(trial, rng)
        return trial

    _post = _read = _lasting = _gone = _refused = _equal_runs = _api_fault_trial

    def _lost_answer_and_kill(self, kind: str) -> Trial:
        trial, rng = self._scenario_trial(kind)
        api_nemesis.lose_answer(trial, rng)
        points = [point for point in self._points if point.startswith("reconcile_submit")] or self._points_by_scenario[
            "lost_answer"
        ]
        self._plan(trial, rng, rng.choice(points), {"kind": "kill", "main": True})
        return trial

    def _budget(self, kind: str) -> Trial:
        """Plan runs that buy one after the other: their budget has room for one, and each frees what it reserved."""
        point, _ = self._random_point(self._rng)
        trial, rng = self._scenario_trial(kind)
        add_bystanders(trial, rng, rng.choice((1, 2, 3)))
        with_query(trial, "sandbox=error")
        trial.budget = max(len(run.targets) for run in trial.runs)
        for run in trial.runs:
            run.more_tags, run.succeeded, run.failed = (trial.budget_tag,), 0, len(run.targets)
        trial.expect = frozenset({"failed"})
        self._plan(trial, rng, point, {"kind": "kill", "main": True})
        return trial

    def _random_point(self, rng: random.Random) -> tuple[str, str]:
        scenario = rng.choice(("plain", "plain", "lost_answer"))
        return rng.choice(self._points_by_scenario[scenario]), scenario

    def _world(self, kind: str) -> Trial:
        what = self._rng.choices(list(_NEMESIS_WEIGHTS), list(_NEMESIS_WEIGHTS.values()))[0]
        point, scenario = self._random_point(self._rng)
        trial, rng = self._scenario_trial(kind, scenario)
        self._plan(trial, rng, point, {"kind": "nemesis", "what": what, "main": True})
        return trial

    def _stop_trial(self, kind: str, action: str, times: int = 1) -> Trial:
        point, scenario = self._random_point(self._rng)
        trial, rng = self._scenario_trial(kind, scenario)
        if rng.random() < 0.3 and not point.startswith(("fetch", "aggregate", "deliver")):
            with_query(trial, "seconds=20")
        self._plan(trial, rng, point, {"kind": action, "main": True})
        for _ in range(times - 1):
            self._plan(trial, rng, rng.choice(self._points_by_scenario[scenario]), {"kind": action, "main": True})
        trial.expect, trial.purchases, trial.partial = frozenset({"canceled", "succeeded"}), (0, 1), True
        return trial

    def _cancel(self, kind: str) -> Trial:
        return self._stop_trial(kind, "cancel")

    def _cancel_twice(self, kind: str) -> Trial:
        return self._stop_trial(kind, "cancel", 2)

    def _revoke(self, kind: str) -> Trial:
        return self._stop_trial(kind, "revoke")

    def _deadline(self, kind: str) -> Trial:
        trial, rng = self._scenario_trial(kind, self._rng.choice(("plain", "long", "lost_answer")))
        trial.runs[0].options["max_wait"] = round(rng.uniform(0.05, 3.0), 2)
        trial.expect, trial.purchases, trial.partial = frozenset({"timed_out", "succeeded"}), (0, 1), True
        trial.counts_by = "nothing"
        return trial

    def _messages(self, kind: str) -> Trial:
        trial, _ = self._scenario_trial(kind, self._rng.choice(("plain", "lost_answer")))
        trial.start, trial.counts_by = "duplicates", "nothing"
        return trial

    def _trial_at(self, kind: str, fragments: tuple[str, ...], action: str) -> Trial:
        points = [
            point for point in self._points if any(text in point for text in fragments) and self._points[point] != ANY
        ]
        point = self._rng.choice(points)
        trial, rng = self._scenario_trial(kind, self._points[point])
        self._plan(trial, rng, point, {"kind": action, "main": True})
        return trial

    def _lost_message(self, kind: str) -> Trial:
        return self._trial_at(kind, (": before publish ",), "lose")

    def _sent_twice(self, kind: str) -> Trial:
        """Lose the store's answer so that the client sends a command twice, or send a step message twice."""
        calls = (
            "claim_part",
            "write_intent",
            "update_part",
            "store_content",
            "finish_part",
            "record_outcome",
            "acknowledge_delivery",
            "accept_run",
            "create_run",
            "request_stop",
            "publish",
        )
        return self._trial_at(kind, tuple(f": before {call}" for call in calls), "double")
