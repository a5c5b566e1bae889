"""Find the points that each scenario reaches, for the catalogue: `python -m tests.faults --discover`."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from tests.faults.fault_plan import ANY
from tests.faults.harness import Harness
from tests.faults.points import POINTS
from tests.faults.scenarios import SCENARIOS
from tests.faults.trials import new_trial

_TRIALS_PER_SCENARIO = 8
#: A scenario leads to a point if at least this many of its trials reach the point.
_SURE_TRIALS = 6


def discover(
    names: list[str] | None = None, webhooks: str = ""
) -> tuple[dict[str, str], dict[str, dict[str, int]], list[str]]:
    """Return the scenario that leads to each point, how often each scenario reached it, and the problems on the way."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    problems = []
    with tempfile.TemporaryDirectory() as folder, Harness(Path(folder), webhooks=webhooks) as harness:
        for name in names or SCENARIOS:
            trials = []
            for number in range(_TRIALS_PER_SCENARIO):
                trial, rng = new_trial(f"s{name}".replace("_", "-"), number, "discover", name)
                SCENARIOS[name](trial, rng)
                trials.append(trial)
            harness.traces.clear()
            harness.run_trials(trials)
            for trial in trials:
                for point in {point for _, point, _ in harness.traces[trial.runs[0].run_id]}:
                    seen[point][name] += 1
            problems += [f"{name} {trial.number}: {text}" for trial in trials for text in trial.problems]
        for point in harness.fault_plan.reached_points() - set(seen):
            seen[point][ANY] += _TRIALS_PER_SCENARIO
    return {point: _leading_scenario(counts) for point, counts in seen.items()}, dict(seen), problems


def _leading_scenario(counts: Counter[str]) -> str:
    """Return the first scenario that surely reaches the point, or else the scenario that reached it most often."""
    sure = [name for name in (ANY, *SCENARIOS) if counts[name] >= _SURE_TRIALS]
    return sure[0] if sure else max(counts, key=counts.__getitem__)


def catalogue_source(leads: dict[str, str], webhooks: str = "") -> str:
    """Return the source of the module `points`, or the rows of `webhook_points` that only runs with webhooks reach."""
    if webhooks:
        return "".join(f'    "{point}": "{leads[point]}",\n' for point in sorted(leads) if point not in POINTS)
    leads = {**POINTS, **leads}
    rows = "".join(f'    "{point}": "{leads[point]}",\n' for point in sorted(leads))
    return f"{_HEAD}{{\n{rows}}}\n"


_HEAD = '''"""The catalogue: every point that a worker comes by, and the scenario that leads a run there.

`python -m tests.faults --discover` writes this module. A point that a worker reaches and that is missing here is a
failure.
`any` stands for points that belong to no run, such as a look of the dispatcher.
"""

from __future__ import annotations

POINTS: dict[str, str] = '''
