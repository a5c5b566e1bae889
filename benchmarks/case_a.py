"""A: many small jobs, each with a few targets. The distance to the floor and to the canvas."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.floor import run_floor
from benchmarks.pages import WARM, batches
from benchmarks.report import Outcome, Row

if TYPE_CHECKING:
    from benchmarks.bench import Bench

_LIMIT = 3.0


def play(bench: Bench) -> Outcome:
    """Run floor, canvas and ours in turn, round by round; then run the blocking step once."""
    found = rounds(bench, bench.sizes.a_jobs, bench.sizes.a_targets, bench.sizes.a_bytes, blocking=True)
    medians = found["medians"]
    ratio = medians["ours"] / medians["floor"]
    return Outcome([Row("A", "over the floor", ratio, "x", _LIMIT)], found)


def rounds(bench: Bench, jobs: int, targets: int, size: int, *, blocking: bool = False) -> dict[str, Any]:
    """Return the seconds of each contender in each round, their medians, and how often each polled a job."""
    times: dict[str, list[float]] = {"floor": [], "canvas": [], "ours": []}
    looks: dict[str, float] = {}
    slow: float | None = None
    with bench.canvas() as canvas, bench.ours() as ours, ours.working():
        contenders = {
            "floor": lambda work: run_floor(bench.stand_in.url, work)["seconds"],
            "canvas": canvas.run,
            "ours": ours.run,
        }
        for contend in contenders.values():
            contend(batches(WARM, 1, size))
        for turn in range(bench.repeat):
            for name, contend in contenders.items():
                work = batches(jobs, targets, size)
                bench.stand_in.reset()
                times[name].append(contend(work))
                looks[name] = bench.stand_in.requests("get_job", "list_jobs") / jobs
                bench.say(f"round {turn + 1}, {name}: {times[name][-1]:.2f} s")
        if blocking:
            bench.stand_in.reset()
            slow = canvas.run_blocking(batches(jobs, targets, size), bench.sizes.a_blocking)
    medians: dict[str, float | None] = {name: median(found) for name, found in times.items()}
    if blocking:
        medians["blocking"] = slow
    return {"times": times, "medians": medians, "looks_a_job": looks, "blocking_limit": bench.sizes.a_blocking}


def jobs_per_second(bench: Bench) -> float:
    """Return the rate of ours in case A; if A was not played before, measure it once."""
    if "A" in bench.figures:
        seconds = float(bench.figures["A"]["medians"]["ours"])
    else:
        with bench.ours() as ours, ours.working():
            ours.run(batches(WARM, 1, bench.sizes.a_bytes))
            seconds = ours.run(batches(bench.sizes.a_jobs, bench.sizes.a_targets, bench.sizes.a_bytes))
    return bench.sizes.a_jobs / seconds
