"""Scale: A with more jobs, B with more targets. The cost of one job, or one target, at each size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks import measure
from benchmarks.floor import run_floor
from benchmarks.pages import PER_JOB, WARM, batches, urls
from benchmarks.report import Outcome, Row

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench

#: The factor by which the CPU of a job or target may grow over that of the cheapest size.
_GROWTH = 1.25


def play(bench: Bench) -> Outcome:
    """Measure seconds, CPU and Redis commands at each factor, and how the cost of one job or target grows."""
    sizes = bench.sizes
    found = {
        "jobs": _series(bench, sizes.a_jobs, lambda jobs: batches(jobs, sizes.a_targets, sizes.a_bytes)),
        "targets": _series(bench, sizes.b_targets, lambda targets: [urls(targets, sizes.b_bytes)]),
    }
    rows = []
    for what, points in found.items():
        last = points[-1]
        factor = f"{last['factor']} x {'A' if what == 'jobs' else 'B'}"
        for name, text in (("cpu_ms", "CPU"), ("commands", "Redis commands"), ("script_us", "time in Redis scripts")):
            least = min(point[name] for point in points)
            growth = last[name] / least if least else 1.0
            rows.append(Row("scale", f"{text} a {what[:-1]} at {factor}, over the least", growth, "x", _GROWTH))
        rows += [Row("scale", f"CPU a {what[:-1]}, {p['factor']} x", p["cpu_ms"], "ms") for p in points]
    return Outcome(rows, found)


def _series(bench: Bench, one: int, work: Callable[[int], list[list[str]]]) -> list[dict[str, Any]]:
    points = []
    for factor in bench.sizes.factors:
        bench.stand_in.reset()
        points.append(_point(bench, factor, one * factor, work))
        bench.say(f"{one * factor}: {points[-1]['seconds']:.2f} s")
    return points


def _point(bench: Bench, factor: int, number: int, work: Callable[[int], list[list[str]]]) -> dict[str, Any]:
    """Measure one size on servers of its own: the total time, and the cost of each job or target."""
    floor = run_floor(bench.stand_in.url, [job for targets in work(number) for job in _jobs(targets)])["seconds"]
    bench.stand_in.reset()
    with bench.ours() as ours, ours.working() as workers:
        ours.run(batches(WARM, 1, bench.sizes.a_bytes))
        redis = [ours.server.process]
        spent = ours.server.script_seconds
        cpu, commands = workers.cpu() + measure.cpu_seconds(redis), ours.server.commands
        seconds = ours.run(work(number))
        used = workers.cpu() + measure.cpu_seconds(redis) - cpu
        return {
            "factor": factor,
            "number": number,
            "seconds": seconds,
            "floor": floor,
            "cpu_ms": 1000 * used / number,
            "commands": (ours.server.commands - commands) / number,
            "script_us": 1e6 * (ours.server.script_seconds - spent) / number,
            "worker_peak": max(workers.peaks().values()),
        }


def _jobs(targets: list[str]) -> list[list[str]]:
    """Split a list of targets into jobs."""
    return [targets[start : start + PER_JOB] for start in range(0, len(targets), PER_JOB)]
