"""Which points each set-up comes by, for the catalogue: `python -m tests.faults --survey`."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path

from tests.faults.lab import Lab
from tests.faults.plans import ANY
from tests.faults.points import POINTS
from tests.faults.setups import SETUPS
from tests.faults.trials import new_trial

_TIMES = 8
#: So often a set-up has to come by a point to be the one that leads there.
_SURE = 6


def survey(names: list[str] | None = None) -> tuple[dict[str, str], dict[str, dict[str, int]], list[str]]:
    """The set-up that leads to each point; how often each set-up came by; and what went wrong on the way."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    problems = []
    with tempfile.TemporaryDirectory() as folder, Lab(Path(folder)) as lab:
        for name in names or SETUPS:
            trials = []
            for number in range(_TIMES):
                trial, dice = new_trial(f"s{name}".replace("_", "-"), number, "survey", name)
                SETUPS[name](trial, dice)
                trials.append(trial)
            lab.traces.clear()
            lab.play(trials)
            for trial in trials:
                for point in {point for _, point, _ in lab.traces[trial.runs[0].run_id]}:
                    seen[point][name] += 1
            problems += [f"{name} {trial.number}: {text}" for trial in trials for text in trial.problems]
        for point in lab.plans.all_reached() - set(seen):
            seen[point][ANY] += _TIMES
    return {point: _leading(counts) for point, counts in seen.items()}, dict(seen), problems


def _leading(counts: Counter[str]) -> str:
    """The first set-up, in their order, that surely comes by; else the one that does so most often."""
    sure = [name for name in (ANY, *SETUPS) if counts[name] >= _SURE]
    return sure[0] if sure else max(counts, key=counts.__getitem__)


def source(leads: dict[str, str]) -> str:
    """The module of the catalogue."""
    leads = {**POINTS, **leads}
    rows = "".join(f'    "{point}": "{leads[point]}",\n' for point in sorted(leads))
    return f"{_HEAD}{{\n{rows}}}\n"


_HEAD = '''"""The catalogue: every point that a worker comes by, and the set-up that leads a run there.

Made by `python -m tests.faults --survey`, and checked: a point that a worker reaches and that is not here is a failure.
`any` stands for points that belong to no run, such as a look of the dispatcher.
"""

from __future__ import annotations

POINTS: dict[str, str] = '''
