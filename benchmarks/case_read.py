"""Reading: the speed of `result()`, and the memory of `iter_tasks()` at any size of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.pages import urls
from benchmarks.reader import read
from benchmarks.report import Outcome, Row

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_SPEED, _GROWTH = 300.0, 30e6


def play(bench: Bench) -> Outcome:
    """Read B's run and a run `read_factor` times larger, each in a separate process, while no worker runs."""
    sizes = bench.sizes
    with bench.ours() as ours:
        with ours.working():
            work = [urls(sizes.b_targets * factor, sizes.b_bytes) for factor in (1, sizes.read_factor)]
            _, (small, large) = ours.timed(work)
        whole = read(ours, small.run_id, "result")
        streams = {1: read(ours, small.run_id, "iter"), sizes.read_factor: read(ours, large.run_id, "iter")}
    rows = [
        Row("read", "result() of B's run", whole["bytes"] / whole["seconds"] / 1e6, "MB/s", _SPEED, at_least=True),
        *(
            Row("read", f"iter_tasks() over start, {factor} x B", found["growth"], "B", _GROWTH)
            for factor, found in streams.items()
        ),
        *(
            Row("read", f"iter_tasks(), {factor} x B", found["bytes"] / found["seconds"] / 1e6, "MB/s")
            for factor, found in streams.items()
        ),
    ]
    return Outcome(rows, {"result": whole, "iter_tasks": {str(factor): found for factor, found in streams.items()}})
